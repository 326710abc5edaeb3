"""Flags that several scripts take, added by functions of a Parser.group."""

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path

from data.frames import Reading
from data.mask_values import parse_values
from models import FEATURE_NETS
from models.config import options_of
from options.parsing import existing_path, integer, number, refuse
from util.files import user_path

# Marks of flags; see Parser.group.
BASIC, LATER, TRANSLATORS = {"basic": True}, {"may_change": True}, {"translators_only": True}


def add_data_flags(add: Callable[..., None], *, default_root: Path | None) -> None:
    """Add the flags of the data. data.checks makes the demo if none is given."""
    roots = "folder of SynthHands_Release/ and RealHands/, or of trainA/ and trainB/ (A synthetic, B real)"
    add("dataroot", user_path, default_root, roots, **BASIC, **LATER)
    add("synth_root", user_path, None, "SynthHands_Release, if it is elsewhere, or any folder of renders", **LATER)
    add("real_root", user_path, None, "RealHands, if it is elsewhere, or any folder of photographs", **LATER)
    add("dataset_mode", ("auto", "hands", "unaligned"), "auto", "layout of the root; auto: recognised")
    add_mask_flags(add)
    add("load_scale", number(0, 16, above=True), 1.0, "scale images and masks by X when they are read")
    add("max_dataset_size", integer(1), None, "use at most N images a domain")


def add_mask_flags(add: Callable[..., None]) -> None:
    """Add the flags of mask files; see data.listing and data.mask_values."""
    folder = "folder of masks, under the images' relative paths or names (default: beside the images; see docs/data.md)"
    add("masks", existing_path, None, folder)
    add("mask_values", mask_values, None, "their values that mean hand, such as 2-33,40 (default: the higher of two)")


def mask_values(text: str) -> str:
    """An argument type: values of a mask file that mean hand, such as 1 or 2-33,40."""
    parse_values(text)
    return text


def reading(opt: argparse.Namespace) -> Reading:
    """The Reading in options. Raises UsageError if the folder of masks does not exist."""
    masks = Path(str(opt.masks)) if opt.masks else None
    moved = masks and not os.path.exists(masks)
    refuse(moved, f"--masks {masks} does not exist; give the folder's new path")
    details = {name: getattr(opt, name) for name in ("objects", "load_scale", "max_dataset_size")}
    return Reading(masks=masks, mask_values=parse_values(opt.mask_values), **details)


def add_machine_flags(add: Callable[..., None], *, amp: str | None = "auto") -> None:
    """Add the flags of the machine. amp: the default of --amp; None: without it, as train.py has it from models/config.py."""
    add("device", ("auto", "cpu", "cuda"), "auto", "auto: CUDA if available", **BASIC, **LATER)
    if amp:
        option = options_of()["amp"]
        add("amp", option.choices, amp, option.help, **LATER)
    half_of_the_cores = max(1, min(8, (os.cpu_count() or 2) // 2))
    add("num_workers", integer(0, 256), half_of_the_cores, "processes or threads that read images; 0: none", **LATER)


def feature_net(text: str) -> str:
    """An argument type: a name of FEATURE_NETS, "auto", or an own network: a .pt2 file, or module:function."""
    if text in ("auto", *FEATURE_NETS) or re.fullmatch(r"[\w.]+:\w+", text):
        return text
    if text.endswith(".pt2"):
        return str(existing_path(text))
    raise argparse.ArgumentTypeError(f"{text!r} is none of auto, {', '.join(FEATURE_NETS)}, FILE.pt2, MODULE:FUNCTION")


def add_feature_net_flags(add: Callable[..., None], **marks: bool) -> None:
    """Add --feature_net and --inception_weights; marks: see Parser.group."""
    net = "network that compares images: inception gives FID, others an FD; auto: inception, else effnet_lite0; or your own"
    known = f"{{auto,{','.join(FEATURE_NETS)},FILE.pt2,MODULE:FUNCTION}}"
    add("feature_net", feature_net, "auto", net, basic=True, metavar=known, **marks)
    weights = "the FID network's weights (default: torch.hub's cache, else their download)"
    add("inception_weights", existing_path, None, weights, **marks)
