"""Flags of train.py: the knobs of models/config.py, and those below, which do not belong to networks or objective."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from models import DISCRIMINATORS, GENERATORS, MODELS, SEGMENTERS, VGG_SOURCES
from models.config import SAME, knobs, network_config, objective
from options.options_file import with_options_file
from options.parsing import (
    Parser,
    add_flag,
    add_knob,
    add_switch,
    existing_file,
    integer,
    number,
    parse_with_explicit,
    run_name,
)
from options.shared import (
    BASIC,
    DEMO_ROOT,
    LATER,
    TRANSLATORS,
    add_data_flags,
    add_feature_net_flags,
    add_machine_flags,
)
from util.errors import UsageError
from util.run import runs_in

__all__ = ["network_config", "objective", "parse_train", "train_parser", "without_masks"]


# Groups of flags and their titles in the help.
GROUPS = {
    "run": "run",
    "data": "data",
    "model": "model (--model sets the defaults of --netG and --netD)",
    "losses": "losses",
    "training": "training",
    "extras": "extras, which the paper does not have (all off with --paper)",
    "machine": "machine",
    "watching": "watching",
}


def train_parser() -> Parser:
    """The parser of train.py; see parse_train for the defaults that depend on other flags."""
    parser = Parser(
        prog="train.py",
        usage="python train.py --name NAME [flags]",
        description="Train a translator between synthetic and real hands, unpaired, or SilNet, which segments both. "
        "Several GPUs: torchrun --nproc_per_node=N train.py with the same flags.",
    )
    groups = {name: parser.add_argument_group(title) for name, title in GROUPS.items()}
    add_flag(
        groups["run"],
        "--name",
        type=run_name,
        basic=True,
        help="name of the run; its files go to CHECKPOINTS_DIR/NAME",
    )
    add_data_flags(groups["data"], default_root=DEMO_ROOT)
    add_machine_flags(groups["machine"], amp=False)
    add_flag(
        groups["model"],
        "--model",
        choices=(*MODELS, *SEGMENTERS),
        default="mshgan4",
        basic=True,
        help="a model of Table I, or silnet; geocongan needs --silnet, or a run named silnet",
    )
    add_flag(
        groups["data"],
        "--split_by",
        choices=("frame", "sequence"),
        default="frame",
        help="unit of the split into train, val and test: single frames, as in the paper, or whole sequences and subjects",
    )
    for group, flag, kind, default, metavar, marks, help in (
        ("run", "--n_epochs", integer(1), 10, "N", BASIC | LATER, "epochs; one is a pass over the larger domain"),
        ("run", "--max_steps", integer(0), 0, "N", BASIC | LATER, "stop after N steps; 0: no limit"),
        ("run", "--seed", integer(0, 2**31 - 1), 0, "N", {}, "seed of every random choice"),
        ("run", "--checkpoints_dir", Path, Path("checkpoints"), "DIR", LATER, "folder of all runs"),
        (
            "run",
            "--options",
            existing_file,
            None,
            "FILE",
            BASIC,
            "YAML file of flags, such as lr: 0.0002, or a run's options.yaml; flags on the command line take precedence",
        ),
        ("data", "--test_size", integer(0), None, "N", {}, "test images a domain (a fifth, at most 2000)"),
        ("data", "--val_size", integer(0), None, "N", {}, "validation images a domain (a tenth, at most 400)"),
        (
            "model",
            "--vgg_weights",
            None,
            "auto",
            f"{{{','.join(VGG_SOURCES)},PATH}}",
            TRANSLATORS,
            "VGG16 of the perceptual discriminator; auto: imagenet if available, else hed",
        ),
        (
            "losses",
            "--silnet",
            None,
            None,
            "CHECKPOINT",
            TRANSLATORS,
            "SilNet of --lambda_geo and of test.py's shape scores: a run of --model silnet, its folder, or a .pt file of it",
        ),
        (
            "machine",
            "--accumulate",
            integer(1),
            1,
            "N",
            LATER | TRANSLATORS,
            "compute a step in N parts of its batch: less memory, same gradients (with --norm batch, statistics are those "
            "of a part)",
        ),
        ("watching", "--log_freq", integer(1), 20, "N", BASIC | LATER, "steps between logged losses"),
        ("watching", "--display_freq", integer(0), 200, "N", BASIC | LATER, "steps between image grids; 0: none"),
        (
            "watching",
            "--save_freq",
            integer(0),
            5000,
            "N",
            BASIC | LATER,
            "steps between saves of latest.pt; 0: by time only",
        ),
        (
            "watching",
            "--save_minutes",
            number(0),
            10,
            "M",
            BASIC | LATER,
            "minutes between saves of latest.pt; 0: by steps only",
        ),
        (
            "watching",
            "--save_epoch_freq",
            integer(0),
            0,
            "N",
            BASIC | LATER,
            "epochs between kept snapshots epoch_E.pt; 0: none",
        ),
        ("watching", "--val_interval", number(0), 0.2, "EPOCHS", BASIC | LATER, "epochs between validations; 0: never"),
    ):
        add_flag(groups[group], flag, type=kind, default=default, metavar=metavar, help=help, **marks)
    for group, flag, default, marks, help in (
        ("run", "--continue_train", False, BASIC | LATER, "continue the run NAME from its last save"),
        ("run", "--deterministic", False, {}, "make CUDA results reproducible bit for bit; slower"),
        ("data", "--objects", False, {}, "use SynthHands' sequences with objects too"),
        ("model", "--paper", False, BASIC | TRANSLATORS, "use the published defaults instead of ours"),
        (
            "machine",
            "--compile",
            False,
            LATER,
            "compile the networks with torch.compile; takes a minute or more to start",
        ),
        (
            "machine",
            "--cuda_graphs",
            False,
            LATER | TRANSLATORS,
            "record a training step as a CUDA graph and replay it: 4 times as fast on an H100 at batch 1; one process, --amp bf16 or off",
        ),
        (
            "machine",
            "--checkpoint_activations",
            False,
            LATER | TRANSLATORS,
            "recompute the generators' activations in the backward pass: less memory, more time, same gradients",
        ),
    ):
        add_switch(groups[group], flag, default=default, help=help, **marks)
    add_flag(
        groups["watching"],
        "--best_by",
        choices=("rulers", "distance"),
        default="rulers",
        translators_only=True,
        help="score of best.pt: the distance (FID or FD) and the rulers of structure, texture, tone and fringe (docs/scores.md), "
        "or the distance only",
    )
    add_feature_net_flags(groups["watching"], translators_only=True)
    registries = {"netG": tuple(GENERATORS), "netD": tuple(DISCRIMINATORS)}
    for name, knob in knobs().items():
        add_knob(groups[knob.group], knob, choices=registries.get(name, ()))
    return parser


def parse_train(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse argv (None: the command line) and set all defaults. Raises UsageError for impossible combinations."""
    parser = train_parser()
    argv = with_options_file(list(sys.argv[1:] if argv is None else argv), parser)
    opt = parse_with_explicit(parser, argv)
    del opt.options  # its flags are now in the others
    opt.explicit = [name for name in opt.explicit if name != "options"]
    if opt.name is None:
        raise UsageError(no_name(opt.checkpoints_dir))
    if opt.model in SEGMENTERS:
        settle_segmenter(opt, parser)
    else:
        settle_translator(opt)
    if opt.dataset_mode == "unaligned" and (opt.synth_root or opt.real_root):
        raise UsageError(
            "--synth_root and --real_root belong to --dataset_mode hands; the unaligned layout has --dataroot"
        )
    return opt


def no_name(checkpoints_dir: Path) -> str:
    """The error for a missing --name: how to train on the demo, and which runs exist."""
    runs = runs_in(checkpoints_dir)
    known = (
        f"runs in {checkpoints_dir}: {', '.join(run.name for run in runs)}"
        if runs
        else f"there are no runs in {checkpoints_dir} yet"
    )
    return (
        "--name is required; to train on the demo data, which is made on first use:\n"
        f"    python train.py --name demo --max_steps 300\n{known}"
    )


def settle_segmenter(opt: argparse.Namespace, parser: Parser) -> None:
    """Set SilNet's defaults, and remove the flags of translators. Raises UsageError if one of them was given."""
    idle = [action.dest for action in parser.flags() if action.translators_only]
    given = [flag for flag in idle if flag in opt.explicit]
    if given:
        raise UsageError(
            f"{', '.join('--' + flag for flag in given)}: --model {opt.model} does not use them; drop them, or choose a "
            "translator"
        )
    for flag in idle:
        delattr(opt, flag)
    settle(opt, {name: knob.silnet for name, knob in knobs().items() if knob.silnet is not MISSING})


def settle_translator(opt: argparse.Namespace) -> None:
    """Set a translator's defaults. Raises UsageError for impossible combinations."""
    settle(opt, defaults(opt))
    if opt.lambda_geo and not opt.silnet:
        opt.silnet = known_silnet(opt)
    if "mask" not in opt.explicit:
        opt.mask = not opt.lambda_geo  # as in GeoConGAN, where the loss replaces the mask
    if not opt.mask:
        without_masks(opt)
    multiple = 8 * 2 ** (opt.d_scales - 1)
    if opt.netD == "perceptual" and opt.crop_size % multiple:
        raise UsageError(
            f"--crop_size {opt.crop_size} with --netD perceptual and --d_scales {opt.d_scales}, which take multiples of "
            f"{multiple}"
        )
    if opt.accumulate > opt.batch_size:
        raise UsageError(
            f"--accumulate {opt.accumulate} parts of --batch_size {opt.batch_size}; give at most as many parts as images"
        )
    if opt.checkpoint_activations and opt.norm == "batch":
        raise UsageError(
            "--checkpoint_activations would count every batch twice in the averages of --norm batch; drop one of them"
        )


def defaults(opt: argparse.Namespace) -> dict[str, Any]:
    """A translator's defaults: ours, or the published ones with --paper. Some depend on the model."""
    entry = MODELS[opt.model]
    values = {name: knob.paper if opt.paper else knob.default for name, knob in knobs().items()}
    values |= {"netG": entry.netG, "netD": entry.netD, "lambda_geo": entry.lambda_geo}
    if opt.paper:
        values["lr"] = paper_rate(opt)
    return values


def paper_rate(opt: argparse.Namespace) -> float:
    """The published learning rate of --model or, if that is not given, of the model with the same D, and G if possible."""
    if "model" in opt.explicit:
        return MODELS[opt.model].paper_lr
    netG, netD = opt.netG or MODELS[opt.model].netG, opt.netD or MODELS[opt.model].netD
    alike = [entry for entry in MODELS.values() if entry.netD == netD]
    return next((entry for entry in alike if entry.netG == netG), alike[0]).paper_lr


def known_silnet(opt: argparse.Namespace) -> str:
    """The run named silnet in --checkpoints_dir. Raises UsageError, with the commands that train one, if there is none."""
    if (opt.checkpoints_dir / "silnet").is_dir():
        return "silnet"
    reason = "--lambda_geo" if "lambda_geo" in opt.explicit else f"--model {opt.model}"
    root = f" --dataroot {opt.dataroot}" if "dataroot" in opt.explicit else ""
    raise UsageError(
        f"{reason} needs a SilNet, and there is no run {opt.checkpoints_dir / 'silnet'}; give --silnet CHECKPOINT, or "
        f"--lambda_geo 0 for the masked variant, or train one:\n"
        f"    python train.py --model silnet --name silnet{root}\n"
        f"    python train.py --model {opt.model} --name {opt.name} --silnet silnet{root}"
    )


def without_masks(opt: argparse.Namespace) -> list[str]:
    """Set knobs that were not given to their values with --no-mask. Returns the names of those that changed."""
    values = {name: knob.no_mask for name, knob in knobs().items() if knob.no_mask is not SAME}
    changed = [name for name, value in values.items() if name not in opt.explicit and getattr(opt, name) != value]
    for name in changed:
        setattr(opt, name, values[name])
    return changed


def settle(opt: argparse.Namespace, values: dict[str, Any]) -> None:
    """Set the options that were not given."""
    for name, value in values.items():
        if name not in opt.explicit:
            setattr(opt, name, value)
