"""Translators for train.py: model, crops, validation, pictures and messages (util/training/kind.py)."""

from argparse import Namespace
from pathlib import Path

import torch

from data.crops import random_hand_crop
from data.frames import Domains
from data.regions import TEST_CROP
from models import DISCRIMINATORS
from models.config import network_config, objective
from models.features.registry import load_feature_net
from models.features.vgg16 import load_vgg16
from models.hgan import HGAN
from models.load import load_silnet
from util.runtime import Amp
from util.training.display import display_grids, display_hands
from util.training.kind import Kind
from util.training.loop import Display, Validate
from util.training.validation import create_validation


def create_model(opt: Namespace, *, amp: Amp, device: torch.device) -> tuple[HGAN, dict]:
    """The model, and what options.yaml records of the frozen networks that it was built with."""
    vgg, weights, silnet = None, None, None
    if DISCRIMINATORS[opt.netD].load().view == "vgg":
        vgg, weights = load_vgg16(opt.vgg_weights, calibrated=opt.normalize_features)
    if opt.silnet:
        silnet = load_silnet(opt.silnet, checkpoints_dir=opt.checkpoints_dir, background=opt.background, device=device)
    model = HGAN(
        network_config(opt),
        objective(opt),
        vgg=vgg,
        amp=amp,
        device=device,
        silnet=silnet and silnet.net,
        seed=opt.seed,
    )
    return model, {"vgg_weights": weights, "silnet": silnet and silnet.record()}


def create_validator(opt: Namespace, model: HGAN, frames: Domains, *, folder: Path) -> tuple[Validate, dict]:
    """(validate, what options.yaml records of the network behind it)."""
    net = load_feature_net(opt.feature_net, inception_weights=opt.inception_weights, device=model.device)
    validate = create_validation(
        model,
        frames,
        net,
        background=opt.background,
        crop=TEST_CROP,
        crop_to_hand=opt.crop_to_hand,
        best_by="distance" if opt.paper else "score",
        cache_dir=folder / "features",
        num_workers=opt.num_workers,
    )
    return validate, {"feature_net": {"name": net.name, "sha256": net.sha256}}


def create_display(opt: Namespace, model: HGAN, frames: Domains) -> Display:
    """() -> the pictures that training shows."""
    shown = display_hands(frames, background=opt.background, crop=TEST_CROP)
    return lambda: display_grids(model, shown, crop_to_hand=opt.crop_to_hand)


def describe(opt: Namespace, resolved: dict) -> str:
    """What is about to be trained."""
    geometry = f", lambda_geo {opt.lambda_geo:g}" if opt.lambda_geo else ""
    return (
        f"{opt.model} with {opt.netG} generators ({resolved['parameters']['G_r']:,} parameters each) and {opt.netD} "
        f"discriminators{geometry}{'' if opt.mask else ', unmasked'}"
    )


TRANSLATOR = Kind(
    picture="synthetic_translated_cycle.png",
    columns="source | translated | cycle",
    least_validated=2,  # a distance takes two a side
    create_model=create_model,
    random_crop=lambda opt, frames: random_hand_crop,
    create_validator=create_validator,
    create_display=create_display,
    describe=describe,
    next_command=lambda opt: f"python test.py --name {opt.name}",
)
