"""Translators for train.py: model, samples, validation, pictures and messages. The interface is util/training/kind.py."""

import argparse
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import torch

from data.frames import Frame
from data.packs.format import Pack
from data.unpaired import UnpairedHands
from models import DISCRIMINATORS
from models.config import network_config, objective
from models.features.registry import load_feature_net
from models.features.vgg16 import load_vgg16
from models.hgan import HGAN
from models.load import load_silnet
from util.errors import UsageError
from util.runtime import Amp
from util.training.display import display_grids, display_hands
from util.training.validation import create_validation

PICTURE = "synthetic_translated_cycle.png"
LEAST_VALIDATED = 2  # images a domain: a distance takes two a side
COLUMNS = "source | translated | cycle"
PACKABLE = True


def create_model(opt: argparse.Namespace, *, saved: dict | None, amp: Amp, device: torch.device) -> tuple[HGAN, dict]:
    """The model, and what options.yaml records of the frozen networks that it was built with.

    saved: the options of the run that is continued; UsageError where its frozen networks were others.
    """
    vgg, weights, silnet = None, None, None
    if DISCRIMINATORS[opt.netD].view == "vgg":
        vgg, weights = load_vgg16(opt.vgg_weights, calibrated=opt.normalize_features)
        if saved and saved["resolved"]["vgg_weights"]["sha256"] != weights.sha256:
            raise UsageError(
                f"the run was started with other VGG16 weights ({saved['resolved']['vgg_weights']}) than "
                f"{weights._asdict()}; pass the same --vgg_weights"
            )
    if opt.silnet:
        silnet = load_silnet(opt.silnet, checkpoints_dir=opt.checkpoints_dir, background=opt.background, device=device)
        if saved and saved["resolved"]["silnet"]["sha256"] != silnet.sha256:
            raise UsageError(
                f"the run was started with another SilNet ({saved['resolved']['silnet']}) than {silnet.record()}; "
                "pass the same --silnet"
            )
    model = HGAN(
        network_config(opt),
        objective(opt),
        vgg=vgg,
        amp=amp,
        device=device,
        silnet=silnet.net if silnet else None,
        seed=opt.seed,
        accumulate=opt.accumulate,
        checkpoint_activations=opt.checkpoint_activations,
    )
    return model, {"vgg_weights": weights._asdict() if weights else None, "silnet": silnet.record() if silnet else None}


def create_samples(
    opt: argparse.Namespace, frames: dict[str, list[Frame]], *, bad: Collection[Frame], packs: dict[str, Pack]
) -> UnpairedHands:
    """The stream of training crops, without the frames that cannot be used."""
    return UnpairedHands(
        frames, crop_size=opt.crop_size, seed=opt.seed, background=opt.background, flips=opt.flip, bad=bad, packs=packs
    )


def create_validator(
    opt: argparse.Namespace, model: HGAN, frames: dict[str, list[Frame]], *, folder: Path
) -> tuple[Callable[[], tuple[dict[str, float], float]], dict]:
    """(validate, what options.yaml records of the network behind it)."""
    net = load_feature_net(opt.feature_net, inception_weights=opt.inception_weights, device=model.device)
    validate = create_validation(
        model,
        frames,
        net,
        background=opt.background,
        crop=opt.test_crop_size,
        hand_box=opt.hand_box,
        best_by=opt.best_by,
        cache_dir=folder / "features",
        num_workers=opt.num_workers,
    )
    return validate, {"feature_net": {"name": net.name, "sha256": net.sha256}}


def create_display(
    opt: argparse.Namespace, model: HGAN, frames: dict[str, list[Frame]]
) -> Callable[[], dict[str, np.ndarray]]:
    """() -> the pictures that training shows."""
    shown = display_hands(frames, background=opt.background, crop=opt.test_crop_size)
    return lambda: display_grids(model, shown, hand_box=opt.hand_box)


def describe(opt: argparse.Namespace, resolved: dict) -> str:
    """What is about to be trained."""
    geometry = f", lambda_geo {opt.lambda_geo:g}" if opt.lambda_geo else ""
    return (
        f"{opt.model} with {opt.netG} generators ({resolved['parameters']['G_r']:,} parameters each) and {opt.netD} "
        f"discriminators{geometry}{'' if opt.mask else ', unmasked'}"
    )


def next_command(opt: argparse.Namespace) -> str:
    """What to do with the run once it is trained."""
    return f"python test.py --name {opt.name}"
