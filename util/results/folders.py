"""Where the results of a run go: each way of translating has a folder of its own, so that none replaces another's."""

import argparse
import shutil
from pathlib import Path

from util.images import write_bytes

PARTS = ("generated", "synthetic", "real", "masks", "true_pairs")
FILES = ("metrics.json", "grid.png", "index.html", "regions.json", "rulers.csv")
INPUT_FILE = "input.txt"  # the folder or file that --input named


def results_folder(opt: argparse.Namespace, name: str) -> Path:
    """results/<name>/<phase>, and for what is not the default test, <phase>_RtoS, <phase>_whole, input_<folder>, ...

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
    """results/compare, and compare_RtoS, compare_whole, ... for what is not the default test."""
    direction = "" if opt.direction == "StoR" else f"_{opt.direction}"
    return opt.results_dir / f"compare{direction}{'' if opt.crop else '_whole'}"


def open_folder(folder: Path, given: Path | None) -> None:
    """Remove what an earlier test left in the folder, so that no stale image is ever scored. given: --input."""
    for part in PARTS:
        shutil.rmtree(folder / part, ignore_errors=True)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    if given:
        write_bytes(folder / INPUT_FILE, bytes(given.resolve()))
