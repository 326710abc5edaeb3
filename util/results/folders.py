"""Results folders: one for each phase, direction, crop and input, so that no test overwrites another."""

import argparse
import shutil
from pathlib import Path

from util.files import write_bytes
from util.run import make_folder

PARTS = ("generated", "synthetic", "real", "masks", "true_pairs")
FILES = ("metrics.json", "grid.png", "index.html", "regions.json", "rulers.csv")
INPUT_FILE = "input.txt"  # the folder or file that --input named


def results_folder(opt: argparse.Namespace, name: str) -> Path:
    """results/<name>/<phase> for the default test, else <phase>_RtoS, <phase>_whole, input_<folder>, ...

    Two inputs of one name get input_<folder> and input_<folder>_2.
    """
    direction = "" if opt.direction == "StoR" else f"_{opt.direction}"
    if not opt.input:
        return opt.results_dir / name / f"{opt.phase}{direction}{'' if opt.crop else '_whole'}"
    given = opt.input.resolve()
    label = f"input_{given.stem if given.is_file() else given.name}{direction}{'_crop' if opt.crop else ''}"
    folder, number = opt.results_dir / name / label, 1
    while (folder / INPUT_FILE).exists() and (folder / INPUT_FILE).read_bytes() != bytes(given):
        number += 1
        folder = opt.results_dir / name / f"{label}_{number}"
    return folder


def comparison_folder(opt: argparse.Namespace) -> Path:
    """results/compare for the default test, else compare_RtoS, compare_whole, ..."""
    direction = "" if opt.direction == "StoR" else f"_{opt.direction}"
    return opt.results_dir / f"compare{direction}{'' if opt.crop else '_whole'}"


def open_folder(folder: Path, given: Path | None) -> None:
    """Make the folder and remove the results of an earlier test, so that no stale image is scored. given: --input."""
    make_folder(folder, flag="--results_dir")
    for part in PARTS:
        shutil.rmtree(folder / part, ignore_errors=True)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    if given:
        write_bytes(folder / INPUT_FILE, bytes(given.resolve()))
