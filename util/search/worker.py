"""The work of one worker: short trials, then rungs of halving, then the winner's whole training and its test."""

import contextlib
import json
import logging
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from options.parsing import as_flags
from util import workers
from util.errors import Stopped, UsageError
from util.files import write_json
from util.run import OPTIONS_FILE
from util.search.halving import rungs, survivors
from util.search.space import Space
from util.search.study import Search, run_folder
from util.training.logger import read_log

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
ONLY_AT_THE_END = 100000  # --val_interval in epochs: the last step is validated in any case


class TrialFailed(Exception):
    """A training ended badly, or left no score."""


def train_command(opt: Namespace, number: int, flags: dict[str, object]) -> list[str]:
    """train.py for a trial with these flags."""
    run = run_folder(opt.folder, number)
    return ["train.py", "--name", run.name, "--checkpoints_dir", str(run.parent), *as_flags(flags)]


def train_to(opt: Namespace, space: Space, trial: FrozenTrial, number: int, steps: int) -> float:
    """Train a trial to this many steps, from its own checkpoint if it has one, and return its validation score.

    Raises TrialFailed, and util.errors.Stopped on SIGINT and SIGTERM, once the training has saved.
    """
    run = run_folder(opt.folder, number)
    flags = {"val_interval": ONLY_AT_THE_END, **space.flags(trial.params), "max_steps": steps, "display_freq": steps}
    command = train_command(opt, number, flags)
    run_child(opt, command, run, log_name=run.name)
    return last_score(run)


def run_child(opt: Namespace, command: list[str], run: Path, *, log_name: str) -> None:
    """Run a command to its end. Raises TrialFailed and Stopped."""
    if command[0] == "train.py" and (run / OPTIONS_FILE).exists():
        workers.wait_for_run(run)
        command = [*command, "--continue_train"]
    output = opt.folder / "logs" / f"{log_name}.log"
    with workers.note_signals() as received:
        child = workers.start_child(command, log=output)
        try:
            while child.poll() is None:
                if received:
                    raise Stopped(received[0], "saved; start the same command again to go on")
                time.sleep(0.1)
        finally:
            workers.stop_child(child)
    if child.returncode:
        raise TrialFailed(f"{workers.last_line(output)} (see {output})")


def last_score(run: Path) -> float:
    """The newest validation score of a run, by its log. Raises TrialFailed where there is none."""
    scores = [entry[key] for entry in read_log(run) for key in ("fid", "fd") if entry.get(key) is not None]
    if not scores:
        raise TrialFailed(f"{run} has no validation score: give it a val split (val_size) and a feature_net")
    return float(scores[-1])


def short_trials(opt: Namespace, space: Space, search: Search, after_each: Callable[[], None]) -> None:
    """Stage one: work on trials until none is left to begin. after_each: () -> None, once a trial has ended."""
    while True:
        with contextlib.ExitStack() as held:
            trial = search.claim_short(space, held)
            if trial is None:
                return
            log.info("trial %d: %d steps with %s", trial.number, opt.steps, trial.params)
            try:
                score = train_to(opt, space, trial, trial.number, opt.steps)
            except TrialFailed as error:
                search.mark(search.short, trial, error=str(error))
                search.short.tell(trial.number, state=TrialState.FAIL)
                log.error("trial %d failed: %s", trial.number, error)
            else:
                search.short.tell(trial.number, score)
                log.info("trial %d: validation score %.3f", trial.number, score)
        after_each()


def wait_for_others(search: Search, opt: Namespace, space: Space, after_each: Callable[[], None]) -> None:
    """Wait until no trial of stage one runs; finish the trials of workers that die meanwhile."""
    while search.short.get_trials(states=(TrialState.RUNNING, TrialState.WAITING)):
        short_trials(opt, space, search, after_each)
        time.sleep(POLL_SECONDS)


def halve(opt: Namespace, space: Space, search: Search, kept: list[int], after_each: Callable[[], None]) -> int | None:
    """Stage two: train the kept trials rung by rung until one is left. Returns its number, None where all have failed."""
    search.open_halving(kept, space, reduction=opt.reduction, steps=opt.steps)
    for step in rungs(len(kept), steps=opt.steps, reduction=opt.reduction):
        while work_on_rung(opt, space, search, step):
            after_each()
    after_each()
    with search.setup():
        for trial in search.alive():  # one at most
            search.long.tell(trial.number, trial.intermediate_values[max(trial.intermediate_values)])
    ended = search.long.get_trials(states=(TrialState.COMPLETE,))
    return ended[0].user_attrs["trial"] if ended else None


def work_on_rung(opt: Namespace, space: Space, search: Search, step: int) -> bool:
    """Train one trial to the rung's step, or wait, or close the rung. False: the rung is closed."""
    with contextlib.ExitStack() as held:
        with search.setup():
            alive = search.alive()
            todo = [trial for trial in alive if not any(done >= step for done in trial.intermediate_values)]
            if not todo:
                close_rung(search, alive, step, reduction=opt.reduction)
                return False
            chosen = next((t for t in todo if free(search, t.user_attrs["trial"], held)), None)
        if chosen is None:
            time.sleep(POLL_SECONDS)  # others are at it
            return True
        number = chosen.user_attrs["trial"]
        log.info("trial %d goes on to step %d", number, step)
        try:
            search.report(chosen, train_to(opt, space, chosen, number, step), step)
        except TrialFailed as error:
            search.mark(search.long, chosen, error=str(error))
            search.long.tell(chosen.number, state=TrialState.FAIL)
            log.error("trial %d failed: %s", number, error)
    return True


def free(search: Search, number: int, held: contextlib.ExitStack) -> bool:
    """Whether nobody works on the trial; its lock then goes to `held`."""
    try:
        held.enter_context(search.trial_lock(number))
    except UsageError:
        return False
    return True


def close_rung(search: Search, alive: list[FrozenTrial], step: int, *, reduction: int) -> None:
    """Prune the trials that do not survive the rung, and log why; does nothing to a closed rung."""
    if any(done > step for trial in alive for done in trial.intermediate_values):
        return
    closed = set(search.long.user_attrs.get("closed", []))
    if step in closed:
        return
    scores = {trial.user_attrs["trial"]: trial.intermediate_values[step] for trial in alive}
    going_on = survivors(scores, reduction=reduction)
    log.info("step %d: %s", step, ", ".join(f"trial {n} {scores[n]:.3f}" for n in sorted(scores, key=scores.get)))
    for trial in alive:
        number = trial.user_attrs["trial"]
        if number not in going_on:
            worst = max(scores[n] for n in going_on)
            reason = f"{scores[number]:.3f} at step {step}; the {len(going_on)} that go on have at most {worst:.3f}"
            search.mark(search.long, trial, pruned=reason)
            search.long.tell(trial.number, state=TrialState.PRUNED)
            log.info("trial %d is pruned: %s", number, reason)
    search.long.set_user_attr("closed", sorted(closed | {step}))


def finish(opt: Namespace, space: Space, search: Search, winner: int) -> None:
    """Stage three: the winner's whole training, and its test split. Done by one worker, and only once."""
    done = opt.folder / "winner.json"
    trial = search.short.trials[winner]
    length = {"max_steps": opt.full_steps} if opt.full_steps else {}
    command = train_command(opt, winner, {**space.flags(trial.params), **length})
    run = run_folder(opt.folder, winner)
    with contextlib.ExitStack() as held:
        if not free(search, winner, held):
            log.info("the winner, trial %d, is being trained by another worker", winner)
            return
        if done.exists() and json.loads(done.read_text())["command"] == command:
            log.info("the winner, trial %d, has been trained and tested before", winner)
            return
        log.info("the winner is trial %d: its whole training", winner)
        run_child(opt, command, run, log_name="winner")
        where = ["--checkpoints_dir", str(run.parent), "--results_dir", str(opt.folder / "test")]
        feature_net = {"feature_net": space.fixed.get("feature_net")}
        test = ["test.py", "--name", run.name, *where, *as_flags(feature_net)]
        run_child(opt, test, run, log_name="winner")
        write_json(done, {"trial": winner, "command": command})
        log.info("tested: %s", opt.folder / "test" / run.name / "test")
