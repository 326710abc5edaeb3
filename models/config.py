"""The training options of translators: networks, objective and setup. Imports no PyTorch.

Each option is a field made by `knob`, with our default, the paper's value, its range or choices, and its help. The parser of
train.py, --paper, the checks of stored options and docs/defaults.md are derived from these fields. To add an option, add a
field here and read it where it acts; to change a default, change it here.
"""

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, NamedTuple

from data.hands import BACKGROUNDS
from models import MODELS

SAME = object()  # "the same as the default"


class Knob(NamedTuple):
    """A training option: the metadata of its field.

    default: our value. paper: the value with --paper. no_mask: the value with --no-mask, unless the flag is given. silnet:
    the value for --model silnet; MISSING if SilNet does not have the option. choices: of a text. low, high: the range of a
    number, which includes both ends, or high only if `above`. of_model: the default is that of the entry in MODELS. basic:
    --help shows it. may_change: it may change when a run is continued. reason: why our default differs from the paper's.
    """

    name: str
    type: type
    default: Any
    help: str
    paper: Any
    silnet: Any
    group: str
    no_mask: Any = SAME
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = 1e6
    above: bool = False
    of_model: bool = False
    basic: bool = False
    may_change: bool = False
    metavar: str = ""
    reason: str = ""


def knob(default: Any, help: str, *, paper: Any = SAME, silnet: Any = MISSING, **details: Any) -> Any:
    """A dataclass field for a flag of train.py of the same name; see Knob for the arguments."""
    details["paper"] = default if paper is SAME else paper
    details["silnet"] = default if silnet is SAME else silnet
    return field(default=default, metadata={"default": default, "help": help, **details})


UPSAMPLERS = ("smooth", "resize", "deconv")
NORMS = ("instance", "batch", "none")
INITS = ("xavier", "normal", "kaiming", "orthogonal")
DECAYS = ("linear", "none")
AMPS = ("auto", "fp16", "bf16", "off")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The networks' architecture and initialisation."""

    netG: str = knob("resnet_4blocks", "generator", of_model=True, group="model", basic=True)
    netD: str = knob("perceptual", "discriminator", of_model=True, group="model", basic=True)
    ngf: int = knob(64, "first width of the generator, or of SilNet", low=1, high=1024, silnet=SAME, group="model")
    ndf: int = knob(64, "first width of the discriminator", low=1, high=1024, group="model")
    norm: str = knob(
        "instance", "normalisation layers; the perceptual discriminator has none", choices=NORMS, group="model"
    )
    dropout: bool = knob(False, "dropout in the generator's residual blocks", group="model")
    upsample: str = knob(
        "smooth",
        "upsampling layers of the generator",
        paper="deconv",
        choices=UPSAMPLERS,
        group="model",
        reason="transposed convolutions leave stripes, and plain resizing lets a mottling of 8 pixels grow",
    )
    init_type: str = knob("xavier", "distribution of initial weights", choices=INITS, group="model")
    init_gain: float = knob(
        1.0,
        "gain of the initial weights",
        paper=0.02,
        above=True,
        group="model",
        reason="with 0.02 in five layers without normalisation, the perceptual D starts learning only after some hundred steps",
    )
    init_scaled: bool = knob(
        True,
        "initial weights of the perceptual D keep the scale of its features, and those of its heads are small",
        paper=False,
        group="extras",
        reason="without normalisation, the initial weights decide how long D takes to start learning; with the paper's, hands "
        "had fine regular stripes after 2,500 steps (docs/study.md)",
    )
    d_layers: int = knob(3, "stride-2 layers of the patch D", low=1, high=6, group="model")
    d_scales: int = knob(3, "output maps of the perceptual D", low=1, high=5, group="model")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The losses, the optimizers, and the extras of training."""

    lr: float = knob(
        1e-4,
        "learning rate of Adam",
        paper=MODELS["mshgan4"].paper_lr,  # --model has its own: options.train_options.paper_rate
        silnet=1e-3,
        high=1,
        above=True,
        group="training",
        basic=True,
        reason="chosen together with --lr_decay; the paper's rate depends on the model: 5e-5, GeoConGAN 2e-4",
    )
    lr_decay: str = knob(
        "linear",
        "linear: the learning rates fall to 0 over the second half of the run; none: they stay constant",
        paper="none",
        choices=DECAYS,
        group="training",
        reason="at a constant rate, generators and discriminators oscillate; they settle as the rate falls (docs/study.md)",
    )
    beta1: float = knob(0.5, "decay of Adam's first moment", silnet=0.9, high=0.9999, group="training", metavar="X")
    lambda_gan: float = knob(1.0, "weight of the adversarial loss (Eq. 1)", group="losses", basic=True)
    lambda_cycle: float = knob(10.0, "weight of the cycle consistency loss", group="losses", basic=True)
    lambda_identity: float = knob(
        0.5, "weight of the identity loss relative to --lambda_cycle", group="losses", basic=True
    )
    lambda_edges: float = knob(
        40.0,
        "weight of the loss that keeps a hand's inner structure: strong edges in long runs, such as a finger's in front of a palm; "
        "all detail in runs of up to 1,000 steps; 0: none",
        paper=0.0,
        no_mask=0.0,
        group="extras",
        reason="without it, .77 of the inner edges survived 3,900 steps, and fists dissolved; with it, .95 survived 7,000 (docs/study.md)",
    )
    lambda_geo: float = knob(
        0.0,
        "weight of GeoConGAN's geometric loss: SilNet's silhouette of the translation against the source's mask; "
        "needs --silnet; 0: none (with --model geocongan: 1)",
        group="losses",
    )
    extend_colors: bool = knob(
        True,
        "generators see the hand's own colours in a band around it; cycle and identity losses then compare hands only",
        paper=False,
        no_mask=False,
        group="extras",
        reason="a generator that sees white beside the hand paints coloured fringes, of 1.7 times the photographs' "
        "chroma; with the band it is 1.1 (docs/study.md)",
    )
    common_mask: bool = knob(
        True,
        "discriminators see real and synthetic hands only where their masks overlap",
        paper=False,
        no_mask=False,
        group="extras",
        reason="if D can tell images apart by outlines, which G may not change, G exaggerates texture instead: 1.2 times the "
        "photographs' after 7,000 steps (docs/study.md)",
    )
    pool_size: int = knob(
        50, "number of past translations kept for the discriminators; 0: none", high=10**6, group="losses"
    )
    ema: float = knob(
        0.0,
        "translate with a moving average of the generators' weights, of this decay, warmed up; 0: with the weights themselves. "
        "0.999 improved runs of 2,500 steps, but not of 7,000 (docs/study.md)",
        high=0.999999,
        metavar="DECAY",
        group="training",
    )
    mask: bool = knob(
        True,
        "translate the hand only; outside its mask the image stays unchanged",
        group="losses",
        basic=True,
    )


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Batches, crops, precision, and the input of trained generators."""

    batch_size: int = knob(
        1, "images per domain, step and process", silnet=4, low=1, high=65536, group="training", basic=True
    )
    crop_size: int = knob(
        128, "side of a training crop", low=32, high=4096, silnet=SAME, metavar="PX", group="data", basic=True
    )
    test_crop_size: int = knob(
        256,
        "side of a validation or test region, centred on the hand; the paper's is 256",
        low=32,
        high=4096,
        metavar="PX",
        group="data",
    )
    background: str = knob("white", "what is outside the hand", choices=BACKGROUNDS, silnet=SAME, group="data")
    flip: bool = knob(False, "mirror training crops at random", silnet=True, group="data")
    normalize_features: bool = knob(
        True,
        "centre VGG16's scales and normalise their size, deep ones to a smaller one, before the perceptual D",
        paper=False,
        group="extras",
        reason="the scales differ tenfold in size and are never negative; centred, D told real from translated hands "
        "better after as many steps (AUC .94 against .89 after 200; one trial)",
    )
    crop_to_hand: bool = knob(
        True,
        "once trained, translate the hand's bounding box only, in which the hand fills as much as in a training crop",
        paper=False,
        no_mask=False,
        group="extras",
        reason="the generator then sees hands as in training, and is faster",
    )
    amp: str = knob(
        "auto",
        "mixed precision; auto: bf16 if the device supports it, else fp16 on CUDA and off on a CPU",
        paper="off",
        silnet=SAME,
        choices=AMPS,
        may_change=True,
        group="machine",
        reason="faster on GPUs and on CPUs with bf16 instructions; the released code trains in float32",
    )


def knobs(*groups: type) -> dict[str, Knob]:
    """{name: Knob} of the dataclasses' fields, by default of all three."""
    return {
        one.name: Knob(name=one.name, type=one.type, **one.metadata)
        for group in groups or (NetworkConfig, Objective, Setup)
        for one in fields(group)
    }


def network_config(options: Any) -> NetworkConfig:
    """The NetworkConfig in options: parse_train's result, or a stored options.yaml as attributes.

    An option that is newer than the stored ones has the paper's value, with which networks are the same as without it.
    """
    return NetworkConfig(**{name: getattr(options, name, knob.paper) for name, knob in knobs(NetworkConfig).items()})


def objective(options: Any) -> Objective:
    """The Objective in options; see network_config."""
    return Objective(**{name: getattr(options, name) for name in knobs(Objective)})
