"""Flags of classify.py."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from models import PATCH_SIZE, VITS
from options.parsing import Parser, add_flag, add_switch, existing_dir, integer, number, parse_with_explicit, run_name
from options.shared import BASIC, LATER, add_machine_flags, add_strict_flag
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
    for flag, help in (
        ("--synth_dir", "folder of synthetic hands (with --real_dir, --gen_dir)"),
        ("--real_dir", "folder of real hands"),
        ("--gen_dir", "folder of translated hands, named as their sources"),
        ("--background_root", "folder of background photographs, read recursively (default: drawn rooms)"),
    ):
        add_flag(hands, flag, basic=True, type=existing_dir, help=help)
    training = parser.add_argument_group("training")
    add_flag(
        training, "--vit", basic=True, choices=tuple(VITS), default="base", help="the transformer, with patches of 16"
    )
    machine = parser.add_argument_group("machine and files")
    add_machine_flags(machine)
    for group, flag, kind, default, marks, help in (
        (hands, "--checkpoints_dir", Path, Path("checkpoints"), LATER, "folder of the run NAME"),
        (hands, "--train_per_class", integer(1), 10500, BASIC, "most training images a class"),
        (hands, "--test_per_class", integer(1), 3500, BASIC, "most test images a class"),
        (training, "--img_size", multiple_of_patch, 224, BASIC, "side of an image in pixels"),
        (training, "--n_epochs", integer(1), 20, BASIC | LATER, "epochs for each training set"),
        (training, "--max_steps", integer(0), 0, LATER, "cap for each training set, 0 = none"),
        (training, "--batch_size", integer(1, 65536), 32, BASIC, "images a step"),
        (training, "--lr", number(0, 1, above=True), 1e-5, BASIC, "Adam's constant learning rate"),
        (training, "--seed", integer(0, 2**31 - 1), 0, {}, "seed of weights, draws and backgrounds"),
        (machine, "--results_dir", Path, Path("results"), BASIC, "results go to RESULTS_DIR/classify/EXPERIMENT"),
        (machine, "--log_freq", integer(1), 10, LATER, "steps between logged losses"),
        (machine, "--save_freq", integer(0), 5000, LATER, "steps between saves, 0 = by time only"),
        (machine, "--save_minutes", number(0), 10, LATER, "minutes between saves, 0 = by steps only"),
    ):
        add_flag(group, flag, type=kind, default=default, help=help, **marks)
    add_strict_flag(hands)
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
