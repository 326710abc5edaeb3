"""The registries: what can be chosen by name on the command line.

MODELS (Table I), SEGMENTERS, GENERATORS and DISCRIMINATORS are plain dicts; options/ takes its choices from them.
"""

from functools import partial
from typing import NamedTuple

from models.networks.discriminators import PatchDiscriminator, PerceptualDiscriminator, PixelDiscriminator
from models.networks.resnet_generator import ResNetGenerator

GENERATORS = {
    "resnet_4blocks": partial(ResNetGenerator, blocks=4),
    "resnet_6blocks": partial(ResNetGenerator, blocks=6),
    "resnet_9blocks": partial(ResNetGenerator, blocks=9),
}

DISCRIMINATORS = {
    "perceptual": PerceptualDiscriminator,
    "patch": PatchDiscriminator,
    "pixel": PixelDiscriminator,
}


class ModelEntry(NamedTuple):
    """A model of Table I: its two networks, the learning rate it was published with, and its published scores.

    fid; kid: (mean, standard deviation).
    """

    netG: str
    netD: str
    paper_lr: float
    fid: float
    kid: tuple[float, float]


MODELS = {
    "mshgan4": ModelEntry("resnet_4blocks", "perceptual", 5e-5, 63.297, (0.0479, 0.0067)),
    "mshgan6": ModelEntry("resnet_6blocks", "perceptual", 5e-5, 63.185, (0.0480, 0.0066)),
    "pixcyclegan4": ModelEntry("resnet_4blocks", "pixel", 5e-5, 70.815, (0.0517, 0.0065)),
    "pixcyclegan6": ModelEntry("resnet_6blocks", "pixel", 5e-5, 71.639, (0.0530, 0.0065)),
    "geocongan": ModelEntry("resnet_9blocks", "patch", 2e-4, 66.786, (0.0481, 0.0065)),
}


class SegmenterEntry(NamedTuple):
    """A network that tells the hand from its background, by what it is trained with."""

    lr: float
    beta1: float
    batch_size: int


SEGMENTERS = {"silnet": SegmenterEntry(lr=1e-3, beta1=0.9, batch_size=4)}
