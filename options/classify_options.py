"""Flags of classify.py."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from models import PATCH_SIZE, VITS
from options.parsing import Parser, existing_path, integer, number, refuse, run_name
from options.shared import BASIC, LATER, add_machine_flags
from util.files import user_path


def classify_parser() -> Parser:
    """The parser of classify.py; see parse_classify for what it checks beyond single flags."""
    parser = Parser(
        prog="classify.py",
        description="Can a Vision Transformer, trained from scratch, tell translated hands from real ones? "
        "Reproduces Table II, or Table III with Fig. 7, of the paper.",
    )
    hands = parser.group("study of a translated run, or of three folders", **BASIC)
    hands("experiment", ("table2", "table3"), None, "which table to reproduce", required=True)
    hands(
        "name", run_name, None, "run whose hands are classified, those in results/NAME/all; others are translated first"
    )
    hands("synth_dir", existing_path, None, "folder of synthetic hands (with --real_dir, --gen_dir)")
    hands("real_dir", existing_path, None, "folder of real hands")
    hands("gen_dir", existing_path, None, "folder of translated hands, named as their sources")
    hands("results_dir", user_path, Path("results"), "results go to RESULTS_DIR/classify/EXPERIMENT")
    hands("background_root", existing_path, None, "folder of background photographs (default: drawn rooms)")
    hands("train_per_class", integer(1), 10500, "most training images a class")
    hands("test_per_class", integer(1), 3500, "most test images a class")

    training = parser.group("training", **BASIC)
    training("vit", tuple(VITS), "base", "the transformer, with patches of 16")
    training("img_size", integer(PATCH_SIZE, 4096, step=PATCH_SIZE), 224, "side of an image in pixels")
    training("n_epochs", integer(1), 20, "epochs for each training set", **LATER)
    training("max_steps", integer(0), 0, "cap for each training set, 0 = none", basic=False, **LATER)
    training("batch_size", integer(1, 65536), 32, "images a step")
    training("lr", number(0, 1, above=True), 1e-5, "Adam's constant learning rate")
    training("seed", integer(0, 2**31 - 1), 0, "seed of weights, draws and backgrounds", basic=False)

    machine = parser.group("machine and files", **LATER)
    add_machine_flags(machine)
    machine("checkpoints_dir", user_path, Path("checkpoints"), "folder of the run NAME")
    machine("log_freq", integer(1), 10, "steps between logged losses")
    machine("save_freq", integer(0), 5000, "steps between saves, also made every 10 minutes")
    machine("continue_train", bool, False, "continue an interrupted study, after its finished trainings", **BASIC)
    return parser


def parse_classify(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse argv (None: the command line). Raises UsageError unless hands come from either --name or all three folders."""
    opt = classify_parser().parse(argv)
    folders = {"--synth_dir": opt.synth_dir, "--real_dir": opt.real_dir, "--gen_dir": opt.gen_dir}
    given = [folder for folder in folders.values() if folder]
    missing = ", ".join(flag for flag, folder in folders.items() if not folder)
    all_of = ", ".join(folders)
    refuse(opt.name and given, f"--name is given, and some of {all_of}: choose a run, or the three folders")
    refuse(missing and not opt.name, f"{missing} missing; give all of {all_of}, or --name of a translated run")
    return opt
