"""From the data flags to frames that may be used. Masks are checked on a sample; damaged images are found when they are read."""

import logging
from argparse import Namespace
from collections import Counter
from dataclasses import replace

import numpy as np

from data import DEMO_ROOT
from data.demo import ensure_demo, is_demo
from data.frames import Domains, Frame, Reading, find_frames, has_alpha
from data.hands import read_source
from data.listing import KEY, WHOLE, plural, sentence
from data.mask_values import classes_of, covers, refusal
from util import distributed
from util.drawing import evenly
from util.errors import UsageError
from util.images import ImageError
from util.workers import in_threads

log = logging.getLogger(__name__)

THREADS = 8  # they wait for the disk, not for each other
SAMPLE = 48  # files that check_masks looks at, evenly spaced


def open_frames(opt: Namespace, reading: Reading) -> Domains:
    """The frames of both domains, their masks checked. opt: dataroot, synth_root, real_root, dataset_mode, num_workers.

    Writes the demo if it is asked for and not there. Raises UsageError that shows the trees expected.
    """
    given = opt.synth_root and opt.real_root
    if not given and opt.dataroot == DEMO_ROOT and not is_demo(DEMO_ROOT):  # missing, or its writing was interrupted
        if distributed.rank() == 0:
            ensure_demo(DEMO_ROOT, num_workers=max(2, opt.num_workers))
        distributed.barrier()
    roots = {"dataroot": opt.dataroot, "synth_root": opt.synth_root, "real_root": opt.real_root}
    for flag in ("synth_root", "real_root"):
        if roots[flag] and not roots[flag].is_dir():
            raise UsageError(f"--{flag} {roots[flag]} is not a folder")
    return check_masks(find_frames(**roots, layout=opt.dataset_mode, reading=reading))


def check_masks(frames: Domains) -> Domains:
    """The frames, with mask_origin WHOLE where a domain has no masks at all; logs where masks are from.

    Raises UsageError for masks of more than two values, for --mask_values that none holds, and for a lost key colour.
    """
    checked, origins = {}, {}
    for domain, part in frames.items():
        _check_classes([frame for frame in part if frame.mask], domain)
        bare = [frame for frame in part if not frame.mask]
        seen, faults = Counter(), []
        for frame in evenly(bare, SAMPLE):
            try:
                seen[read_source(frame).origin] += 1
            except ImageError as error:
                faults.append(error)
        if faults and not seen and bare[0].mask_origin == KEY:
            raise UsageError(f"none of {plural(len(faults), f'{domain} image')} looked at can be used: {faults[0]}")
        origins[domain] = Counter(frame.mask_origin for frame in part if frame.mask)
        for origin, count in seen.items():  # extrapolated from the sample
            origins[domain][origin] += round(count * len(bare) / seen.total())
        if not set(seen) - {WHOLE} and not any(in_threads(has_alpha, [each.image for each in bare], count=THREADS)):
            part = [each if each.mask_origin else replace(each, mask_origin=WHOLE) for each in part]
        checked[domain] = part
    if all(set(+counts) <= {WHOLE} for counts in origins.values()):
        log.info("no image has a mask: images are taken whole")
    else:
        for domain, counts in origins.items():
            log.info("%s", sentence(counts, what=f"{domain} masks"))
    return checked


def _check_classes(frames: list[Frame], domain: str) -> None:
    """Refuse mask files that hold more classes than hand and background, or none of --mask_values."""
    sample = evenly(frames, SAMPLE)
    classes = [classes_of(frame.mask, frame.mask_values, raw=frame.raw) for frame in sample]
    held = [values for values in classes if values is not None]
    if not held:
        return
    together, chosen = np.unique(np.concatenate(held)), frames[0].mask_values
    if chosen is None and len(together) > 2:
        looked = plural(len(held), "file")
        raise UsageError(f"{sample[0].mask.parent} ({domain}): in {looked} looked at, {refusal(together)}")
    if chosen is not None and not any(covers(chosen, value) for value in together.tolist()):
        shown = ", ".join(map(str, together[:20].tolist()))
        raise UsageError(f"--mask_values: none of these values is in the {domain} masks looked at, which hold {shown}")
