"""SilNet for train.py: model, samples, validation, pictures and messages. The interface is util/training/kind.py."""

import argparse
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

import numpy as np
import torch

from data.frames import Frame
from data.packs.format import Pack
from data.silhouette_crops import silhouette_crop
from data.unpaired import UnpairedHands
from models.silnet_trainer import HandSegmenter
from util.errors import UsageError
from util.runtime import Amp
from util.scores.silhouettes import create_silnet_validation, silhouette_grids
from util.training.display import display_hands

PICTURE = "synthetic_silhouette_mask.png"
LEAST_VALIDATED = 1  # images a domain
COLUMNS = "image | silhouette | mask"
PACKABLE = False  # silhouette crops show more than packs hold


def create_model(
    opt: argparse.Namespace, *, saved: dict | None, amp: Amp, device: torch.device
) -> tuple[HandSegmenter, dict]:
    """The model; no frozen network is involved, so nothing is recorded or compared with `saved`."""
    model = HandSegmenter(base=opt.ngf, lr=opt.lr, beta1=opt.beta1, background=opt.background, amp=amp, device=device)
    return model, {}


def create_samples(
    opt: argparse.Namespace, frames: dict[str, list[Frame]], *, bad: Collection[Frame], packs: dict[str, Pack]
) -> UnpairedHands:
    """The stream of training crops, without the frames that cannot be used. Raises UsageError for images without masks."""
    for domain, part in frames.items():
        if all(frame.mask_kind == "none" for frame in part):
            raise UsageError(
                f"SilNet learns from masks, and the {domain} images have none; add trainA_masks/, trainB_masks/"
            )
    return UnpairedHands(
        frames,
        crop_size=opt.crop_size,
        seed=opt.seed,
        background=opt.background,
        flips=opt.flip,
        crop=partial(silhouette_crop, background=opt.background),
        bad=bad,
        packs=packs,
    )


def create_validator(
    opt: argparse.Namespace, model: HandSegmenter, frames: dict[str, list[Frame]], *, folder: Path
) -> tuple[Callable[[], tuple[dict[str, float], float]], dict]:
    """(validate, {}): no other network is behind it."""
    validate = create_silnet_validation(
        model.probabilities, frames, background=opt.background, device=model.device, num_workers=opt.num_workers
    )
    return validate, {}


def create_display(
    opt: argparse.Namespace, model: HandSegmenter, frames: dict[str, list[Frame]]
) -> Callable[[], dict[str, np.ndarray]]:
    """() -> the pictures that training shows."""
    shown = display_hands(frames, background=opt.background)
    return lambda: silhouette_grids(model.probabilities, shown, device=model.device)


def describe(opt: argparse.Namespace, resolved: dict) -> str:
    """What is about to be trained."""
    return f"{opt.model} ({resolved['parameters']['SilNet']:,} parameters)"


def next_command(opt: argparse.Namespace) -> str:
    """What to do with the run once it is trained."""
    return f"python test.py --name NAME --silnet {opt.name}, or train.py --lambda_geo 1 --silnet {opt.name}"
