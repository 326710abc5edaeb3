"""SilNet for train.py: model, crops, validation, pictures and messages (util/training/kind.py)."""

from argparse import Namespace
from functools import partial
from pathlib import Path

import torch

from data.crops import silhouette_crop
from data.frames import Domains
from data.unpaired import Crop
from models.supervised import HandSegmenter
from util.errors import UsageError
from util.runtime import Amp
from util.scores.silhouettes import create_silnet_validation, silhouette_grids
from util.training.display import display_hands
from util.training.kind import Kind
from util.training.loop import Display, Validate


def create_model(opt: Namespace, *, amp: Amp, device: torch.device) -> tuple[HandSegmenter, dict]:
    """The model; no frozen network is involved, so nothing is recorded."""
    model = HandSegmenter(base=opt.ngf, lr=opt.lr, beta1=opt.beta1, background=opt.background, amp=amp, device=device)
    return model, {}


def random_crop(opt: Namespace, frames: Domains) -> Crop:
    """Silhouette crops. Raises UsageError for images without masks."""
    for domain, part in frames.items():
        if all(frame.mask_kind == "none" for frame in part):
            raise UsageError(
                f"SilNet learns from masks, and the {domain} images have none; add trainA_masks/, trainB_masks/"
            )
    return partial(silhouette_crop, background=opt.background)


def create_validator(opt: Namespace, model: HandSegmenter, frames: Domains, *, folder: Path) -> tuple[Validate, dict]:
    """(validate, {}): no other network is behind it."""
    validate = create_silnet_validation(
        model.probabilities, frames, background=opt.background, device=model.device, num_workers=opt.num_workers
    )
    return validate, {}


def create_display(opt: Namespace, model: HandSegmenter, frames: Domains) -> Display:
    """() -> the pictures that training shows."""
    shown = display_hands(frames, background=opt.background)
    return lambda: silhouette_grids(model.probabilities, shown, device=model.device)


SILNET = Kind(
    picture="synthetic_silhouette_mask.png",
    columns="image | silhouette | mask",
    least_validated=1,
    create_model=create_model,
    random_crop=random_crop,
    create_validator=create_validator,
    create_display=create_display,
    describe=lambda opt, resolved: f"{opt.model} ({resolved['parameters']['SilNet']:,} parameters)",
    next_command=lambda opt: (
        f"python test.py --name NAME --silnet {opt.name}, or train.py --lambda_geo 1 --silnet {opt.name}"
    ),
)
