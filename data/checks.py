"""From the data flags to frames that may be used. Masks are checked on a sample; damaged images are found when they are read."""

import contextlib
import logging
import statistics
from argparse import Namespace
from collections import Counter
from dataclasses import replace
from difflib import get_close_matches

import numpy as np

from data import DEMO_ROOT
from data.demo import ensure_demo, is_demo
from data.frames import Domains, Frame, Reading, check_roots, find_frames, has_alpha
from data.hands import key_or_whole, read_source
from data.listing import KEY, WHOLE, plural, sentence
from data.mask_values import covers, hand_of, may_be_classes, read_values, refusal
from data.masks import count_contours
from util import distributed
from util.drawing import evenly
from util.errors import UsageError
from util.files import printable
from util.images import ImageError, read_rgb, unread_parts
from util.workers import in_threads, shell_line

log = logging.getLogger(__name__)

THREADS = 8  # they wait for the disk, not for each other
SPECKLED = 20  # outlines in the middle one of a domain's masks
FEW = 8  # images that are looked at for the key colour
SAMPLE = 48  # files that check_masks looks at, evenly spaced


def open_frames(opt: Namespace, reading: Reading, *, masked: bool = True) -> Domains:
    """The frames of both domains, their masks checked. opt: dataroot, synth_root, real_root, dataset_mode, num_workers.

    Writes the demo if it is asked for and not there. Raises UsageError that shows the trees expected.
    """
    given = opt.synth_root and opt.real_root
    if not given and opt.dataroot == DEMO_ROOT and not is_demo(DEMO_ROOT):  # missing, or its writing was interrupted
        if distributed.rank() == 0:
            ensure_demo(DEMO_ROOT, num_workers=max(2, opt.num_workers))
        distributed.barrier()
    roots = {name: getattr(opt, name) for name in ("dataroot", "synth_root", "real_root")}
    check_roots(roots)
    return check_masks(find_frames(**roots, layout=opt.dataset_mode, reading=reading), masked=masked)


def check_masks(frames: Domains, *, masked: bool = True) -> Domains:
    """The frames, with mask_origin WHOLE where a domain has no masks at all; logs where masks are from.

    Raises UsageError for masks of more than two values, for --mask_values that none holds, for a lost key colour, for swapped
    domains, and where one domain alone has masks, but for `masked` False: then all images are taken whole.
    """
    checked, origins = {}, {}
    for domain, part in frames.items():
        sample = evenly(part, SAMPLE)
        for what, count in Counter(each for frame in sample for each in unread_parts(frame.image)).items():
            log.warning("%d of %d %s images looked at have %s, which is not read", count, len(sample), domain, what)
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
    keyed = {domain: any(map(_shows_key, evenly(part, FEW))) for domain, part in frames.items() if len(frames) > 1}
    if keyed == {"synthetic": False, "real": True}:
        raise UsageError(
            "the real images have the key colour of renders (14, 255, 14), and the synthetic ones have not: are the two folders "
            "swapped (A is synthetic, B real)?"
        )
    maskless = [domain for domain, counts in origins.items() if set(+counts) <= {WHOLE}]
    if len(maskless) == 1 < len(origins):
        if masked:
            raise UsageError(_one_sided(maskless[0], checked, origins))
        log.info("the %s images have no masks: all images are taken whole, as --no-mask asks", maskless[0])
        whole = {"mask": None, "mask_origin": WHOLE, "raw": False}
        return {domain: [replace(frame, **whole) for frame in part] for domain, part in checked.items()}
    if maskless:
        log.info("no image has a mask: images are taken whole")
    else:
        for domain, counts in origins.items():
            log.info("%s", sentence(counts, what=f"{domain} masks"))
    return checked


def _shows_key(frame: Frame) -> bool:
    """Whether an image has SynthHands' key colour; False for one that cannot be read."""
    with contextlib.suppress(ImageError):
        return not key_or_whole(read_rgb(frame.image)).all()
    return False


def _one_sided(bare: str, frames: Domains, origins: dict[str, Counter]) -> str:
    """Why masks of one domain alone are refused, with a folder near the other's images that looks like masks."""
    (other,) = frames.keys() - {bare}
    folder = frames[bare][0].image.parent
    name, used = f"{folder.name}_masks", {frame.mask.parent.name for frame in frames[other] if frame.mask}
    near = {each.name for each in (*folder.iterdir(), *folder.parent.iterdir()) if each.is_dir()} - used
    likest = get_close_matches(name, sorted(each for each in near if "mask" in each.casefold()), n=1)
    meant = f"; is {printable(likest[0])} meant, as {name}?" if likest else ""
    return (
        f"{sentence(origins[other], what=f'{other} masks')}, but {len(frames[bare])} {bare} images have none{meant}; cut-out hands "
        "and whole images would train against each other: give both sides masks (docs/data.md), or --no-mask to take all whole"
    )


def _check_classes(frames: list[Frame], domain: str) -> None:
    """Refuse mask files that hold more classes than hand and background, or none of --mask_values; tell speckled ones."""
    sample = evenly(frames, SAMPLE)
    outlines, held = [], []
    for frame in sample:
        with contextlib.suppress(ImageError, ValueError):
            mask = read_values(frame.mask)
            held += [np.unique(mask.values)] if may_be_classes(mask, frame.mask_values, raw=frame.raw) else []
            outlines += [] if frame.raw else [count_contours(hand_of(mask, frame.mask_values))]
    if outlines and (middle := statistics.median(outlines)) > SPECKLED:
        where = "--images", str(sample[0].image.parent), "--masks", str(sample[0].mask.parent)
        said = f"the {domain} masks look speckled ({middle:.0f} outlines in one, where a hand has a few)"
        log.warning("%s: %s", said, shell_line(["preprocess_masks.py", *where]))
    if not held:
        return
    together, chosen = np.unique(np.concatenate(held)), frames[0].mask_values
    if chosen is None and len(together) > 2:
        looked = plural(len(held), "file")
        raise UsageError(f"{sample[0].mask.parent} ({domain}): in {looked} looked at, {refusal(together)}")
    if chosen is not None and not any(covers(chosen, value) for value in together.tolist()):
        shown = ", ".join(map(str, together[:20].tolist()))
        raise UsageError(f"--mask_values: none of these values is in the {domain} masks looked at, which hold {shown}")
