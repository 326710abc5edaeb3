"""The checkpoints of a run: latest.pt to go on from, best.pt to use, epoch_N.pt to keep."""

import logging
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor

from util import distributed
from util.checkpoint import (
    FORMAT,
    load_checkpoint,
    load_newest,
    save_checkpoint,
)
from util.errors import UsageError, first_lines
from util.run import BEST, LATEST, PREVIOUS, SECOND
from util.training.tally import Tally

log = logging.getLogger(__name__)

DAMAGED = "damaged.pt"  # a latest.pt that cannot be read, kept aside
UNSAVED_AFTER = 17  # skipped steps in a row; fp16's scaler alone may skip 16 on its way from its first scale to 1


class Trainable(Protocol):
    """What the loop trains: H-GAN, SilNet, the classifier.

    The parts of state_dict() that PER_RANK names (none where there is no such attribute) differ between the processes
    of a run; the others are the same in all.
    """

    def training_step(self, batch: dict) -> dict[str, Tensor]: ...

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> None: ...

    def inference_state(self) -> dict: ...


@dataclass
class Progress:
    """The state of a run: steps done, the validation scores of its best checkpoints (lower is better), and whether the
    validation of this step is still due because a signal interrupted it.
    """

    step: int = 0
    best: list[dict[str, float]] = field(default_factory=list)
    validation_due: bool = False


def can_resume(folder: Path) -> bool:
    """Whether there is anything to resume from."""
    return (folder / LATEST).exists() or (folder / PREVIOUS).exists()


def resume(folder: Path, model: Trainable) -> Progress:
    """Load latest.pt into the model, or previous.pt if latest.pt is damaged. All processes must call it.

    The number of processes may differ from that of the save: each takes its own part of the state if there is one, and
    else starts that part anew. A damaged latest.pt is put aside, so that it never replaces a good previous.pt. Raises
    UsageError.
    """
    content, file = load_newest(folder / LATEST, folder / PREVIOUS)
    if content["format"] != FORMAT:
        raise UsageError(
            f"{file} was written by an earlier version of this program, which trained otherwise; test.py can use it, but "
            "training cannot go on from it: train anew under another --name"
        )
    try:
        ranks, rank = content["ranks"], distributed.rank()
        model.load_state_dict(content["model"] | (ranks[rank] if rank < len(ranks) else rank_state(model)))
        progress = Progress(content["step"], content["best"], content["validation_due"])
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise UsageError(f"{file} does not fit these options ({first_lines(error)})") from error
    distributed.barrier()
    if file.name == PREVIOUS and distributed.rank() == 0 and (folder / LATEST).exists():
        (folder / LATEST).replace(folder / DAMAGED)
    return progress


def rank_state(model: Trainable) -> dict:
    """The parts of the model's state that are this process's own."""
    names = getattr(model, "PER_RANK", ())
    state = model.state_dict() if names else {}
    return {name: state[name] for name in names}


def save_latest(folder: Path, model: Trainable, progress: Progress) -> None:
    """Write latest.pt, all that `resume` needs; the one before goes on as previous.pt. Raises RunError.

    All processes must call it; rank 0 writes, and the others wait until it has.
    """
    ranks = distributed.gather(rank_state(model))
    if ranks is not None:
        state = {name: value for name, value in model.state_dict().items() if name not in ranks[0]}
        content = {**asdict(progress), "model": state, "ranks": ranks}
        save_checkpoint(folder / LATEST, content, keep=folder / PREVIOUS)
    distributed.barrier()


class Saver:
    """Saves a run on request, and knows the step and the time of its last save.

    A single skipped step changed nothing and does not prevent a save. Many skipped steps in a row mean that the weights
    are broken: then the last checkpoints, which are older, stay.
    """

    def __init__(
        self, folder: Path, model: Trainable, progress: Progress, tally: Tally, *, every_seconds: float
    ) -> None:
        self.folder, self.model, self.progress, self.tally = folder, model, progress, tally
        self.every_seconds = every_seconds  # 0: never by time
        self.step, self._time = progress.step, time.monotonic()

    def is_due(self) -> bool:
        """Whether the last save was more than every_seconds ago."""
        return 0 < self.every_seconds < time.monotonic() - self._time

    def save(self) -> bool:
        """Write latest.pt, on all processes at the same step; False where too many steps were skipped in a row."""
        self.tally.check()
        self._time = time.monotonic()
        if self.tally.in_a_row >= UNSAVED_AFTER:
            log.warning(
                "not saved at step %d: the last %d steps were not finite", self.progress.step, self.tally.in_a_row
            )
            return False
        save_latest(self.folder, self.model, self.progress)
        self.step = self.progress.step
        return True


def save_snapshot(folder: Path, model: Trainable, progress: Progress, epoch: int) -> None:
    """Write epoch_N.pt: the state for inference, as in best.pt. Raises RunError."""
    save_checkpoint(folder / f"epoch_{epoch}.pt", {"step": progress.step, "model": model.inference_state()})


def keep_best(folder: Path, model: Trainable, progress: Progress, score: float) -> None:
    """Write best.pt if the score is the lowest so far, second_best.pt if the second lowest."""
    entry = {"score": score, "step": progress.step}
    content = {**entry, "model": model.inference_state()}
    ranking = sorted([*progress.best, entry], key=lambda e: e["score"])[:2]
    if ranking[0] is entry:
        # A run that was killed here and repeats the step finds its new best in best.pt already.
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
