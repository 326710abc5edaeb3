"""A search's trials: short ones of a space of flags, successive halving, the winner's whole training.

The first two stages are Optuna studies whose trials wait in a queue that several processes share. A trial's user attribute "run"
is its number, and that of its run of train.py. Trials of a process that was killed are queued again, and go on from their
checkpoints.
"""

import json
import logging
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.trial import FrozenTrial, Trial, TrialState

from options.train_options import parse_train
from util import workers
from util.checkpoint import load_checkpoint
from util.errors import RunError, UsageError, first_lines
from util.files import LOCK_FILE, locked
from util.run import BEST, OPTIONS_FILE, read_mapping

log = logging.getLogger("search")

RESERVED = {"name", "checkpoints_dir", "continue_train", "max_steps", "options"}  # flags that the search sets itself
HEARTBEAT, DEAD = 5, 20  # seconds between signs of life, and without one until a process counts as dead


def load_space(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A YAML file's `fixed:` flags of all trials, and its `space:` of those that vary: {flag: a list of values, or a range with
    low, high, log and step}. Raises UsageError."""
    content = read_mapping(path, name=str(path))
    fixed, varied = content.get("fixed") or {}, content.get("space")
    if not isinstance(fixed, dict) or not isinstance(varied, dict) or set(content) - {"fixed", "space"}:
        raise UsageError(f"{path} must hold a mapping `space:` of flags that vary and, if you like, `fixed:` of others")
    if wrong := (RESERVED & {*fixed, *varied}) | (set(fixed) & set(varied)):
        raise UsageError(f"{path}: {', '.join(wrong)} stands in both, or is set by the search itself")
    return fixed, varied


class Search:
    """opt: parse_search's. short: the study of stage one; long: that of the kept trials, once halving has begun.

    Raises UsageError for a space, a setting or a storage that cannot be used, and for a search begun with another space.
    """

    def __init__(self, opt: Namespace) -> None:
        self.opt, (self.fixed, self.varied) = opt, load_space(opt.space)
        drawing, tries = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=opt.seed)), 0
        self.settings: dict[int, dict[str, Any]] = {}  # drawn at random, no two alike
        while len(self.settings) < opt.trials and (tries := tries + 1) < 1000 + 10 * opt.trials:
            values = self.suggest(drawing.ask())
            if values not in self.settings.values():
                self.settings[len(self.settings)] = values
        for run, values in self.settings.items():
            parse_train(["--name", "x", "--options", str(self.write_flags(run, values))])  # with train.py's own errors
        if len(self.settings) < opt.trials:
            raise UsageError(f"{opt.space} holds {len(self.settings)} different settings; lower --trials {opt.trials}")
        self.short = self.study(opt.name, space=[self.fixed, self.varied], steps=opt.steps)
        self.long: optuna.Study | None = None

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """The trial's values of the flags that vary. Raises UsageError for a range that is none."""
        values = {}
        for flag, ends in self.varied.items():
            try:
                if isinstance(ends, list):
                    values[flag] = trial.suggest_categorical(flag, ends)
                    continue
                low, high = (float(ends[end]) if isinstance(ends[end], str) else ends[end] for end in ("low", "high"))
                kind = trial.suggest_int if isinstance(low, int) and isinstance(high, int) else trial.suggest_float
                values[flag] = kind(flag, **(ends | {"low": low, "high": high}))  # YAML reads 1e-4 as text
            except (KeyError, TypeError, ValueError) as error:
                wanted = "must be a list of values, or {low: ..., high: ...}, with or without log: true or step"
                raise UsageError(f"{self.opt.space}: {flag} {wanted} ({first_lines(error)})") from error
        return values

    def study(self, name: str, *, pruner: Any = None, **begun: Any) -> optuna.Study:
        """The study with this name. Raises UsageError unless `begun` is as when it was begun."""
        url = self.opt.storage or f"sqlite:///{self.opt.folder / 'study.db'}"
        wait = {"connect_args": {"timeout": 120}} if url.startswith("sqlite") else {}  # one process writes at a time
        try:
            storage = optuna.storages.RDBStorage(url, wait, heartbeat_interval=HEARTBEAT, grace_period=DEAD)
        except Exception as error:  # of the database's own driver
            raise UsageError(f"--storage {url} cannot be opened ({first_lines(error)})") from error
        study = optuna.create_study(study_name=name, storage=storage, pruner=pruner, load_if_exists=True)
        for key, value in json.loads(json.dumps(begun)).items():
            if study.user_attrs.get(key, value) != value:
                raise UsageError(
                    f"{name} was begun with {key} {study.user_attrs[key]}; give the same, or another --name"
                )
            study.set_user_attr(key, value)
        return study

    def run_short(self, after_each: Callable[[], None]) -> None:
        """Stage one. after_each: called before the first trial and after each."""

        def train(trial: Trial) -> float:
            return self.train(trial.user_attrs["run"], self.suggest(trial), self.opt.steps)

        work(self.short, self.settings, train, after_each)

    def run_long(self, after_each: Callable[[], None]) -> None:
        """Stage two: the kept trials, the best first, get --reduction times as many steps, again and again, for as long as Optuna's
        pruner finds them good enough. Raises UsageError if one has failed, or if others were kept before."""
        opt, done = self.opt, latest(self.short)
        if failed := [str(run) for run in opt.keep if done[run].state != TrialState.COMPLETE]:
            raise UsageError(f"trials {' '.join(failed)} have no score from stage one; keep others")
        kept = {run: done[run].params for run in sorted(opt.keep, key=lambda run: done[run].value)}
        pruner = optuna.pruners.SuccessiveHalvingPruner(opt.steps * opt.reduction, opt.reduction)
        self.long = self.study(f"{opt.name}-halving", pruner=pruner, keep=sorted(kept), reduction=opt.reduction)

        def train(trial: Trial) -> float:
            run, steps = trial.user_attrs["run"], opt.steps
            score = done[run].value
            while steps < opt.steps * len(kept):
                steps *= opt.reduction
                score = self.train(run, self.suggest(trial), steps)
                trial.report(score, steps)
                if trial.should_prune():
                    trial.set_user_attr("reason", f"pruned at step {steps}")
                    raise optuna.TrialPruned
            return score

        work(self.long, kept, train, after_each)

    def finish(self, run: int) -> None:
        """Stage three: the whole training of a run, and its test split. Raises RunError."""
        self.run_train(run, self.settings[run] | ({"max_steps": self.opt.full_steps} if self.opt.full_steps else {}))
        results, net = str(self.opt.folder / "test"), self.fixed.get("feature_net", "auto")
        self.run_script("test.py", run, "--results_dir", results, "--feature_net", net)
        log.info("tested: %s", f"{results}/trial_{run:03d}/test")

    def train(self, run: int, values: dict[str, Any], steps: int) -> float:
        """Train to this many steps, from the run's checkpoint if there is one, and validate at the last. Returns the score
        that chooses best.pt. Raises RunError."""
        log.info("trial %d: to step %d with %s", run, steps, values)
        self.run_train(run, {"val_interval": 10**5, "display_freq": steps} | values | {"max_steps": steps})
        best = run_folder(self.opt, run) / BEST
        if not best.exists():
            raise RunError(f"there is no {best}: give the run a val split (val_size) and a feature_net")
        return float(load_checkpoint(best)["score"])

    def run_train(self, run: int, flags: dict[str, Any]) -> None:
        """Start or continue the run of a trial."""
        folder = run_folder(self.opt, run)
        if folder.exists():
            with locked(folder / LOCK_FILE, wait=True):
                pass  # a child of a killed process takes a moment to save
        again = ["--continue_train"] if (folder / OPTIONS_FILE).exists() else []
        self.run_script("train.py", run, "--options", str(self.write_flags(run, flags)), *again)

    def run_script(self, script: str, run: int, *flags: str) -> None:
        """Run a script to its end; its output goes to logs/. Raises RunError."""
        output, folder = self.opt.folder / "logs" / f"trial_{run:03d}.log", run_folder(self.opt, run)
        command = [script, "--name", folder.name, "--checkpoints_dir", str(folder.parent), *flags]
        child = workers.start_child(command, log=output)
        try:
            child.wait()
        finally:
            workers.stop_child(child)  # which saves, where this process was interrupted
        if child.returncode:
            raise RunError(f"{workers.last_line(output)} (see {output})")

    def write_flags(self, run: int, values: dict[str, Any]) -> Path:
        """Write the trial's flags as a file for train.py --options."""
        file = self.opt.folder / "flags" / f"trial_{run:03d}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(self.fixed | values, sort_keys=False))
        return file


def work(
    study: optuna.Study, settings: dict, objective: Callable[[Trial], float], after_each: Callable[[], None]
) -> None:
    """Work on trials {run: values}, with other processes, until all have ended, be it by an error."""

    def run(trial: Trial) -> float:
        if "run" not in trial.user_attrs:  # another process took the last one of the queue
            raise optuna.TrialPruned
        try:
            return objective(trial)
        except RunError as error:
            log.error("trial %d failed: %s", trial.user_attrs["run"], error)
            trial.set_user_attr("reason", str(error))
            raise

    while True:
        optuna.storages.fail_stale_trials(study)
        known = latest(study)
        for number, values in settings.items():
            trial = known.get(number)
            if not trial or (trial.state == TrialState.FAIL and "reason" not in trial.user_attrs):  # it was killed
                study.enqueue_trial(values, user_attrs={"run": number})
        after_each()
        states = {trial.state for trial in latest(study).values()}
        if TrialState.WAITING in states:
            study.optimize(run, n_trials=1, catch=(RunError,))
        elif TrialState.RUNNING in states:  # another process is at work
            time.sleep(1)
        else:
            return


def latest(study: optuna.Study) -> dict[int, FrozenTrial]:
    """{run: the newest trial of it}, by number."""
    trials = {t.user_attrs["run"]: t for t in study.get_trials(deepcopy=False) if "run" in t.user_attrs}
    return dict(sorted(trials.items()))


def run_folder(opt: Namespace, run: int) -> Path:
    """The folder of a trial's run, of all its stages."""
    return opt.folder / "runs" / f"trial_{run:03d}"
