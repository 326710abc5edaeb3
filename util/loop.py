"""The training loop that every script shares: steps, logging, validation, checkpoints, a clean stop."""

import contextlib
import logging
import math
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from data.loader import to_device
from util import distributed
from util.checkpoint import load_checkpoint, save_checkpoint
from util.errors import UsageError
from util.logger import RunLogger
from util.runtime import random_states, set_random_states

log = logging.getLogger(__name__)

LATEST, BEST, SECOND = "latest.pt", "best.pt", "second_best.pt"
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
    """Where a run stands: steps done, and the validation scores of its best checkpoints (lower is better)."""

    step: int = 0
    best: list[dict[str, float]] = field(default_factory=list)


class Stopped(Exception):
    """The run was asked to stop, by the signal `signal_number`, and has saved at `step`."""

    def __init__(self, signal_number: int, step: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.signal_number, self.step = signal_number, step


def resume(folder: Path, model: Trainable) -> Progress:
    """Load latest.pt into the model and set all random states. Raises UsageError."""
    content = load_checkpoint(folder / LATEST)
    try:
        model.load_state_dict(content["model"])
        set_random_states(content["random"])
        return Progress(content["step"], content["best"])
    except (KeyError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{folder / LATEST} does not fit these options ({reason})") from error


def save_latest(folder: Path, model: Trainable, progress: Progress) -> None:
    """Write latest.pt: all that `resume` needs."""
    content = {"step": progress.step, "best": progress.best, "random": random_states(), "model": model.state_dict()}
    save_checkpoint(folder / LATEST, content)


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
    nor save. SIGINT or SIGTERM finishes the step, saves and raises Stopped; a second SIGINT interrupts at once.
    """
    main = logger is not None
    sums: dict[str, Tensor] = {}
    summed = 0
    with stop_on_signals() as stop:
        while progress.step < schedule.total_steps:
            batch = to_device(next(batches), device)
            losses = model.training_step(batch)
            progress.step += 1
            step = progress.step
            last = step == schedule.total_steps
            for name, value in losses.items():  # summed where they are: reading them would wait for the device
                sums[name] = sums[name] + value if name in sums else value.clone()
            summed += 1

            if main:
                logger.advance()
            if step == 1 or last or due(step, schedule.log_every):
                means = {name: (value / summed).item() for name, value in sums.items()}
                sums, summed = {}, 0
                means = distributed.mean(means, device)
                check_finite(means, step, batch)
                if main:
                    logger.scalars(means)
            if main and display and schedule.display_every and (last or due(step, schedule.display_every)):
                with logger.pause():
                    for name, picture in display().items():
                        logger.image(name, picture)
            if validate and schedule.validate_every and (last or due(step, schedule.validate_every)):
                if main:
                    with logger.pause():
                        scores, score = validate()
                        logger.scores(scores)
                        keep_best(folder, model, progress, score)
                distributed.barrier()
            stopping = bool(stop) if distributed.world_size() == 1 else (
                step % STOP_CHECK_STEPS == 0 and distributed.any_rank(bool(stop), device)
            )
            if main and (last or stopping or due(step, schedule.save_every)):
                with logger.pause():
                    save_latest(folder, model, progress)
            if stopping and not last:
                raise Stopped(stop[0] if stop else signal.SIGTERM, step)


def due(step: int, every: int) -> bool:
    """Whether something done every so many steps (0: never) falls on this one."""
    return every > 0 and step % every == 0


def check_finite(losses: dict[str, float], step: int, batch: dict[str, Any]) -> None:
    """Raise FloatingPointError, naming the losses, the step and the batch's files, if a loss is not finite."""
    broken = [name for name, value in losses.items() if not math.isfinite(value)]
    if broken:
        files = [path for key, value in batch.items() if key.endswith("_path") for path in value]
        raise FloatingPointError(
            f"{', '.join(broken)} not finite up to step {step} (last batch: {', '.join(files)}); "
            "the last checkpoint is from before; a lower --lr or --amp off may help"
        )


def keep_best(folder: Path, model: Trainable, progress: Progress, score: float) -> None:
    """Write best.pt if the score is the lowest so far, second_best.pt if the second lowest."""
    entry = {"score": score, "step": progress.step}
    content = {**entry, "model": model.inference_state()}
    ranking = sorted([*progress.best, entry], key=lambda e: e["score"])[:2]
    if ranking[0] is entry:
        if (folder / BEST).exists():
            (folder / BEST).replace(folder / SECOND)
        save_checkpoint(folder / BEST, content)
    elif entry in ranking:
        save_checkpoint(folder / SECOND, content)
    progress.best = ranking


@contextlib.contextmanager
def stop_on_signals() -> Iterator[list[int]]:
    """Within the block, SIGINT and SIGTERM append to the list it yields; a second SIGINT raises KeyboardInterrupt."""
    received: list[int] = []

    def receive(number: int, _frame) -> None:
        if number == signal.SIGINT and received:
            raise KeyboardInterrupt
        received.append(number)
        log.info("%s: finishing the step and saving; Ctrl-C once more quits at once", signal.Signals(number).name)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
