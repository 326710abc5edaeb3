"""Flags of python -m util.search."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from options.parsing import Parser, existing_file, integer, run_name
from util.errors import UsageError


def search_parser() -> Parser:
    """The parser of util.search."""
    parser = Parser(
        prog="python -m util.search",
        description="Search for good settings as the paper did (section IV.B): many short trainings, a selection "
        "by eye, then validation scores. Without --keep and --drop: stage one, short trials and a contact sheet. With one "
        "of them: the kept trials continue under successive halving, and the winner is trained and tested.",
    )
    parser.add_argument(
        "space", type=existing_file, metavar="SPACE.yaml", help="flags of all trials, and the ranges that are searched"
    )
    parser.add_argument(
        "--name", type=run_name, required=True, help="name of the search; its files go to RESULTS_DIR/search/NAME"
    )
    parser.add_argument("--trials", type=integer(1, 10000), required=True, metavar="N", help="trials of stage one")
    parser.add_argument("--steps", type=integer(1), required=True, metavar="N", help="steps of each trial in stage one")
    number = {"type": integer(0, 10000), "nargs": "+", "metavar": "TRIAL"}
    parser.add_argument("--keep", **number, help="trials that continue")
    parser.add_argument("--drop", **number, help="trials that do not continue")
    parser.add_argument(
        "--reduction",
        type=integer(2, 100),
        default=3,
        metavar="N",
        help="halving: one trial in N continues, for N times the steps",
    )
    parser.add_argument(
        "--full_steps",
        type=integer(0),
        metavar="N",
        help="steps of the winner's whole training (default: train.py's epochs); 0: end after halving",
    )
    parser.add_argument(
        "--seed", type=integer(0, 2**31 - 1), default=0, metavar="N", help="seed of the draws from the space"
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="Optuna's storage (default: SQLite in the search's folder); for workers on several machines a database such "
        "as postgresql://..., with the same results folder on a shared disk",
    )
    parser.add_argument(
        "--results_dir", type=Path, default=Path("results"), metavar="DIR", help="results go to RESULTS_DIR/search/NAME"
    )
    return parser


def parse_search(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse argv (None: the command line); `.folder` is RESULTS_DIR/search/NAME. Raises UsageError."""
    opt = search_parser().parse_args(argv)
    opt.folder = opt.results_dir / "search" / opt.name
    if opt.keep and opt.drop:
        raise UsageError("--keep and --drop both choose the trials that go on: give one of them")
    for flag in ("keep", "drop"):
        unknown = [n for n in getattr(opt, flag) or () if n >= opt.trials]
        if unknown:
            raise UsageError(f"--{flag} {' '.join(map(str, unknown))}: trials are numbered 0 to {opt.trials - 1}")
    return opt


def kept_trials(opt: argparse.Namespace) -> list[int] | None:
    """The trials of stage two; None if only stage one is asked for. Raises UsageError if none is left."""
    if opt.keep is None and opt.drop is None:
        return None
    kept = sorted(set(opt.keep)) if opt.keep else [n for n in range(opt.trials) if n not in opt.drop]
    if not kept:
        raise UsageError("--drop leaves no trial; name fewer")
    return kept
