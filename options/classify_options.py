"""Flags of classify.py."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from models import PATCH_SIZE, VITS
from options.parsing import Parser, existing_dir, integer, number, refuse, run_name
from options.shared import BASIC, LATER, add_machine_flags

EXPERIMENTS = ("table2", "table3")


def classify_parser() -> Parser:
    """The parser of classify.py; see parse_classify for what it checks beyond single flags."""
    parser = Parser(
        prog="classify.py",
        description="Can a Vision Transformer, trained from scratch, tell translated hands from real ones? "
        "Reproduces Table II, or Table III with Fig. 7, of the paper.",
    )
    study = parser.group("study")
    study("experiment", EXPERIMENTS, None, "which table to reproduce", required=True, **BASIC)

    hands = parser.group("hands: a translated run, or three folders")
    run = "run whose results/NAME/all, else results/NAME/test, are classified, divided as its splits.json says"
    hands("name", run_name, None, run, **BASIC)
    hands("synth_dir", existing_dir, None, "folder of synthetic hands (with --real_dir, --gen_dir)", **BASIC)
    hands("real_dir", existing_dir, None, "folder of real hands", **BASIC)
    hands("gen_dir", existing_dir, None, "folder of translated hands, named as their sources", **BASIC)
    rooms = "folder of background photographs, read recursively (default: drawn rooms)"
    hands("background_root", existing_dir, None, rooms, **BASIC)
    hands("checkpoints_dir", Path, Path("checkpoints"), "folder of the run NAME", **LATER)
    hands("train_per_class", integer(1), 10500, "most training images a class", **BASIC)
    hands("test_per_class", integer(1), 3500, "most test images a class", **BASIC)

    training = parser.group("training")
    training("vit", tuple(VITS), "base", "the transformer, with patches of 16", **BASIC)
    training("img_size", multiple_of_patch, 224, "side of an image in pixels", **BASIC)
    training("n_epochs", integer(1), 20, "epochs for each training set", **BASIC, **LATER)
    training("max_steps", integer(0), 0, "cap for each training set, 0 = none", **LATER)
    training("batch_size", integer(1, 65536), 32, "images a step", **BASIC)
    training("lr", number(0, 1, above=True), 1e-5, "Adam's constant learning rate", **BASIC)
    training("seed", integer(0, 2**31 - 1), 0, "seed of weights, draws and backgrounds")

    machine = parser.group("machine and files")
    add_machine_flags(machine)
    machine("results_dir", Path, Path("results"), "results go to RESULTS_DIR/classify/EXPERIMENT", **BASIC)
    machine("log_freq", integer(1), 10, "steps between logged losses", **LATER)
    machine("save_freq", integer(0), 5000, "steps between saves, also made every 10 minutes", **LATER)
    again = "continue an interrupted study; finished trainings are skipped"
    machine("continue_train", bool, False, again, **BASIC, **LATER)
    return parser


def multiple_of_patch(text: str) -> int:
    """An argument type: a positive multiple of the patch size."""
    size = integer(PATCH_SIZE, 4096)(text)
    if size % PATCH_SIZE:
        raise argparse.ArgumentTypeError(f"{size} is not a multiple of {PATCH_SIZE}, the side of a patch")
    return size


def parse_classify(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse argv (None: the command line). Raises UsageError unless hands come from either --name or all three folders."""
    opt = classify_parser().parse(argv)
    folders = {"--synth_dir": opt.synth_dir, "--real_dir": opt.real_dir, "--gen_dir": opt.gen_dir}
    given = [flag for flag, folder in folders.items() if folder]
    missing = ", ".join(flag for flag in folders if flag not in given)
    same = [flag for flag in given if list(folders.values()).count(folders[flag]) > 1]
    refuse(opt.name and given, f"--name and {', '.join(given)} are given: choose a run, or the three folders")
    refuse(
        not opt.name and missing,
        f"no hands to classify: {missing} missing; give --name of a run that test.py has translated, or all of "
        f"{', '.join(folders)}",
    )
    refuse(same, f"{', '.join(same)} are the same folder")
    return opt
