"""Groups of flags that several scripts take. Each function adds them by add, a Parser.group."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from models import FEATURE_NETS
from models.config import AMP_HELP, AMPS
from options.parsing import existing_file, existing_path, integer, number
from util.errors import UsageError

# Marks of flags; see add_flag.
BASIC, LATER, TRANSLATORS = {"basic": True}, {"may_change": True}, {"translators_only": True}

DEMO_ROOT = Path("datasets") / "demo"


def add_data_flags(add: Callable[..., None], *, default_root: Path | None) -> None:
    """Add the flags of the data. data.roots checks that the roots exist, and makes the demo if none is given."""
    roots = "folder of SynthHands_Release/ and RealHands/, or of trainA/ and trainB/ (A synthetic, B real)"
    add("dataroot", Path, default_root, roots, **BASIC, **LATER)
    add("synth_root", Path, None, "SynthHands_Release, if it is elsewhere", **LATER)
    add("real_root", Path, None, "RealHands, if it is elsewhere", **LATER)
    add("dataset_mode", ("auto", "hands", "unaligned"), "auto", "layout of the root; auto: recognised")
    add_mask_flags(add)
    add("load_scale", number(0, 16, above=True), 1.0, "scale images and masks by X when they are read")
    add("max_dataset_size", integer(1), None, "use at most N images a domain")


def add_mask_flags(add: Callable[..., None]) -> None:
    """Add the flags of mask files; see data.masks.sources and data.masks.values."""
    add(
        "masks",
        existing_path,
        None,
        "folder of masks, under the images' relative paths or names (default: <name>_mask.* beside an image, else "
        "<folder>_masks/ beside its folder, else its alpha channel, else the key colour)",
    )
    add(
        "mask_values",
        mask_values,
        None,
        "values of mask files that mean hand, such as 2-33,40 (default: the higher of two)",
    )


def mask_values(text: str) -> str:
    """An argument type: values of a mask file that mean hand, such as 1 or 2-33,40."""
    from data.masks.values import parse_values  # loads OpenCV

    try:
        parse_values(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def reading(opt: argparse.Namespace):
    """The data.frames.Reading in options. Raises UsageError if the folder of masks does not exist."""
    from data.frames import Reading
    from data.masks.values import parse_flag

    if opt.masks and not os.path.exists(opt.masks):  # an options.yaml's may have moved
        raise UsageError(f"--masks {opt.masks} does not exist; give the folder's new path")
    return Reading(
        objects=opt.objects,
        masks=Path(opt.masks) if opt.masks else None,
        mask_values=parse_flag(opt.mask_values),
        load_scale=opt.load_scale,
        max_dataset_size=opt.max_dataset_size,
    )


def add_machine_flags(add: Callable[..., None], *, amp: bool = True) -> None:
    """Add the flags of the machine. amp: add --amp, which is one of train.py's options in models/config.py."""
    add("device", ("auto", "cpu", "cuda"), "auto", "auto: CUDA if available", **BASIC, **LATER)
    if amp:
        add("amp", AMPS, "auto", AMP_HELP, **LATER)
    half_of_the_cores = max(1, min(8, (os.cpu_count() or 2) // 2))
    workers = "processes (training) or threads (elsewhere) that read images; 0: none but the main one"
    add("num_workers", integer(0, 256), half_of_the_cores, workers, **LATER)


def add_feature_net_flags(add: Callable[..., None], **marks: bool) -> None:
    """Add --feature_net and --inception_weights; marks: see add_flag."""
    help = (
        "network whose features are compared: inception gives FID, any other an FD; auto: inception if available, else "
    )
    add("feature_net", ("auto", *FEATURE_NETS), "auto", f"{help}effnet_lite0", basic=True, **marks)
    help = "the FID network's weights (default: torch.hub's cache, else their download)"
    add("inception_weights", existing_file, None, help, **marks)


def add_metric_flags(add: Callable[..., None]) -> None:
    """Add the flags of add_feature_net_flags, --kid_subset_size and --kid_subsets."""
    add_feature_net_flags(add)
    add("kid_subset_size", integer(2), None, "images in a KID subset (default: a tenth of the smaller set)")
    add("kid_subsets", integer(1, 10**6), 100, "KID subsets drawn")
