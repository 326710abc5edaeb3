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
    add_flag(group, "--downstream_seeds", type=integer(1, 100), default=3, metavar="N", help="trainings on each set")
    add_flag(group, "--downstream_steps", type=integer(1), metavar="N", help=_help("steps of each training"))
    add_flag(group, "--downstream_images", type=integer(1), default=1000, metavar="N", help="most images a set")
    add_flag(group, "--downstream_batch", type=integer(1), default=8, metavar="N", help="images a step")
    add_flag(group, "--downstream_size", type=integer(MIN_SIZE), metavar="N", help=_help("side of an image, px"))
    add_flag(group, "--downstream_width", type=integer(1), default=16, metavar="N", help="first width of the network")
    add_flag(
        group, "--downstream_lr", type=number(0, above=True), metavar="LR", help=_help("Adam's first learning rate")
    )
    add_flag(
        group,
        "--background_root",
        type=existing_dir,
        metavar="DIR",
        help="folder of background photographs, read recursively (default: drawn rooms)",
    )


def _help(what: str) -> str:
    return f"{what} (default: the task's)"


def check_downstream(opt: argparse.Namespace) -> None:
    """Fill in the task's DEFAULTS. Raises UsageError for flags that contradict --downstream or need it."""
    if opt.downstream is None:
        idle = [f for f in opt.explicit if f.startswith("downstream_") or f == "background_root"]
        if idle:
            flags = ", ".join(f"--{flag}" for flag in idle)
            raise UsageError(f"{flags} needs --downstream {{{','.join(DEFAULTS)}}}")
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
