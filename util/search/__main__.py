"""Search for settings: python -m util.search SPACE.yaml --name NAME --trials N --steps N"""

import argparse
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

from options.parsing import Parser, existing_file, integer, run_name
from util.errors import UsageError, parse_or_exit, run_command


def parse_search(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse argv (None: the command line); `.folder` is RESULTS_DIR/search/NAME."""
    parser = Parser(
        prog="python -m util.search",
        description="Search for good settings as the paper did (section IV.B): many short trials and a contact sheet of them; "
        "then, with --keep, successive halving of those that look right, and the winner's whole training and test.",
    )
    parser.add_argument(
        "space", type=existing_file, metavar="SPACE.yaml", help="flags of all trials, and those that vary"
    )
    add = parser.group("search")
    add("name", run_name, None, "name of the search; its files go to RESULTS_DIR/search/NAME", required=True)
    add("trials", integer(1, 10000), None, "short trials", required=True)
    add("steps", integer(1), None, "steps of each short trial", required=True)
    add("keep", integer(0, 10000), None, "trials that go on", nargs="+", metavar="TRIAL")
    add("reduction", integer(2, 100), 3, "halving: about one trial in N goes on, for N times the steps")
    add("full_steps", integer(0), None, "steps of the winner's whole training (default: train.py's epochs); 0: none")
    add("seed", integer(0, 2**31 - 1), 0, "seed of the draws from the space")
    add("storage", None, None, "Optuna's storage, such as postgresql://... (default: SQLite in the search's folder)")
    add("results_dir", Path, Path("results"), "results go to RESULTS_DIR/search/NAME")
    opt = parser.parse_args(argv)
    opt.folder = opt.results_dir / "search" / opt.name
    return opt


def main(opt: argparse.Namespace | None = None) -> int:
    """All stages that opt asks for, shared with other processes of the same command. Returns the exit status."""
    opt = opt or parse_search()
    try:
        import optuna
    except ImportError as error:
        raise UsageError("python -m util.search needs Optuna, which is not installed: pip install optuna") from error

    from util.search.trials import Search
    from util.training.logger import setup_logging

    setup_logging()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats are
    search = Search(opt)
    search.run_short()
    if not opt.keep:
        logging.info("look at %s, then go on with --keep", opt.folder / "index.html")
        return 0
    search.run_long()
    winner = search.best().user_attrs["run"]
    logging.info("best: trial %d, %s", winner, opt.folder / "best.yaml")
    if opt.full_steps != 0:
        search.finish(winner)
    return 0


if __name__ == "__main__":
    run_command(lambda: main(parse_or_exit(parse_search)))
