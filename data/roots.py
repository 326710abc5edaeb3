"""From the data flags to frames that may be used."""

import os
from pathlib import Path

from data.checks import check_masks
from data.demo import ensure_demo, is_demo
from data.frames import AS_IT_IS, EXPECTED_TREE, Domains, Reading, find_frames
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
    """The frames of both domains, their masks checked. Writes the demo if demo_root is the dataroot and not there.

    Raises UsageError that names the flag and shows the trees expected.
    """
    roots = {"--synth_root": synth_root, "--real_root": real_root}
    if None in roots.values():
        roots["--dataroot"] = dataroot
        if dataroot is None:
            raise UsageError("no data: give --dataroot, or --synth_root and --real_root")
        if dataroot == demo_root and not is_demo(dataroot):  # missing, or its writing was interrupted
            if distributed.rank() == 0:
                ensure_demo(dataroot, num_workers=max(2, num_workers))
            distributed.barrier()
    for flag, root in roots.items():
        if root is not None and not os.path.isdir(root):
            raise UsageError(f"{flag} {root} is not a folder. Expected is one of\n{EXPECTED_TREE}")
    frames = find_frames(
        dataroot=dataroot, layout=dataset_mode, synth_root=synth_root, real_root=real_root, reading=reading
    )
    return check_masks(frames)


def has_masks(frames: Domains) -> bool:
    """Whether any frame of either domain has a mask of its own, rather than being taken whole."""
    return any(frame.mask_kind != "none" for domain_frames in frames.values() for frame in domain_frames)
