"""Flags of test.py's downstream study."""

import argparse

from options.parsing import add_flag, existing_dir, integer, number
from util.errors import UsageError

MIN_SIZE = 64  # pixels: the coarsest of the U-Net's four resolutions still has 8 x 8

# The tasks' defaults; each study takes about eight minutes on two CPU cores. Joints need more steps, so their images are
# smaller.
DEFAULTS = {
    "segmentation": {"downstream_size": 96, "downstream_steps": 200, "downstream_lr": 2e-3},
    "keypoints": {"downstream_size": 64, "downstream_steps": 400, "downstream_lr": 4e-3},
}


def add_downstream_flags(group: argparse._ActionsContainer) -> None:
    """Add --downstream and its flags."""
    add_flag(
        group,
        "--downstream",
        basic=True,
        choices=tuple(DEFAULTS),
        help="instead of translating the split, train a network for this task on synthetic, translated and real hands of the "
        "train split each, and test all on real hands of the test split",
    )
    for name, kind, default, help in (
        ("seeds", integer(1, 100), 3, "trainings on each set"),
        ("steps", integer(1), None, "steps of each training (default: the task's)"),
        ("images", integer(1), 1000, "most images a set"),
        ("batch", integer(1), 8, "images a step"),
        ("size", integer(MIN_SIZE), None, "side of an image in pixels (default: the task's)"),
        ("width", integer(1), 16, "first width of the network"),
        ("lr", number(0, above=True), None, "Adam's first learning rate (default: the task's)"),
    ):
        add_flag(group, f"--downstream_{name}", type=kind, default=default, metavar="N", help=help)
    add_flag(
        group,
        "--background_root",
        type=existing_dir,
        metavar="DIR",
        help="folder of background photographs, read recursively (default: drawn rooms)",
    )


def check_downstream(opt: argparse.Namespace) -> None:
    """Fill in the task's DEFAULTS. Raises UsageError for flags that contradict --downstream or need it."""
    if opt.downstream is None:
        idle = [f for f in opt.explicit if f.startswith("downstream_") or f == "background_root"]
        if idle:
            raise UsageError(f"{', '.join('--' + flag for flag in idle)} needs --downstream {{{','.join(DEFAULTS)}}}")
        return
    if opt.input:
        raise UsageError("--downstream studies a run's own splits, --input translates a folder: give one of them")
    if opt.direction != "StoR":
        raise UsageError("--downstream studies hands translated to real ones; drop --direction RtoS")
    idle = [f for f in ("phase", "crop", "annotations") if f in opt.explicit]
    if idle:
        raise UsageError(
            f"--downstream trains on the train split's regions and tests on the test split's; drop "
            f"{', '.join('--' + f for f in idle)}"
        )
    for flag, value in DEFAULTS[opt.downstream].items():
        if getattr(opt, flag) is None:
            setattr(opt, flag, value)
