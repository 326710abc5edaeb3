"""A search's state, all of it in Optuna's storage: stage one is a study, successive halving a second one.

Trials of stage one: waiting, running, then complete with their validation score. A trial that runs and whose lock file
nobody holds was left by a worker that died, and is taken up again. Trials of the second study carry the number of the
trial that they continue, as the user attribute "trial", and a score at every rung.
"""

import contextlib
import json
import logging
from argparse import Namespace
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from util.errors import UsageError, first_lines
from util.locks import locked
from util.search.space import Space, draw

log = logging.getLogger(__name__)

SETUP_SECONDS = 120


class Search:
    """The two studies of a search, and its locks."""

    def __init__(self, opt: Namespace, space: Space) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder, self.name = opt.folder, opt.name
        (self.folder / "locks").mkdir(parents=True, exist_ok=True)
        self.url = opt.storage or f"sqlite:///{self.folder / 'study.db'}"
        with self.setup():
            self.storage = open_storage(self.url)
            self.short = self._study(opt.name)
            self._fill(opt, space)

    def _study(self, name: str) -> optuna.Study:
        return optuna.create_study(study_name=name, storage=self.storage, direction="minimize", load_if_exists=True)

    def setup(self) -> contextlib.AbstractContextManager[None]:
        """The lock held briefly while a worker decides what to do next."""
        return locked(self.folder / "locks" / "setup.lock", what="the search", remedy="stop it", seconds=SETUP_SECONDS)

    def _fill(self, opt: Namespace, space: Space) -> None:
        """Add waiting trials up to opt.trials, no two alike. Raises UsageError for another space than before."""
        asked = json.loads(json.dumps({"space": asdict(space), "steps": opt.steps, "seed": opt.seed}))
        stored = self.short.user_attrs.get("asked")
        if stored is None:
            self.short.set_user_attr("asked", asked)
        elif stored != asked:
            changed = [key for key in asked if stored.get(key) != asked[key]]
            raise UsageError(
                f"the search {self.name} was started with another {' and '.join(changed)}; use the same, or another --name"
            )
        there = len(self.short.trials)
        drawn = list(islice(draw(space, seed=opt.seed), opt.trials))
        if len(drawn) < opt.trials:
            raise UsageError(
                f"{opt.space} holds {len(drawn)} different settings, fewer than --trials {opt.trials}; lower --trials"
            )
        for params in drawn[there:]:
            self.short.enqueue_trial(params)

    def trial_lock(self, number: int) -> contextlib.AbstractContextManager[None]:
        """Held while the trial is worked on. Raises UsageError where another worker holds it."""
        file = self.folder / "locks" / f"trial_{number:03d}.lock"
        return locked(file, what=f"trial {number}", remedy="wait")

    def claim_short(self, space: Space, held: contextlib.ExitStack) -> FrozenTrial | None:
        """A trial of stage one to work on: one that was left, else a waiting one; its lock goes to `held`. None: no more."""
        with self.setup():
            for trial in self.short.get_trials(states=(TrialState.RUNNING,)):
                with contextlib.suppress(UsageError):
                    held.enter_context(self.trial_lock(trial.number))
                    log.info("trial %d: left by another worker, taken up again", trial.number)
                    return trial
            if not self.short.get_trials(states=(TrialState.WAITING,)):
                return None
            number = self.short.ask(space.distributions()).number
            held.enter_context(self.trial_lock(number))
            return self.short.trials[number]

    def open_halving(self, kept: list[int], space: Space, *, reduction: int, steps: int) -> None:
        """Begin stage two with these trials, or continue it. Raises UsageError if it was begun with others."""
        with self.setup():
            self.long = self._study(f"{self.name}-halving")
            asked = {"kept": kept, "reduction": reduction}
            stored = self.long.user_attrs.get("asked")
            if stored not in (None, asked):
                raise UsageError(
                    f"stage two of {self.name} was begun with trials {' '.join(map(str, stored['kept']))} and --reduction "
                    f"{stored['reduction']}; keep the same, or start a search of another --name"
                )
            trials = self.short.trials
            failed = [n for n in kept if trials[n].state != TrialState.COMPLETE]
            if failed:
                raise UsageError(f"trials {' '.join(map(str, failed))} have no score from stage one; keep others")
            self.long.set_user_attr("asked", asked)
            begun = {trial.user_attrs["trial"] for trial in self.long.trials}
            for number in kept:
                if number not in begun:
                    self.long.enqueue_trial(trials[number].params, user_attrs={"trial": number})
            while self.long.get_trials(states=(TrialState.WAITING,)):
                trial = self.long.ask(space.distributions())
                trial.report(trials[trial.user_attrs["trial"]].value, steps)

    def alive(self) -> list[FrozenTrial]:
        """The trials of stage two that are still in it."""
        return self.long.get_trials(states=(TrialState.RUNNING,))

    def report(self, trial: FrozenTrial, score: float, step: int) -> None:
        """A score of a running trial of stage two."""
        optuna.trial.Trial(self.long, trial._trial_id).report(score, step)

    def mark(self, study: optuna.Study, trial: FrozenTrial, **attributes: Any) -> None:
        """Set user attributes of a trial that is not finished."""
        for key, value in attributes.items():
            optuna.trial.Trial(study, trial._trial_id).set_user_attr(key, value)


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """Optuna's storage. Raises UsageError where it cannot be opened."""
    # Workers wait for each other rather than fail: SQLite lets one write at a time.
    arguments = {"connect_args": {"timeout": 120}} if url.startswith("sqlite") else {}
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs=arguments)
    except Exception as error:  # of the database's own driver
        raise UsageError(f"--storage {url} cannot be opened ({first_lines(error)})") from error


def run_folder(folder: Path, number: int) -> Path:
    """The run of a trial, of all its stages."""
    return folder / "runs" / f"trial_{number:03d}"
