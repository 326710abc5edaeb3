"""The training loop of all scripts: steps, logging, checkpoints, validation, and a clean stop."""

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from data.loader import to_device
from util import distributed
from util.errors import STOP_SIGNALS, Stopped, UsageError
from util.runtime import seed_step
from util.training.checkpoints import Progress, Schedule, Trainable, save_if_best, save_latest, save_snapshot
from util.training.logger import LossMeter, RunLogger

log = logging.getLogger(__name__)

Validate = Callable[[], tuple[dict[str, float], float]]  # () -> (scores to log, the one to minimise)
Display = Callable[[], dict[str, np.ndarray]]  # () -> {name: uint8 (H, W, 3) picture}
SAVE_SECONDS = 600  # between two saves of latest.pt, at most


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Within the block, STOP_SIGNALS only append their number to the list; a second Ctrl-C raises KeyboardInterrupt."""
    received: list[int] = []

    def receive(number: int, _frame: object) -> None:
        if number == signal.SIGINT and number in received:
            raise KeyboardInterrupt
        received.append(number)
        log.info("%s: finishing the step and saving; Ctrl-C twice quits at once", signal.Signals(number).name)

    before = {number: signal.signal(number, receive) for number in STOP_SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def fit(
    model: Trainable,
    batches: Iterator[dict],
    *,
    folder: Path,
    seed: int,
    schedule: Schedule,
    progress: Progress,
    logger: RunLogger | None,
    validate: Validate | None = None,
    display: Display | None = None,
) -> None:
    """Train from `progress.step` to `schedule.total_steps`.

    batches: endless, beginning with the batch of step `progress.step`. seed: with the rank and the step's number, it
    determines the random draws of a step. logger: None on ranks other than 0, which neither log nor validate.

    After a signal to any process, all of them finish the step or validation, save and raise Stopped. latest.pt is saved before a
    validation, so a run that is killed in one repeats it. A single process also saves if anything but a step fails. Too many
    skipped steps in a row raise RunError.
    """
    on_device, meter = (to_device(batch, model.device) for batch in batches), LossMeter()
    pause = logger.pause if logger else nullcontext
    saved_step, saved_at, consistent = progress.step, time.monotonic(), True
    with stop_signals() as stop:
        try:
            while progress.step < schedule.total_steps or progress.validation_due:
                validating = progress.validation_due
                if validating:
                    if logger and validate:
                        with pause():
                            validate_once(model, validate, folder=folder, progress=progress, logger=logger)
                    progress.validation_due = False
                else:
                    batch = next(on_device)
                    seed_step(seed, distributed.rank(), progress.step)
                    consistent = False
                    losses = model.training_step(batch)  # on a GPU models.graphs.GraphedStep, which replays it
                    progress.step, consistent = progress.step + 1, True
                    progress.validation_due = schedule.at(progress.step, schedule.validate_every)
                    meter.add(progress.step, losses, batch)
                    if logger:
                        logger.step = progress.step
                    if progress.step == 1 or schedule.at(progress.step, schedule.log_every):
                        means = distributed.mean(meter.means())
                        if logger:
                            logger.losses(means)
                    if logger and display and schedule.at(progress.step, schedule.display_every):
                        with pause():
                            for name, picture in display().items():
                                logger.image(name, picture)
                    if logger and schedule.snapshot_every and progress.step % schedule.snapshot_every == 0:
                        with pause():
                            save_snapshot(folder, model, progress, epoch=progress.step // schedule.steps_per_epoch)

                last = progress.step == schedule.total_steps and not progress.validation_due
                due = last or progress.validation_due or schedule.at(progress.step, schedule.save_every)
                stopping = late = False
                if due or validating or distributed.asks_after(progress.step):
                    late = time.monotonic() - saved_at > SAVE_SECONDS
                    stopping, late = distributed.any_rank(bool(stop), late)
                if due or stopping or late:
                    meter.read()
                    with pause():
                        save_latest(folder, model, progress)
                    saved_step, saved_at = progress.step, time.monotonic()
                if stopping and not last:
                    number = stop[0] if stop else signal.SIGTERM  # another process received it
                    raise Stopped(number, f"saved at step {progress.step}; go on with --continue_train")
        except Exception:
            unsaved = consistent and not meter.broken and saved_step != progress.step
            if unsaved and distributed.world_size() == 1:
                save_latest(folder, model, progress)
            raise


def validate_once(model: Trainable, validate: Validate, *, folder: Path, progress: Progress, logger: RunLogger) -> None:
    """Score the model, log the scores, and keep it if it is the best. A validation that fails does not end the run."""
    try:
        scores, score = validate()
    except (UsageError, ValueError) as error:
        log.warning("no validation at step %d: %s", progress.step, error)
        return
    logger.scores(scores)
    save_if_best(folder, model, progress, score)
