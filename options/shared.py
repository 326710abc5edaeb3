"""Groups of flags that several scripts take."""

import argparse
import os
from pathlib import Path

from data.frames import LAYOUTS, Reading
from data.masks.values import parse_flag
from models import FEATURE_NETS
from models.config import AMPS
from options.parsing import add_flag, add_switch, existing_file, existing_path, integer, mask_values, number
from util.errors import UsageError

# Marks of flags; see add_flag.
BASIC, LATER, TRANSLATORS = {"basic": True}, {"may_change": True}, {"translators_only": True}

DEMO_ROOT = Path("datasets") / "demo"


def add_data_flags(group: argparse._ActionsContainer, *, default_root: Path | None) -> None:
    """Add the flags of the data. data.roots checks that the roots exist, and makes the demo if none is given."""
    add_flag(
        group,
        "--dataroot",
        type=Path,
        default=default_root,
        metavar="DIR",
        basic=True,
        may_change=True,
        help="folder of SynthHands_Release/ and RealHands/, or of trainA/ and trainB/ (A synthetic, B real)",
    )
    add_flag(
        group,
        "--synth_root",
        type=Path,
        metavar="DIR",
        may_change=True,
        help="SynthHands_Release, if it is elsewhere",
    )
    add_flag(group, "--real_root", type=Path, metavar="DIR", may_change=True, help="RealHands, if it is elsewhere")
    add_flag(
        group, "--dataset_mode", choices=("auto", *LAYOUTS), default="auto", help="layout of the root; auto: recognised"
    )
    add_mask_flags(group)
    add_flag(
        group,
        "--load_scale",
        type=number(0, 16, above=True),
        default=1.0,
        metavar="X",
        help="scale images and masks by X when they are read",
    )
    add_flag(group, "--max_dataset_size", type=integer(1), metavar="N", help="use at most N images a domain")
    add_strict_flag(group)


def add_mask_flags(group: argparse._ActionsContainer) -> None:
    """Add the flags of mask files; see data.masks.sources and data.masks.values."""
    add_flag(
        group,
        "--masks",
        type=existing_path,
        metavar="DIR",
        help="folder of masks, under the images' relative paths or names (default: <name>_mask.* beside an image, else "
        "<folder>_masks/ beside its folder, else its alpha channel, else the key colour)",
    )
    add_flag(
        group,
        "--mask_values",
        type=mask_values,
        metavar="N-M,...",
        help="values of mask files that mean hand, such as 2-33,40 (default: the higher of two)",
    )


def reading(opt) -> Reading:
    """The Reading in options; a stored options.yaml may be older than these flags.

    Raises UsageError if the folder of masks does not exist.
    """
    if getattr(opt, "masks", None) and not os.path.exists(opt.masks):
        raise UsageError(f"--masks {opt.masks} does not exist; give the folder's new path")
    return Reading(
        objects=getattr(opt, "objects", False),
        masks=Path(opt.masks) if getattr(opt, "masks", None) else None,
        mask_values=parse_flag(getattr(opt, "mask_values", None)),
        load_scale=getattr(opt, "load_scale", 1.0),
        max_dataset_size=getattr(opt, "max_dataset_size", None),
    )


def add_strict_flag(group: argparse._ActionsContainer) -> None:
    """Add --strict."""
    add_switch(
        group,
        "--strict",
        default=False,
        may_change=True,
        help="stop at an image that is damaged, too large, of another size than its mask or without a hand (default: report "
        "and skip it)",
    )


def add_machine_flags(group: argparse._ActionsContainer, *, amp: bool = True) -> None:
    """Add the flags of the machine. amp: add --amp, which train.py has as a knob."""
    add_flag(
        group,
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        basic=True,
        may_change=True,
        help="auto: CUDA if available",
    )
    if amp:
        add_flag(
            group,
            "--amp",
            choices=AMPS,
            default="auto",
            may_change=True,
            help="mixed precision; auto: bf16 if the device supports it, else fp16 on CUDA and off on a CPU",
        )
    add_flag(
        group,
        "--num_workers",
        type=integer(0, 256),
        default=max(1, min(8, (os.cpu_count() or 2) // 2)),  # half of the cores
        metavar="N",
        may_change=True,
        help="processes (training) or threads (elsewhere) that read images; 0: none but the main one",
    )


def add_feature_net_flags(group: argparse._ActionsContainer, **marks: bool) -> None:
    """Add --feature_net and --inception_weights; marks: see add_flag."""
    add_flag(
        group,
        "--feature_net",
        basic=True,
        choices=("auto", *FEATURE_NETS),
        default="auto",
        help="network whose features are compared: inception gives FID, any other an FD; auto: inception if "
        "available, else effnet_lite0",
        **marks,
    )
    add_flag(
        group,
        "--inception_weights",
        type=existing_file,
        metavar="FILE",
        help="the FID network's weights (default: torch.hub's cache, else their download)",
        **marks,
    )


def add_metric_flags(group: argparse._ActionsContainer) -> None:
    """Add the flags of add_feature_net_flags, --kid_subset_size and --kid_subsets."""
    add_feature_net_flags(group)
    add_flag(
        group,
        "--kid_subset_size",
        type=integer(2),
        metavar="N",
        help="images in a KID subset (default: a tenth of the smaller set)",
    )
    add_flag(group, "--kid_subsets", type=integer(1, 10**6), default=100, metavar="N", help="KID subsets drawn")
