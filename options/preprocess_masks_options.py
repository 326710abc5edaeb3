"""The flags of preprocess_masks.py."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import fields

from data.masks.realhands import EXPECTED_TREE, find_real_frames
from data.masks.refine import RefineOptions
from data.masks.values import parse_flag
from options.parsing import Parser, add_flag, add_switch, existing_dir, integer, number
from options.shared import add_mask_flags
from util.errors import UsageError

DEFAULTS = RefineOptions()


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; `.real_root` is resolved to a folder, `.num_workers` to a number, `.frames` are RealHands'.

    Raises UsageError if the folder holds no frames or limits contradict each other.
    """
    opt = preprocess_masks_parser().parse_args(argv)
    if opt.real_root is None and opt.dataroot is None:
        raise UsageError("no data given: pass --dataroot DIR (DIR/RealHands, or DIR itself) or --real_root DIR")
    flag = "--real_root" if opt.real_root else "--dataroot"
    if opt.real_root is None:
        inner = opt.dataroot / "RealHands"
        opt.real_root = inner if inner.is_dir() else opt.dataroot
    opt.frames = find_real_frames(opt.real_root, opt.masks)
    if not opt.frames:
        raise UsageError(f"no photographs under {opt.real_root} ({flag}); expected is\n{EXPECTED_TREE}")
    if opt.num_workers is None:
        opt.num_workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if opt.min_area >= opt.max_area:
        raise UsageError(f"--min_area {opt.min_area:g} must be below --max_area {opt.max_area:g}")
    for low, high in zip(opt.key_low, opt.key_high):
        if low > high:
            raise UsageError(f"--key_low {opt.key_low} must not exceed --key_high {opt.key_high} in any of hue, s, v")
    return opt


def refine_options(opt: argparse.Namespace) -> RefineOptions:
    """The RefineOptions in the flags."""
    values = {field.name: getattr(opt, field.name) for field in fields(RefineOptions)}
    values["mask_values"] = parse_flag(opt.mask_values)
    return RefineOptions(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def preprocess_masks_parser() -> Parser:
    parser = Parser(
        prog="preprocess_masks.py",
        description="Refine the masks of RealHands into <user>/mask_refined/, with a report and a preview. The sources "
        "are not changed.",
    )
    where = parser.add_argument_group("where")
    add_flag(
        where, "--dataroot", basic=True, type=existing_dir, help="folder that holds RealHands/, or is RealHands itself"
    )
    add_flag(where, "--real_root", basic=True, type=existing_dir, help="RealHands itself (instead of --dataroot)")
    add_mask_flags(where)
    add_flag(
        where,
        "--num_workers",
        type=integer(0, 256),
        help="number of processes; 0: the main process only (default: one a core)",
    )
    add_switch(where, "--overwrite", basic=True, default=False, help="replace existing refined masks")

    steps = parser.add_argument_group("steps, in their order (kernel sizes in pixels, odd, 0 = off)")
    drop = parser.add_argument_group("frames to drop, and the fallback before")
    for group, name, kind, basic, help in (
        (steps, "median", kernel_size, True, "median filter against speckle"),
        (steps, "threshold", integer(0, 254), False, "hand is brighter than this; 0: Otsu"),
        (
            steps,
            "max_hole",
            number(0, 1),
            True,
            "fill holes smaller than this fraction of the hand, unless the photograph shows background in them "
            "(where --snap is on)",
        ),
        (
            steps,
            "snap",
            integer(0, 64),
            False,
            "radius in pixels of the window in which the outline follows the photograph's edges; 0: the mask alone",
        ),
        (steps, "close", kernel_size, True, "closing, fills gaps in the outline"),
        (steps, "erode", kernel_size, True, "erosion, removes background pixels"),
        (drop, "min_area", number(0, 1), True, "smallest fraction of the frame"),
        (drop, "max_area", number(0, 1), True, "largest fraction of the frame"),
        (drop, "max_contours", integer(1), True, "most outlines, holes included, after the median filter"),
    ):
        add_flag(group, f"--{name}", type=kind, basic=basic, default=getattr(DEFAULTS, name), help=help)
    add_switch(
        drop, "--fallback", default=DEFAULTS.fallback, help="chroma key where a mask is missing, damaged or implausible"
    )
    for flag, default in (("--key_low", DEFAULTS.key_low), ("--key_high", DEFAULTS.key_high)):
        add_flag(
            drop,
            flag,
            type=integer(0, 255),
            nargs=3,
            default=list(default),
            metavar=("H", "S", "V"),
            help="limit of the screen's colour in HSV (hue up to 179, others up to 255), inclusive",
        )
    return parser


def kernel_size(text: str) -> int:
    """An argument type: 0, or an odd integer up to 99 (an even kernel would shift the mask by half a pixel)."""
    value = integer(0, 99)(text)
    if value and value % 2 == 0:
        raise argparse.ArgumentTypeError(f"{value} is even; use 0 (off) or an odd size such as {value + 1}")
    return value
