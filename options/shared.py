"""Groups of flags that several scripts take."""

import argparse
import os
from pathlib import Path

from data.frames import LAYOUTS
from options.parsing import add_switch, integer
from util.runtime import AMP_CHOICES

DEMO_ROOT = Path("datasets") / "demo"
CACHE_DIR = Path("datasets") / "cache"


def add_data_flags(group: argparse._ActionsContainer, *, default_root: Path | None) -> None:
    """Where the images lie. Existence is checked by data.roots, which makes the demo where nothing is given."""
    group.add_argument(
        "--dataroot",
        type=Path,
        default=default_root,
        metavar="DIR",
        help="holds SynthHands_Release/ and RealHands/, or trainA/ and trainB/ (A synthetic, B real)",
    )
    group.add_argument("--synth_root", type=Path, metavar="DIR", help="SynthHands_Release, where it lies elsewhere")
    group.add_argument("--real_root", type=Path, metavar="DIR", help="RealHands, where it lies elsewhere")
    group.add_argument(
        "--dataset_mode", choices=("auto", *LAYOUTS), default="auto", help="layout; auto: by what the root holds"
    )
    add_strict_flag(group)


def add_strict_flag(group: argparse._ActionsContainer) -> None:
    """What becomes of images that cannot be used."""
    add_switch(
        group,
        "--strict",
        default=False,
        help="an image that is damaged, too large, of another size than its mask or without a hand ends the command, "
        "instead of being named, counted and left out",
    )


def add_machine_flags(group: argparse._ActionsContainer) -> None:
    """Where and how to compute."""
    group.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: CUDA where there is one"
    )
    group.add_argument(
        "--amp",
        choices=AMP_CHOICES,
        default="auto",
        help="mixed precision; auto: bf16 where the device computes in it, else fp16 on CUDA, off on a CPU",
    )
    group.add_argument(
        "--num_workers",
        type=integer(0, 256),
        default=default_workers(),
        metavar="N",
        help="processes that read images; 0: read them in the main process",
    )


def default_workers() -> int:
    """Enough to hide reading behind a GPU's steps; on small machines one core stays with the networks."""
    return max(1, min(8, (os.cpu_count() or 2) // 2))
