"""The training loop of all scripts: steps, logging, validation, checkpoints, a clean stop."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from data.loader import on_device
from util import distributed
from util.errors import RunError, Stopped, UsageError, signals_to
from util.run import LATEST
from util.runtime import seed_step
from util.training.logger import RunLogger
from util.training.saving import Progress, Saver, Trainable, keep_best, save_snapshot
from util.training.signals import Cut, StopRequest
from util.training.tally import Tally

log = logging.getLogger(__name__)

Validate = Callable[[], tuple[dict[str, float], float]]
"""() -> (scores to log, the one to minimise)."""

Display = Callable[[], dict[str, np.ndarray]]
"""() -> {name: uint8 (H, W, 3) picture}."""


@dataclass(kw_only=True)
class Schedule:
    """How long and how often, in steps; 0 means never. save_every_seconds: the longest time between two saves."""

    total_steps: int
    steps_per_epoch: int
    log_every: int
    display_every: int = 0
    save_every: int = 0
    save_every_seconds: float = 0.0
    snapshot_every_epochs: int = 0
    validate_every: int = 0

    def at(self, step: int, every: int) -> bool:
        """Whether something done every `every` steps, and at the end, is due after this step."""
        return every > 0 and (step == self.total_steps or step % every == 0)

    def snapshot(self, step: int) -> int:
        """The number of the epoch whose snapshot is taken after this step; 0 for none."""
        epoch, rest = divmod(step, self.steps_per_epoch)
        return epoch if self.snapshot_every_epochs and not rest and epoch % self.snapshot_every_epochs == 0 else 0


def fit(
    model: Trainable,
    batches: Iterator[dict],
    *,
    folder: Path,
    device: torch.device,
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

    After SIGINT or SIGTERM to any process, all of them finish the step, save and raise Stopped. Reading, validation and
    display, which change nothing, are interrupted; an interrupted validation is repeated when the run goes on. A second
    SIGINT stops at once. Steps whose losses or gradients are not finite are logged and change nothing; too many in a
    row raise RunError.
    """
    alone = distributed.world_size() == 1  # several processes must stop at the same step
    on_batches = on_device(batches, device)
    tally = Tally()
    saver = Saver(folder, model, progress, tally, every_seconds=schedule.save_every_seconds)
    agreement = distributed.Agreement()

    stop = StopRequest()
    with signals_to(stop.receive):
        try:
            while progress.step < schedule.total_steps or progress.validation_due:
                if not progress.validation_due:  # if due, a validation was interrupted after its step
                    with stop.cut_short(alone):
                        batch = next(on_batches)
                    seed_step(seed, distributed.rank(), progress.step)
                    losses = model.training_step(batch)
                    tally.add(progress.step + 1, losses, batch)
                    progress.step += 1
                    progress.validation_due = schedule.at(progress.step, schedule.validate_every)
                    if logger:
                        logger.advance()
                    if progress.step == 1 or schedule.at(progress.step, schedule.log_every):
                        means = distributed.mean(tally.means())
                        if logger:
                            logger.losses(means)
                    if logger and display and schedule.at(progress.step, schedule.display_every):
                        with logger.pause():
                            with stop.cut_short(alone):
                                pictures = display()
                            for name, picture in pictures.items():
                                logger.image(name, picture)
                    if logger and (epoch := schedule.snapshot(progress.step)):
                        with logger.pause():
                            save_snapshot(folder, model, progress, epoch)

                validating = progress.validation_due
                if validating:
                    if logger and validate:
                        with logger.pause():
                            validate_once(model, validate, stop, alone, folder=folder, progress=progress, logger=logger)
                    else:
                        progress.validation_due = False
                    distributed.barrier()

                last = progress.step == schedule.total_steps and not progress.validation_due
                stopping, late = agreement.exchange(bool(stop), saver.is_due(), at_once=last or validating)
                if last or stopping or late or (schedule.save_every and progress.step % schedule.save_every == 0):
                    with logger.pause() if logger else contextlib.nullcontext():
                        saved = saver.save()
                    if last and not saved:
                        raise RunError(
                            f"the last {tally.in_a_row} steps were not finite; {folder / LATEST} is of step {saver.step}: "
                            "go on from it with --amp off, if it was on, or start anew with a lower --lr"
                        )
                if stopping and not last:
                    raise Stopped(stop.number, f"saved at step {saver.step}; go on with --continue_train")
        except Cut:  # only ever raised in a single process
            if saver.step != progress.step:
                saver.save()
            raise Stopped(stop.number, f"saved at step {saver.step}; go on with --continue_train") from None


def validate_once(
    model: Trainable,
    validate: Validate,
    stop: StopRequest,
    alone: bool,
    *,
    folder: Path,
    progress: Progress,
    logger: RunLogger,
) -> None:
    """Score the model, log the scores, and keep it if it is among the best. A failed validation does not end a run.

    A signal interrupts it and leaves the validation due; if other processes wait (not `alone`), it then returns.
    """
    try:
        with stop.cut_short():
            scores, score = validate()
    except (UsageError, ValueError) as error:
        log.warning("no validation at step %d: %s", progress.step, error)
    except Cut:
        if alone:
            raise
        return
    else:
        logger.scores(scores)
        keep_best(folder, model, progress, score)
    progress.validation_due = False
