"""How far a run has come and is to go, and its checkpoints: latest.pt to go on from, best.pt to use, epoch_N.pt to keep."""

import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from models.hgan import HGAN
from models.supervised import Supervised
from util import distributed
from util.checkpoint_file import MISFITS, load_checkpoint, save_checkpoint
from util.errors import UsageError, first_lines
from util.run import BEST, LATEST

log = logging.getLogger(__name__)


# Its PER_RANK, if it has one, names the parts of its state_dict() that differ between the processes of a run.
Trainable = HGAN | Supervised


@dataclass
class Progress:
    """The state of a run: steps done, the lowest validation score, and whether the validation of this step is still to be done."""

    step: int = 0
    best_score: float = math.inf
    validation_due: bool = False


@dataclass(kw_only=True)
class Schedule:
    """How long and how often, in steps; 0 means never."""

    total_steps: int
    steps_per_epoch: int
    log_every: int
    display_every: int = 0
    save_every: int = 0
    snapshot_every: int = 0
    validate_every: int = 0

    def at(self, step: int, every: int) -> bool:
        """Whether something done every `every` steps, and at the end, is due after this step."""
        return every > 0 and (step == self.total_steps or step % every == 0)


def resume(folder: Path, model: Trainable) -> Progress:
    """Load latest.pt, if there is one, into the model. All processes must call it. Raises UsageError.

    The number of processes may differ from that of the save: each takes its own part of the state, or starts it anew.
    """
    if not (folder / LATEST).exists():
        return Progress()
    content = load_checkpoint(folder / LATEST)
    try:
        ranks, rank = content["ranks"], distributed.rank()
        model.load_state_dict(content["model"] | (ranks[rank] if rank < len(ranks) else rank_state(model)))
        progress = Progress(content["step"], content["best_score"], content["validation_due"])
    except MISFITS as error:
        raise UsageError(f"{folder / LATEST} does not fit these options ({first_lines(error)})") from error
    distributed.barrier()
    log.info("continuing at step %d", progress.step)
    return progress


def rank_state(model: Trainable) -> dict:
    """The parts of the model's state that are this process's own."""
    names = getattr(model, "PER_RANK", ())
    state = model.state_dict() if names else {}
    return {name: state[name] for name in names}


def save_latest(folder: Path, model: Trainable, progress: Progress) -> None:
    """Write latest.pt, all that `resume` needs. All processes must call it; rank 0 writes. Raises RunError."""
    ranks = distributed.gather(rank_state(model))
    if ranks is not None:
        state = {name: value for name, value in model.state_dict().items() if name not in ranks[0]}
        save_checkpoint(folder / LATEST, {**asdict(progress), "model": state, "ranks": ranks})
    distributed.barrier()


def save_if_best(folder: Path, model: Trainable, progress: Progress, score: float) -> None:
    """Write best.pt, the networks to use, if this validation score is the lowest so far. Rank 0 alone. Raises RunError."""
    if score < progress.best_score:
        save_checkpoint(folder / BEST, {"score": score, "step": progress.step, "model": model.inference_state()})
        progress.best_score = score


def save_snapshot(folder: Path, model: Trainable, progress: Progress, *, epoch: int) -> None:
    """Write epoch_N.pt, the networks to use. Rank 0 alone. Raises RunError."""
    save_checkpoint(folder / f"epoch_{epoch}.pt", {"step": progress.step, "model": model.inference_state()})
