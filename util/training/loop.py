"""The training loop that every script shares: steps, logging, validation, checkpoints, a clean stop."""

import contextlib
import logging
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from data.loader import on_device
from util import distributed
from util.checkpoint import first_lines, load_checkpoint, load_newest, replace_by_link, save_checkpoint
from util.errors import UsageError
from util.runtime import random_states, set_random_states
from util.training.logger import RunLogger
from util.training.tally import DiscriminatorWatch, Tally

log = logging.getLogger(__name__)

LATEST, PREVIOUS, BEST, SECOND = "latest.pt", "previous.pt", "best.pt", "second_best.pt"
DAMAGED = "damaged.pt"  # where a latest.pt is put aside that cannot be read
STOP_CHECK_STEPS = 10  # how often ranks agree on whether to stop


class Trainable(Protocol):
    """What the loop trains: H-GAN, SilNet, the classifier."""

    def training_step(self, batch: dict) -> dict[str, Tensor]: ...

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> None: ...

    def inference_state(self) -> dict: ...


@dataclass(kw_only=True)
class Schedule:
    """How long and how often, in steps; 0 means never."""

    total_steps: int
    steps_per_epoch: int
    log_every: int
    display_every: int
    save_every: int
    validate_every: int


@dataclass
class Progress:
    """Where a run stands: steps done, the validation scores of its best checkpoints (lower is better), and whether the
    validation of this very step is still to be done, because a signal cut it short.
    """

    step: int = 0
    best: list[dict[str, float]] = field(default_factory=list)
    validation_due: bool = False


class Stopped(Exception):
    """The run was asked to stop, by the signal `signal_number`, and has saved at `step`."""

    def __init__(self, signal_number: int, step: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.signal_number, self.step = signal_number, step


def can_resume(folder: Path) -> bool:
    """Whether there is anything to resume from."""
    return (folder / LATEST).exists() or (folder / PREVIOUS).exists()


def resume(folder: Path, model: Trainable) -> Progress:
    """Load latest.pt into the model, or previous.pt where that is damaged, and set all random states.

    A damaged latest.pt is put aside, so that it never takes the place of a good previous one. Raises UsageError.
    """
    content, file = load_newest(folder / LATEST, folder / PREVIOUS)
    try:
        model.load_state_dict(content["model"])
        set_random_states(content["random"])
        progress = Progress(content["step"], content["best"], content.get("validation_due", False))
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise UsageError(f"{file} does not fit these options ({first_lines(error)})") from error
    if file.name == PREVIOUS and distributed.rank() == 0:
        if (folder / LATEST).exists():
            (folder / LATEST).replace(folder / DAMAGED)
        replace_by_link(file, folder / LATEST)
    return progress


def save_latest(folder: Path, model: Trainable, progress: Progress) -> None:
    """Write latest.pt, all that `resume` needs; the one before goes on as previous.pt. Raises RunError."""
    content = {
        "step": progress.step,
        "best": progress.best,
        "validation_due": progress.validation_due,
        "random": random_states(),
        "model": model.state_dict(),
    }
    save_checkpoint(folder / LATEST, content, keep=folder / PREVIOUS)


def fit(
    model: Trainable,
    batches: Iterator[dict],
    *,
    folder: Path,
    device: torch.device,
    schedule: Schedule,
    progress: Progress,
    logger: RunLogger | None,
    validate: Callable[[], tuple[dict[str, float], float]] | None = None,
    display: Callable[[], dict[str, np.ndarray]] | None = None,
) -> None:
    """Train until `schedule.total_steps`, from where `progress` stands.

    batches: endless, beginning with the batch of step `progress.step`. validate: () -> (scores to log, the one to
    minimise). display: () -> {name: uint8 (H, W, 3) picture}. logger: None on ranks other than 0, which neither log
    nor save.
    SIGINT or SIGTERM finishes the step, saves and raises Stopped; reading, validation and display, which change
    nothing, are cut short, and a validation that was is done when the run goes on. A second SIGINT interrupts at once.
    Steps whose losses or gradients are not finite are named and change nothing; too many in a row raise RunError, and
    nothing is saved after the first of them.
    """
    main, alone = logger is not None, distributed.world_size() == 1
    on_batches = on_device(batches, device)
    tally, watch = Tally(), DiscriminatorWatch()
    saved = progress.step

    def at(every: int) -> bool:
        return every > 0 and (progress.step == schedule.total_steps or due(progress.step, every))

    def take_step() -> None:
        with stop.cut_short(alone):
            batch = next(on_batches)
        tally.add(progress.step + 1, model.training_step(batch), batch)
        progress.step += 1
        progress.validation_due = at(schedule.validate_every)
        if main:
            logger.advance()
        if progress.step == 1 or at(schedule.log_every):
            means = distributed.mean(tally.means(), device)
            if main:
                logger.scalars(means)
                watch.look(means, progress.step)
        if main and display and at(schedule.display_every):
            with logger.pause():
                with stop.cut_short(alone):
                    pictures = display()
                for name, picture in pictures.items():
                    logger.image(name, picture)

    def save() -> None:
        nonlocal saved
        tally.check()
        if tally.in_a_row:
            log.warning("not saved at step %d: the last steps were not finite", progress.step)
            return
        with logger.pause():
            save_latest(folder, model, progress)
        saved = progress.step

    with stop_on_signals() as stop:
        try:
            while progress.step < schedule.total_steps or progress.validation_due:
                if not progress.validation_due:  # else a validation was cut short, and its step is done
                    take_step()
                ask = progress.validation_due or due(progress.step, STOP_CHECK_STEPS)
                if progress.validation_due:
                    if main and validate:
                        with logger.pause(), contextlib.nullcontext() if alone else contextlib.suppress(Cut):
                            validate_once(model, validate, stop, folder=folder, progress=progress, logger=logger)
                    progress.validation_due = False
                    distributed.barrier()
                last = progress.step == schedule.total_steps
                stopping = bool(stop) if alone else ask and distributed.any_rank(bool(stop), device)
                if main and (last or stopping or due(progress.step, schedule.save_every)):
                    save()
                if stopping and not last:
                    raise Stopped(stop.number, saved)
        except Cut:
            if main and saved != progress.step:
                save()
            raise Stopped(stop.number, saved) from None


def validate_once(
    model: Trainable,
    validate: Callable[[], tuple[dict[str, float], float]],
    stop: "StopRequest",
    *,
    folder: Path,
    progress: Progress,
    logger: RunLogger,
) -> None:
    """Score the model, log that, and keep it if it is among the best. A score that cannot be had does not end a run."""
    try:
        with stop.cut_short():
            scores, score = validate()
    except (UsageError, ValueError) as error:
        log.warning("no validation at step %d: %s", progress.step, error)
        return
    logger.scores(scores)
    keep_best(folder, model, progress, score)


def due(step: int, every: int) -> bool:
    """Whether something done every so many steps (0: never) falls on this one."""
    return every > 0 and step % every == 0


def keep_best(folder: Path, model: Trainable, progress: Progress, score: float) -> None:
    """Write best.pt if the score is the lowest so far, second_best.pt if the second lowest."""
    entry = {"score": score, "step": progress.step}
    content = {**entry, "model": model.inference_state()}
    ranking = sorted([*progress.best, entry], key=lambda e: e["score"])[:2]
    if ranking[0] is entry:
        # A run that was killed right here, and does this step again, finds its new best in place of the one before.
        moves = progress.best and holds_step(folder / BEST, progress.best[0]["step"])
        save_checkpoint(folder / BEST, content, keep=folder / SECOND if moves else None)
    elif entry in ranking:
        save_checkpoint(folder / SECOND, content)
    progress.best = ranking


def holds_step(path: Path, step: int) -> bool:
    """Whether a good checkpoint of that step lies there."""
    try:
        return load_checkpoint(path).get("step") == step
    except UsageError:
        return False


class Cut(BaseException):
    """A signal came while nothing was done that could not be left."""


class StopRequest:
    """The signals that asked for an end so far; true if there are any."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._idle = False

    def __bool__(self) -> bool:
        return bool(self.received)

    @property
    def number(self) -> int:
        """The first signal's number; SIGTERM where it was another process that got it."""
        return self.received[0] if self.received else signal.SIGTERM

    @contextlib.contextmanager
    def cut_short(self, possible: bool = True) -> Iterator[None]:
        """Within the block a signal raises Cut at once, if that is `possible`."""
        self._idle = possible
        try:
            if possible and self.received:
                raise Cut
            yield
        finally:
            self._idle = False

    def receive(self, number: int, _frame: object) -> None:
        """The signals' handler."""
        if number == signal.SIGINT and signal.SIGINT in self.received:
            raise KeyboardInterrupt
        self.received.append(number)
        log.info("%s: finishing the step and saving; Ctrl-C twice quits at once", signal.Signals(number).name)
        if self._idle:
            raise Cut


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Within the block, SIGINT and SIGTERM are noted in what it yields; a second SIGINT raises KeyboardInterrupt."""
    stop = StopRequest()
    before = {number: signal.signal(number, stop.receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
