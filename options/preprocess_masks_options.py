"""Flags of preprocess_masks.py."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import fields

from data.mask_values import parse_values
from data.masks import RefineOptions
from data.realhands import find_folder_frames, find_real_frames
from options.parsing import Parser, apply_defaults, existing_path, integer, number, refuse
from options.shared import BASIC, add_mask_flags
from util.images import FORMATS

NOT_OF_THE_PAPER = ("max_hole", "snap", "min_area", "max_area", "max_contours", "fallback")


def preprocess_masks_parser() -> Parser:
    """The parser of preprocess_masks.py; see parse_preprocess_masks for what it checks beyond single flags."""
    parser = Parser(
        prog="preprocess_masks.py",
        description="Refine the masks of RealHands into <user>/mask_refined/, or those of any folder --images into "
        "<folder>_masks_refined/ beside it, with a report and a preview. The sources are not changed.",
    )
    where = parser.group("where")
    where("dataroot", existing_path, None, "folder that holds RealHands/, or is RealHands itself", **BASIC)
    where("real_root", existing_path, None, "RealHands itself (instead of --dataroot)", **BASIC)
    where("images", existing_path, None, "folder of images with masks in --masks (instead of --dataroot)", **BASIC)
    add_mask_flags(where)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    where("num_workers", integer(0, 256), cores, "number of processes; 0: the main process only")
    where("overwrite", bool, False, "replace existing refined masks", **BASIC)

    default = RefineOptions()
    steps = parser.group("steps, in their order (kernel sizes in pixels, odd, 0 = off)", **BASIC)
    steps(
        "paper", bool, False, "the paper's steps alone: median, largest outline, close, erode; hands of any size stay"
    )
    steps("median", kernel_size, default.median, "median filter against speckle")
    steps("max_hole", number(0, 1), default.max_hole, "fill holes smaller than this fraction of the hand")
    steps("snap", bool, default.snap, "move the outline to the photograph's edges, by up to 3 pixels", basic=False)
    steps("close", kernel_size, default.close, "closing, fills gaps in the outline")
    steps("erode", kernel_size, default.erode, "erosion, removes background pixels")

    drop = parser.group("frames to drop", **BASIC)
    drop("min_area", number(0, 1), default.min_area, "smallest fraction of the frame")
    drop("max_area", number(0, 1), default.max_area, "largest fraction of the frame")
    drop("max_contours", integer(1), default.max_contours, "most outlines, holes included, after the median filter")
    drop("fallback", bool, default.fallback, "take the chroma key where a mask cannot be used", basic=False)
    return parser


def kernel_size(text: str) -> int:
    """An argument type: 0, or an odd integer up to 99 (an even kernel would shift the mask by half a pixel)."""
    value = integer(0, 99)(text)
    if value and value % 2 == 0:
        raise argparse.ArgumentTypeError(f"{value} is even; use 0 (off) or an odd size such as {value + 1}")
    return value


def parse_preprocess_masks(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse argv (None: the command line); `.real_root` is resolved, `.frames` are RealHands'. Raises UsageError."""
    opt = preprocess_masks_parser().parse(argv)
    roots = opt.real_root or opt.dataroot
    refuse(not (roots or opt.images), "no data given: pass --dataroot, --real_root, or --images and --masks")
    idle = [f"--{name}" for name in NOT_OF_THE_PAPER if name in opt.explicit and opt.paper]
    refuse(idle, f"--paper has no {', '.join(idle)}: its steps are --median, the largest outline, --close and --erode")
    if opt.paper:
        opt.fallback = False
    refuse(opt.min_area >= opt.max_area, f"--min_area {opt.min_area:g} must be below --max_area {opt.max_area:g}")
    if opt.images:
        refuse(roots or not opt.masks, "--images needs --masks, and neither --dataroot nor --real_root")
        for flag, folder in (("--images", opt.images), ("--masks", opt.masks)):
            refuse(not folder.is_dir(), f"{flag} {folder} is not a folder")
        apply_defaults(opt, {"fallback": False})  # a photograph without a green screen has no chroma key
        opt.frames, opt.real_root = find_folder_frames(opt.images.absolute(), opt.masks.absolute())
        refuse(not opt.frames, f"no images below --images {opt.images} ({FORMATS} are read)")
        named = f"--masks {opt.masks} holds no mask of an image's name, such as {opt.frames[0].image.stem}.png"
        refuse(all(frame.mask is None for frame in opt.frames), named)
        return opt
    if not opt.real_root:
        inner = opt.dataroot / "RealHands"
        opt.real_root = inner if inner.is_dir() else opt.dataroot
    opt.frames = find_real_frames(opt.real_root, opt.masks)
    tree = "<user>/color/<name>_color.png and <user>/mask/<name>_mask.png"
    refuse(not opt.frames, f"no photographs under {opt.real_root}; expected are {tree}")
    return opt


def refine_options(opt: argparse.Namespace) -> RefineOptions:
    """The RefineOptions in the flags."""
    values = {field.name: getattr(opt, field.name) for field in fields(RefineOptions)}
    return RefineOptions(**values | {"mask_values": parse_values(opt.mask_values)})
