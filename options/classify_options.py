"""Flags of classify.py."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from models import PATCH_SIZE, VITS
from options.parsing import Parser, add_flag, add_switch, existing_dir, integer, number, parse_with_explicit, run_name
from options.shared import add_machine_flags, add_strict_flag
from util.errors import UsageError

EXPERIMENTS = ("table2", "table3")


def classify_parser() -> Parser:
    """The parser of classify.py; see parse_classify for what it checks beyond single flags."""
    parser = Parser(
        prog="classify.py",
        description="Can a Vision Transformer, trained from scratch, tell translated hands from real ones? "
        "Reproduces Table II, or Table III with Fig. 7, of the paper.",
    )
    add_flag(parser, "--experiment", basic=True, choices=EXPERIMENTS, required=True, help="which table to reproduce")

    hands = parser.add_argument_group("hands: a translated run, or three folders")
    add_flag(
        hands,
        "--name",
        basic=True,
        type=run_name,
        help="run whose results/NAME/all, else results/NAME/test, holds the hands that test.py wrote; they are divided "
        "as the run's splits.json says",
    )
    add_flag(
        hands,
        "--synth_dir",
        basic=True,
        type=existing_dir,
        help="folder of synthetic hands (with --real_dir, --gen_dir)",
    )
    add_flag(hands, "--real_dir", basic=True, type=existing_dir, help="folder of real hands")
    add_flag(
        hands, "--gen_dir", basic=True, type=existing_dir, help="folder of translated hands, named as their sources"
    )
    add_flag(
        hands,
        "--checkpoints_dir",
        may_change=True,
        type=Path,
        default=Path("checkpoints"),
        help="folder of the run NAME",
    )
    add_flag(
        hands, "--train_per_class", basic=True, type=integer(1), default=10500, help="most training images a class"
    )
    add_flag(hands, "--test_per_class", basic=True, type=integer(1), default=3500, help="most test images a class")
    add_flag(
        hands,
        "--background_root",
        basic=True,
        type=existing_dir,
        help="folder of background photographs, read recursively (default: drawn rooms)",
    )

    add_strict_flag(hands)

    training = parser.add_argument_group("training")
    add_flag(
        training, "--vit", basic=True, choices=tuple(VITS), default="base", help="the transformer, with patches of 16"
    )
    add_flag(training, "--img_size", basic=True, type=multiple_of_patch, default=224, help="side of an image in pixels")
    add_flag(
        training,
        "--n_epochs",
        may_change=True,
        basic=True,
        type=integer(1),
        default=20,
        help="epochs for each training set",
    )
    add_flag(
        training, "--max_steps", may_change=True, type=integer(0), default=0, help="cap for each training set, 0 = none"
    )
    add_flag(training, "--batch_size", basic=True, type=integer(1, 65536), default=32, help="images a step")
    add_flag(
        training, "--lr", basic=True, type=number(0, 1, above=True), default=1e-5, help="Adam's constant learning rate"
    )
    add_flag(training, "--seed", type=integer(0, 2**31 - 1), default=0, help="seed of weights, draws and backgrounds")
    machine = parser.add_argument_group("machine and files")
    add_machine_flags(machine)
    add_flag(
        machine,
        "--results_dir",
        basic=True,
        type=Path,
        default=Path("results"),
        help="results go to RESULTS_DIR/classify/EXPERIMENT",
    )
    add_flag(machine, "--log_freq", may_change=True, type=integer(1), default=10, help="steps between logged losses")
    add_flag(
        machine,
        "--save_freq",
        may_change=True,
        type=integer(0),
        default=5000,
        help="steps between saves, 0 = by time only",
    )
    add_flag(
        machine,
        "--save_minutes",
        may_change=True,
        type=number(0),
        default=10,
        help="minutes between saves, 0 = by steps only",
    )
    add_switch(
        machine,
        "--continue_train",
        may_change=True,
        basic=True,
        default=False,
        help="continue an interrupted study; finished trainings are skipped",
    )
    return parser


def multiple_of_patch(text: str) -> int:
    """An argument type: a positive multiple of the patch size."""
    size = integer(PATCH_SIZE, 4096)(text)
    if size % PATCH_SIZE:
        raise argparse.ArgumentTypeError(f"{size} is not a multiple of {PATCH_SIZE}, the side of a patch")
    return size


def parse_classify(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse argv (None: the command line); `.explicit` lists the given flags.

    Raises UsageError unless the hands come from either --name or all three folders.
    """
    opt = parse_with_explicit(classify_parser(), argv)
    folders = {f"--{flag}": getattr(opt, flag) for flag in ("synth_dir", "real_dir", "gen_dir")}
    given = [flag for flag, folder in folders.items() if folder]
    if opt.name and given:
        raise UsageError(f"--name and {', '.join(given)} are given: choose a run, or the three folders")
    if not opt.name and len(given) < len(folders):
        missing = [flag for flag in folders if flag not in given]
        raise UsageError(
            f"no hands to classify: {', '.join(missing)} missing; give --name of a run that test.py has translated, or "
            "all of --synth_dir, --real_dir, --gen_dir"
        )
    same = [flag for flag in given if list(folders.values()).count(folders[flag]) > 1]
    if same:
        raise UsageError(f"{', '.join(same)} are the same folder, {folders[same[0]]}")
    return opt
