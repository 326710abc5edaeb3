"""From the data flags to frames: checks that the folders exist, and writes the demo where nothing else is given."""

import os
from pathlib import Path

from data.demo import ensure_demo, is_demo
from data.frames import AS_IT_IS, EXPECTED_TREE, Domains, Reading, find_frames
from data.masks.survey import log_origins, survey
from util import distributed
from util.errors import UsageError


def open_frames(
    *,
    dataroot: Path | None,
    dataset_mode: str,
    synth_root: Path | None,
    real_root: Path | None,
    reading: Reading = AS_IT_IS,
    demo_root: Path,
    num_workers: int = 2,
) -> Domains:
    """The frames of both domains, as data.frames.find_frames lists them; logs a line of where their masks are from.

    The demo is written to demo_root if that is the dataroot; any other folder must exist. Raises
    UsageError that names the flag and shows the trees expected.
    """
    for flag, root in (("--synth_root", synth_root), ("--real_root", real_root)):
        if root is not None and not os.path.isdir(root):
            raise UsageError(f"{flag} {root} is not a folder")
    if synth_root is None or real_root is None:
        if dataroot is None:
            raise UsageError("no data: give --dataroot, or --synth_root and --real_root")
        if dataroot == demo_root and not is_demo(dataroot):  # missing, or its writing was interrupted
            if distributed.rank() == 0:
                ensure_demo(dataroot, num_workers=max(2, num_workers))
            distributed.barrier()
        if not os.path.isdir(dataroot):
            raise UsageError(f"--dataroot {dataroot} is not a folder. Expected one of\n{EXPECTED_TREE}")
    frames = find_frames(
        dataroot=dataroot, layout=dataset_mode, synth_root=synth_root, real_root=real_root, reading=reading
    )
    origins = {}
    for domain, domain_frames in frames.items():
        frames[domain], origins[domain] = survey(domain_frames, what=domain)
    if distributed.rank() == 0:
        log_origins(origins)
    return frames


def has_masks(frames: Domains) -> bool:
    """Whether any frame of either domain has a mask of its own, rather than being taken whole."""
    return any(frame.mask_kind != "none" for domain_frames in frames.values() for frame in domain_frames)
