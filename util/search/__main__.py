"""Search for settings: python -m util.search SPACE.yaml --name NAME --trials N --steps N"""

import argparse
import functools
import importlib.util
import logging

from options.parsing import as_flags
from options.train_options import parse_train
from util.errors import UsageError, parse_or_exit, run_command
from util.search.flags import kept_trials, parse_search
from util.search.space import Space, draw, load_space

if __name__ == "__main__":
    OPT = parse_or_exit(parse_search)  # before PyTorch is imported, which takes seconds

from util.training.logger import setup_logging

log = logging.getLogger("search")


def main(opt: argparse.Namespace | None = None) -> int:
    opt = opt or parse_search()
    setup_logging()
    if importlib.util.find_spec("optuna") is None:
        raise UsageError("python -m util.search needs Optuna, which is not installed: pip install optuna")
    return search_settings(opt)


def search_settings(opt: argparse.Namespace) -> int:
    """Run the stages that opt asks for, sharing the work with other processes of the same command. Returns the exit status."""
    from util.search.sheet import write_sheets
    from util.search.study import Search
    from util.search.worker import TrialFailed, finish, halve, short_trials, wait_for_others

    space, kept = load_space(opt.space), kept_trials(opt)
    check_settings(opt, space)
    search = Search(opt, space)
    write = functools.partial(write_sheets, opt, space, search)
    write()
    short_trials(opt, space, search, write)
    if kept is None:
        log.info("look at %s, then go on with --keep or --drop", opt.folder / "index.html")
        return 0
    wait_for_others(search, opt, space, write)
    winner = halve(opt, space, search, kept, write)
    write()
    if winner is None:
        raise UsageError(f"every kept trial has failed; see {opt.folder / 'trials.csv'}, and keep others")
    log.info("best: trial %d, %s", winner, opt.folder / "best.yaml")
    if opt.full_steps != 0:
        try:
            finish(opt, space, search, winner)
        except TrialFailed as error:
            log.error("the winner could not be finished: %s", error)
            return 1
    return 0


def check_settings(opt: argparse.Namespace, space: Space) -> None:
    """Raise UsageError, with train.py's own message, if train.py rejects a setting of the first trials."""
    for number, params in zip(range(opt.trials), draw(space, seed=opt.seed)):
        flags = as_flags(space.flags(params))
        try:
            parse_train(["--name", f"trial_{number:03d}", *flags])
        except UsageError as error:
            raise UsageError(f"{opt.space}, {params}: {error}") from error


if __name__ == "__main__":
    run_command(lambda: main(OPT))
