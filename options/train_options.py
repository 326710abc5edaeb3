"""Flags of train.py, and what their defaults depend on."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from data.hands import BACKGROUNDS
from models import DISCRIMINATORS, GENERATORS, MODELS, SEGMENTERS
from models.config import NetworkConfig, Objective
from models.features.vgg16 import SOURCES
from models.networks.layers import INITS, NORMS
from models.networks.resnet_generator import UPSAMPLERS
from options.metrics_flags import add_feature_net_flags
from options.parsing import Parser, add_switch, integer, number, parse_with_explicit, run_name
from options.shared import CACHE_DIR, DEMO_ROOT, add_data_flags, add_machine_flags
from util.errors import UsageError

# What --paper chooses, and what worked best in trials (README, "Choices", which says how sure that is). Flags that are given
# win over both.
PUBLISHED = {
    "upsample": "deconv",
    "ema": 0.0,
    "normalize_features": False,
    "init_gain": 0.02,
    "flip": False,
    "warmup": 0,
    "hand_box": False,
    "input_noise": 0.0,
    "d_shift": 0,
    "raw_l1": False,
    "common_mask": False,
    "hand_share": 0.0,
    "lr_ratio": 1.0,
    "cycle_tone": 1.0,
    "lambda_detail": 0.0,
}
MEASURED = {
    "upsample": "smooth",
    "ema": 0.999,
    "normalize_features": True,
    "init_gain": 1.0,
    "flip": True,
    "warmup": 100,
    "hand_box": True,
    "input_noise": 0.07,
    "d_shift": 8,
    "raw_l1": True,
    "common_mask": True,
    "hand_share": 0.75,
    "lr_ratio": 0.75,
    "cycle_tone": 0.2,
    "lambda_detail": 16.0,
    "lr": 2e-4,
    "lr_final": 2e-5,
}
COMMON = {"beta1": 0.5, "batch_size": 1}
# What train.py --model silnet has no use for: what these flags speak of, SilNet does not have.
TRANSLATORS_ALONE = [
    "paper",
    "netG",
    "netD",
    "upsample",
    "ndf",
    "norm",
    "hand_share",
    "dropout",
    "init_type",
    "init_gain",
    "vgg_weights",
    "normalize_features",
    "lambda_gan",
    "lambda_cycle",
    "cycle_tone",
    "lambda_identity",
    "lambda_detail",
    "lambda_r1",
    "lambda_geo",
    "silnet",
    "lr_final",
    "lr_ratio",
    "input_noise",
    "d_shift",
    "raw_l1",
    "common_mask",
    "pool_size",
    "mask",
    "ema",
    "hand_box",
    "feature_net",
    "inception_weights",
    "accumulate",
    "checkpoint_activations",
]


def train_parser() -> Parser:
    """The parser of train.py; see parse_train for the defaults that depend on other flags."""
    parser = Parser(
        prog="train.py",
        usage="python train.py --name NAME [flags]",
        description="Train a translator between synthetic and real hands, unpaired, or SilNet, which segments both. "
        "Several GPUs: torchrun --nproc_per_node=N train.py with the same flags.",
    )
    run = parser.add_argument_group("run")
    run.add_argument("--name", type=run_name, required=True, help="of the run; its files go to CHECKPOINTS_DIR/NAME")
    run.add_argument("--checkpoints_dir", type=Path, default=Path("checkpoints"), metavar="DIR", help="holds all runs")
    add_switch(run, "--continue_train", default=False, help="go on with the run NAME from where it was saved last")
    run.add_argument("--n_epochs", type=integer(1), default=10, metavar="N", help="passes over the larger domain")
    run.add_argument("--max_steps", type=integer(0), default=0, metavar="N", help="stop after N steps; 0: no cap")
    run.add_argument("--seed", type=integer(0, 2**31 - 1), default=0, metavar="N", help="of every random choice")
    add_switch(run, "--deterministic", default=False, help="make CUDA repeat itself bit for bit, more slowly")

    data = parser.add_argument_group("data")
    add_data_flags(data, default_root=DEMO_ROOT)
    add_switch(data, "--objects", default=False, help="take SynthHands' sequences with objects too")
    data.add_argument(
        "--split_by",
        choices=("frame", "sequence"),
        default="frame",
        help="draw single frames for test and val, as the paper does, or whole sequences and subjects",
    )
    data.add_argument("--test_size", type=integer(0), metavar="N", help="test images a domain (a fifth, at most 2000)")
    data.add_argument(
        "--val_size", type=integer(0), metavar="N", help="validation images a domain (a tenth, at most 400)"
    )
    data.add_argument("--crop_size", type=integer(32, 4096), default=128, metavar="PX", help="side of a training crop")
    data.add_argument("--background", choices=BACKGROUNDS, default="white", help="what is outside the hand")
    add_switch(
        data,
        "--cache",
        default=None,
        help="cut crops from packed hands, made once in CACHE_DIR, instead of decoding images at every step; same "
        "samples, bit for bit (default: packs that are there, and new ones if the run is of two epochs or more)",
    )
    data.add_argument("--cache_dir", type=Path, default=CACHE_DIR, metavar="DIR", help="packed hands, for all runs")
    add_switch(data, "--flip", default=None, help="mirror crops at random (default: on; off with --paper)")

    model = parser.add_argument_group("model (defaults of --netG and --netD: --model's; a flag given wins)")
    model.add_argument("--model", choices=(*MODELS, *SEGMENTERS), default="mshgan4", help="one of Table I, or silnet")
    add_switch(model, "--paper", default=False, help="every default as published, instead of as measured best")
    model.add_argument("--netG", choices=tuple(GENERATORS), help="generator")
    model.add_argument("--netD", choices=tuple(DISCRIMINATORS), help="discriminator")
    model.add_argument(
        "--upsample", choices=tuple(UPSAMPLERS), help="the generator's (default: smooth; deconv with --paper)"
    )
    model.add_argument(
        "--ngf", type=integer(1, 1024), default=64, metavar="N", help="first width of the generator, or of SilNet"
    )
    model.add_argument("--ndf", type=integer(1, 1024), default=64, metavar="N", help="discriminator's first width")
    model.add_argument("--norm", choices=tuple(NORMS), default="instance", help="normalisation (perceptual D has none)")
    model.add_argument(
        "--hand_share",
        type=number(0, 1),
        metavar="X",
        help="the hand's least share in the statistics of generators' instance normalisation, whatever surrounds it; 0: "
        "every pixel counts alike (default: 0.75; 0 with --paper and with --no-mask)",
    )
    add_switch(model, "--dropout", default=False, help="dropout in the generator's residual blocks")
    model.add_argument("--init_type", choices=tuple(INITS), default="xavier", help="weights' initialisation")
    model.add_argument(
        "--init_gain", type=number(0, above=True), metavar="X", help="its gain (default: 1; 0.02 with --paper)"
    )
    model.add_argument(
        "--vgg_weights",
        default="auto",
        metavar=f"{{{','.join(SOURCES)},PATH}}",
        help="the perceptual discriminator's VGG16; auto: imagenet if it can be had, else hed",
    )
    add_switch(
        model,
        "--normalize_features",
        default=None,
        help="centre VGG16's scales and divide them by their size, deep ones by more, before the discriminator (default: on; "
        "off with --paper)",
    )

    train = parser.add_argument_group("training")
    train.add_argument(
        "--batch_size",
        type=integer(1, 65536),
        metavar="N",
        help="images a domain, step and process (default: 1; SilNet 4)",
    )
    train.add_argument(
        "--lr",
        type=number(0, 1, above=True),
        metavar="X",
        help="Adam's learning rate (default: 2e-4; Table I's with --paper; SilNet 1e-3)",
    )
    train.add_argument(
        "--lr_final",
        type=number(0, 1, above=True),
        metavar="X",
        help="what generators' lr falls to after the warm-up, or 100 steps, as 1 / step (default: 2e-5; --lr with --paper)",
    )
    train.add_argument(
        "--lr_ratio",
        type=number(0, 100, above=True),
        metavar="X",
        help="discriminators' learning rate over --lr; it does not fall (default: 0.75; 1 with --paper)",
    )
    train.add_argument(
        "--warmup",
        type=integer(0),
        metavar="N",
        help="steps over which lr rises to its value (default: 100; 0 with --paper)",
    )
    train.add_argument("--beta1", type=number(0, 0.9999), metavar="X", help="Adam's (default: 0.5; SilNet 0.9)")
    train.add_argument("--lambda_gan", type=number(0), default=1.0, metavar="X", help="weight of the adversarial loss")
    train.add_argument("--lambda_cycle", type=number(0), default=10.0, metavar="X", help="weight of the cycle loss")
    train.add_argument(
        "--cycle_tone",
        type=number(0, 1),
        metavar="X",
        help="how much of a hand's colour and soft light the cycle loss asks back, which otherwise get hidden in patterns "
        "on the skin; 1: all (default: 0.2; 1 with --paper and with --no-mask)",
    )
    train.add_argument(
        "--lambda_identity",
        type=number(0),
        default=0.5,
        metavar="X",
        help="weight of the identity loss, times lambda_cycle",
    )
    train.add_argument(
        "--lambda_detail",
        type=number(0),
        metavar="X",
        help="weight of the difference between a translation's detail and its source's (default: 16; 0 with --paper and with "
        "--no-mask)",
    )
    train.add_argument(
        "--lambda_r1",
        type=number(0),
        default=0.0,
        metavar="X",
        help="weight of the R1 penalty on D's gradient at real images; experimental, 0: none",
    )
    train.add_argument(
        "--lambda_geo",
        type=number(0),
        default=0.0,
        metavar="X",
        help="weight of GeoConGAN's geometrically consistent loss: what SilNet makes of a translation, unmasked, against "
        "the source's mask; takes --silnet. 0: none",
    )
    train.add_argument(
        "--silnet",
        metavar="CHECKPOINT",
        help="SilNet for --lambda_geo, and for test.py's shape scores of this run: a run of --model silnet, its folder, or "
        "a .pt file of it",
    )
    add_switch(
        train,
        "--raw_l1",
        default=None,
        help="cycle and identity losses see outputs before the mask composites them, so that the ground, too, has to stay "
        "as it was (default: on; off with --paper)",
    )
    train.add_argument(
        "--input_noise",
        type=number(0, 1),
        metavar="X",
        help="deviation of the noise added to what generators see, of images in [-1, 1] (default: 0.07; 0 with --paper)",
    )
    train.add_argument(
        "--d_shift",
        type=integer(0, 64),
        metavar="PX",
        help="move what discriminators see at random by up to PX (default: 8; 0 with --paper)",
    )
    add_switch(
        train,
        "--common_mask",
        default=None,
        help="discriminators see of a real and a synthetic hand only where the two overlap, so that outlines tell them "
        "nothing (default: on; off with --paper)",
    )
    train.add_argument(
        "--pool_size", type=integer(0, 10**6), default=50, metavar="N", help="past fakes shown to D; 0: none"
    )
    add_switch(
        train,
        "--mask",
        default=None,
        help="translate the hand alone: outside its mask the image stays (default: on; off with --lambda_geo)",
    )
    train.add_argument(
        "--ema",
        type=number(0, 0.999999),
        metavar="DECAY",
        help="decay of the generators' moving average, warmed up; 0: off (default: 0.999; 0 with --paper)",
    )

    machine = parser.add_argument_group("machine")
    add_machine_flags(machine)
    add_switch(
        machine,
        "--compile",
        default=False,
        help="torch.compile the networks: slow to start; not measured on CUDA so far",
    )
    machine.add_argument(
        "--accumulate",
        type=integer(1),
        default=1,
        metavar="N",
        help="compute a step in N parts of its batch, one after another: the same gradients in a fraction of the memory "
        "(with --norm batch, statistics are a part's)",
    )
    add_switch(
        machine,
        "--checkpoint_activations",
        default=False,
        help="keep less of the generators for the backward pass and compute it anew: less memory, more time, same gradients",
    )

    watch = parser.add_argument_group("watching")
    watch.add_argument("--log_freq", type=integer(1), default=20, metavar="N", help="steps between logged losses")
    watch.add_argument(
        "--display_freq", type=integer(0), default=200, metavar="N", help="steps between image grids; 0: none"
    )
    watch.add_argument(
        "--save_freq",
        type=integer(0),
        default=5000,
        metavar="N",
        help="steps between saves of latest.pt; 0: by time alone",
    )
    watch.add_argument(
        "--save_minutes",
        type=number(0),
        default=10,
        metavar="M",
        help="minutes between saves of latest.pt; 0: by steps alone",
    )
    watch.add_argument(
        "--save_epoch_freq",
        type=integer(0),
        default=0,
        metavar="N",
        help="keep epoch_E.pt, what test.py --epoch E takes, every N epochs; 0: never",
    )
    watch.add_argument(
        "--val_interval", type=number(0), default=0.2, metavar="EPOCHS", help="epochs between validations; 0: never"
    )
    add_switch(
        watch,
        "--hand_box",
        default=None,
        help="once trained, translate the hand's bounding box, of which it fills as much as of a training crop, instead "
        "of all there is (default: on; off with --paper, and where there is no mask)",
    )
    add_feature_net_flags(watch)
    return parser


def parse_train(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse argv (None: the command line) and settle every default. Raises UsageError for combinations that cannot work."""
    opt = parse_with_explicit(train_parser(), argv)
    settle = settle_segmenter if opt.model in SEGMENTERS else settle_translator
    settle(opt)
    if opt.dataset_mode == "unaligned" and (opt.synth_root or opt.real_root):
        raise UsageError(
            "--synth_root and --real_root belong to --dataset_mode hands; the unaligned layout has --dataroot"
        )
    return opt


def settle_segmenter(opt: argparse.Namespace) -> None:
    """Settle the defaults of SilNet, and drop the flags of translators; UsageError if one was given."""
    given = [flag for flag in TRANSLATORS_ALONE if flag in opt.explicit]
    if given:
        flags = ", ".join(f"--{flag}" for flag in given)
        raise UsageError(f"--model {opt.model} has no use for {flags}; drop them, or name a translator")
    for flag in TRANSLATORS_ALONE:
        delattr(opt, flag)
    _settle(opt, SEGMENTERS[opt.model]._asdict() | {key: MEASURED[key] for key in ("flip", "warmup")})


def settle_translator(opt: argparse.Namespace) -> None:
    """Settle the defaults of a translator. Raises UsageError for combinations that cannot work."""
    entry = MODELS[opt.model]
    published = PUBLISHED | {"lr": entry.paper_lr, "lr_final": opt.lr or entry.paper_lr}
    _settle(opt, COMMON | {"netG": entry.netG, "netD": entry.netD} | (published if opt.paper else MEASURED))
    if opt.lambda_geo and not opt.silnet:
        raise UsageError(
            "--lambda_geo needs a SilNet: train one (--model silnet --name silnet) and add --silnet silnet"
        )
    if opt.mask is None:
        opt.mask = not opt.lambda_geo  # as in GeoConGAN: the loss takes the mask's place
    if not opt.mask:
        if "hand_box" not in opt.explicit:
            opt.hand_box = False  # without masks a model may paint anywhere, and what it paints is to be seen
        if "hand_share" not in opt.explicit:
            opt.hand_share = 0.0
        if "cycle_tone" not in opt.explicit:
            opt.cycle_tone = 1.0
        if "lambda_detail" not in opt.explicit:
            opt.lambda_detail = 0.0
    if opt.netD == "perceptual" and opt.crop_size % 32:
        raise UsageError(f"--crop_size {opt.crop_size} with --netD perceptual, which takes multiples of 32")
    if opt.accumulate > opt.batch_size:
        raise UsageError(
            f"--accumulate {opt.accumulate} parts of --batch_size {opt.batch_size}; give at most as many parts as images"
        )
    if opt.checkpoint_activations and opt.norm == "batch":
        raise UsageError(
            "--checkpoint_activations would count every batch twice in --norm batch's averages; choose one of them"
        )


def _settle(opt: argparse.Namespace, defaults: dict[str, object]) -> None:
    for key, value in defaults.items():
        if getattr(opt, key) is None:
            setattr(opt, key, value)


def network_config(opt) -> NetworkConfig:
    """The part of the options that networks are built from; also from a stored options.yaml."""
    return NetworkConfig(**{name: getattr(opt, name) for name in NetworkConfig.__dataclass_fields__})


def objective(opt) -> Objective:
    """The part of the options that says what is minimised, and how."""
    return Objective(**{name: getattr(opt, name) for name in Objective.__dataclass_fields__})
