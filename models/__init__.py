"""The registries: what can be chosen by name on the command line.

MODELS (Table I), SEGMENTERS, GENERATORS and DISCRIMINATORS are plain dicts; options/ takes its choices from them. Nothing
here imports PyTorch: a network's class is imported on first use, so that --help and wrong flags are answered at once.
"""

from importlib import import_module
from typing import Any, NamedTuple


class Network(NamedTuple):
    """A network to choose by name: its class, and the arguments that are fixed. Calling it with the others builds one."""

    module: str
    name: str
    arguments: dict[str, Any] = {}

    def __call__(self, **arguments: Any) -> Any:
        return self.load()(**self.arguments, **arguments)

    def load(self) -> type:
        """Import the class, and PyTorch with it."""
        return getattr(import_module(self.module), self.name)


_generators = "models.networks.resnet_generator"
GENERATORS = {
    "resnet_4blocks": Network(_generators, "ResNetGenerator", {"blocks": 4}),
    "resnet_6blocks": Network(_generators, "ResNetGenerator", {"blocks": 6}),
    "resnet_9blocks": Network(_generators, "ResNetGenerator", {"blocks": 9}),
}

_discriminators = "models.networks.discriminators"
DISCRIMINATORS = {
    "perceptual": Network(_discriminators, "PerceptualDiscriminator"),
    "patch": Network(_discriminators, "PatchDiscriminator"),
    "pixel": Network(_discriminators, "PixelDiscriminator"),
}


class ModelEntry(NamedTuple):
    """A model of Table I, with its published learning rate and scores."""

    netG: str
    netD: str
    paper_lr: float
    fid: float
    kid: tuple[float, float]  # mean, standard deviation
    lambda_geo: float = 0.0  # weight of the geometric loss, which takes the masks' place


MODELS = {
    "mshgan4": ModelEntry("resnet_4blocks", "perceptual", 5e-5, 63.297, (0.0479, 0.0067)),
    "mshgan6": ModelEntry("resnet_6blocks", "perceptual", 5e-5, 63.185, (0.0480, 0.0066)),
    "pixcyclegan4": ModelEntry("resnet_4blocks", "pixel", 5e-5, 70.815, (0.0517, 0.0065)),
    "pixcyclegan6": ModelEntry("resnet_6blocks", "pixel", 5e-5, 71.639, (0.0530, 0.0065)),
    "geocongan": ModelEntry("resnet_9blocks", "patch", 2e-4, 66.786, (0.0481, 0.0065), lambda_geo=1.0),
}

SEGMENTERS = ("silnet",)  # networks that separate the hand from its background
DIRECTIONS = {"StoR": "G_r", "RtoS": "G_s"}  # the generator of each direction

PATCH_SIZE = 16  # pixels: the side of a patch of the Vision Transformers
# Width of a token, number of blocks, attention heads a block.
VITS = {
    "tiny": {"width": 192, "depth": 12, "heads": 3},
    "small": {"width": 384, "depth": 12, "heads": 6},
    "base": {"width": 768, "depth": 12, "heads": 12},  # our default; the paper gives no size
}

# Names whose implementations need PyTorch: models.features.vgg16 and models.features.registry.
VGG_SOURCES = ("auto", "imagenet", "hed", "random")
FEATURE_NETS = ("inception", "effnet_lite0", "random")


def __getattr__(name: str) -> Any:
    """Import load_translator on first use."""
    if name == "load_translator":
        return import_module("models.load").load_translator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
