"""The training options of translators: networks, objective and setup. Imports neither PyTorch nor OpenCV.

Each option is a field made by `option`, with our default, the paper's value, its range or choices, and its help. The parser of
train.py, --paper, docs/defaults.md and docs/paper.md follow from these fields. To add an option, add a field and read it where it acts.
"""

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, NamedTuple

from models import DISCRIMINATORS, GENERATORS, MODELS

SAME = object()  # "the same as the default"


class Option(NamedTuple):
    """A training option: the metadata of its field.

    paper: the value with --paper. no_mask: with --no-mask, unless the flag is given. silnet: with --model silnet; MISSING if
    SilNet does not have the option. choices: of a text. low, high: the range of a number, which includes both ends, or high
    only if `above`. of_model: the default is that of the entry in MODELS. part: a switch without a flag, which
    --options turns off. basic: --help shows it. may_change: when a run is continued. reason: why our default is not the paper's.
    """

    name: str
    type: type
    default: Any
    help: str
    paper: Any
    silnet: Any
    group: str = "model"
    no_mask: Any = SAME
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = 1e6
    above: bool = False
    of_model: bool = False
    part: bool = False
    basic: bool = False
    may_change: bool = False
    reason: str = ""


def option(default: Any, help: str, *, paper: Any = SAME, silnet: Any = MISSING, **details: Any) -> Any:
    """A dataclass field for a flag of train.py of the same name; see Option for the arguments."""
    details["paper"] = default if paper is SAME else paper
    details["silnet"] = default if silnet is SAME else silnet
    return field(default=default, metadata={"default": default, "help": help, **details})


def part(help: str, *, reason: str, no_mask: Any = False) -> Any:
    """A field for a departure from the paper, on by default, which a line in --options turns off."""
    return option(True, help, paper=False, no_mask=no_mask, part=True, group="extras", reason=reason)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The networks' architecture and initialisation."""

    netG: str = option("resnet_4blocks", "generator", choices=tuple(GENERATORS), of_model=True, basic=True)
    netD: str = option("perceptual", "discriminator", choices=tuple(DISCRIMINATORS), of_model=True, basic=True)
    ngf: int = option(64, "first width of the generator, or of SilNet", low=1, high=1024, silnet=SAME)
    ndf: int = option(64, "first width of the discriminator", low=1, high=1024)
    norm: str = option(
        "instance", "normalisation layers; not in the perceptual D", choices=("instance", "batch", "none")
    )
    dropout: bool = option(False, "dropout in the generator's residual blocks")
    upsample: str = option(
        "smooth",
        "upsampling layers of the generator",
        paper="deconv",
        choices=("smooth", "resize", "deconv"),
        reason="transposed convolutions leave stripes, and plain resizing lets a mottling of 8 pixels grow",
    )
    init_type: str = option("xavier", "initial weights", choices=("xavier", "normal", "kaiming", "orthogonal"))
    init_gain: float = option(
        1.0,
        "gain of the initial weights",
        paper=0.02,
        above=True,
        reason="with 0.02, the perceptual D, which has no normalisation, starts learning only after some hundred steps",
    )
    normalize_features: bool = part(
        "a calibrated perceptual D: VGG16's scales are centred and of one size, which its initial weights keep",
        no_mask=SAME,
        reason="the scales differ tenfold in size and are never negative; centred, D told real from translated hands better "
        "(AUC .94 against .89 after 200 steps). With the paper's initial weights, hands had fine stripes after 2,500 steps",
    )


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The losses, the optimizers, and the extras of training."""

    lr: float = option(
        1e-4,
        "learning rate of Adam",
        paper=MODELS["mshgan4"].paper_lr,  # other models have others: options.train_options
        silnet=1e-3,
        high=1,
        above=True,
        group="training",
        basic=True,
        may_change=True,
        reason="the paper's rate depends on the model: 5e-5, GeoConGAN 2e-4. At 2e-4 (and joints of weight 1,000) mshgan4's FD was 10 higher after 3,000 steps",
    )
    lr_decay: str = option(
        "none",
        "linear: learning rates fall to 0 over the second half of the run; none: they stay constant",
        choices=("linear", "none"),
        may_change=True,
        group="training",
    )
    beta1: float = option(0.5, "decay of Adam's first moment", silnet=0.9, high=0.9999, group="training")
    lambda_gan: float = option(1.0, "weight of the adversarial loss (Eq. 1)", group="losses", basic=True)
    lambda_cycle: float = option(
        10.0, "weight of the cycle consistency loss; the identity loss scales with it", group="losses", basic=True
    )
    # The paper's (IV.A), relative to the cycle's as in CycleGAN. With cycle 5, identity .2 and joints 1,000 FD was 72 for 58 after
    # 3,000 steps, and a tracker found .74 of the joints for .83.
    lambda_identity: float = option(
        0.5, "weight of the identity loss relative to --lambda_cycle", group="losses", basic=True
    )
    lambda_joints: float = option(
        300.0,
        "weight of the loss that keeps the joints of synthetic hands where they are, by a frozen network; 0: none",
        paper=0.0,
        no_mask=0.0,
        group="extras",
        reason="without it fingers go: after 3,500 steps a hand tracker found .695 of the joints within a tenth of the hand's size, "
        "for .808 in the renders; with it, after 3,000 steps, .851 for .856. With a loss that keeps edges in its place FD was 8 higher",
    )
    lambda_geo: float = option(
        0.0,
        "weight of GeoConGAN's loss, which compares --silnet's silhouettes with masks; 0: none (with --model geocongan: 1)",
        group="losses",
    )
    extend_colors: bool = part(
        "generators see the hand's own colours in a band around it; cycle and identity losses then compare hands only",
        reason="with white beside the hand, G paints coloured fringes, of 1.7 times the photographs' chroma; with it, 1.1",
    )
    average_weights: bool = part(
        "translate with a weighted mean of the generators' weights over training; step t has weight t (t + 1)",
        no_mask=SAME,
        reason="late steps differ, and some are bad: the weights of one run's step 7,000 gave FD 58.8 and .748 of the joints, their mean over "
        "the run 49.6 and .877",
    )
    match_tone: bool = part(
        "set each translated hand's mean colour, by both domains' means and spreads (when translating, covariances): a hand darker than most stays darker than most",
        reason="instance normalisation takes a hand's tone away, and D hardly minds which it gets: mean redness wandered from step to step (a* "
        "was 9.5 and 3.8 in two runs, 6.0 in photographs), and differed between hands .2 to .6 times as much as in photographs",
    )
    common_mask: bool = part(
        "discriminators see real and synthetic hands only where their masks overlap",
        reason="if D can tell images apart by outlines, which G may not change, G exaggerates texture, to 1.2 times that of "
        "photographs after 7,000 steps",
    )
    mean_of_views: bool = part(
        "once trained, translate a hand, and its mirror image enlarged by an eighth, and mix the two with 15 % of the hand itself",
        no_mask=SAME,
        reason="what the views do not share is noise, or a crease that the hand does not call for. Against one translation, FD of two best.pt "
        "fell by 5.5 and 12.5, and a hand tracker found 3.5 and 6.7 points more of the joints, with a view enlarged by a quarter; by an eighth is a "
        "little better and quicker. Unmasked hands, whose shape changes, are not mixed in",
    )
    pool_size: int = option(50, "past translations kept for the discriminators; 0: none", high=10**6, group="losses")
    mask: bool = option(
        True, "translate the hand only; the rest of the image stays unchanged", group="losses", basic=True
    )


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Batches, crops, precision, and the input of trained generators."""

    batch_size: int = option(
        1, "images per domain, step and process", silnet=4, low=1, high=65536, group="training", basic=True
    )
    crop_size: int = option(128, "side of a training crop", low=32, high=4096, silnet=SAME, group="data", basic=True)
    crop_to_hand: bool = part(
        "once trained, translate the hand's bounding box only, in which the hand fills as much as in a training crop",
        no_mask=SAME,
        reason="the generator then sees hands as in training, and is faster. Unmasked models paint whole regions, which are mostly white, grey",
    )
    amp: str = option(
        "auto",
        "mixed precision; auto: bf16 if the device supports it, else fp16 on CUDA and off on a CPU",
        paper="off",
        silnet=SAME,
        choices=("auto", "fp16", "bf16", "off"),
        may_change=True,
        group="machine",
        reason="faster on GPUs and on CPUs with bf16 instructions; the released code trains in float32",
    )


def options_of(*groups: type) -> dict[str, Option]:
    """{name: Option} of the dataclasses' fields, by default of all three."""
    return {
        one.name: Option(name=one.name, type=one.type, **one.metadata)
        for group in groups or (NetworkConfig, Objective, Setup)
        for one in fields(group)
    }


def network_config(options: Any) -> NetworkConfig:
    """The NetworkConfig in options: parse_train's result, or a stored options.yaml as attributes."""
    return NetworkConfig(**{name: getattr(options, name) for name in options_of(NetworkConfig)})


def objective(options: Any) -> Objective:
    """The Objective in options; see network_config."""
    return Objective(**{name: getattr(options, name) for name in options_of(Objective)})
