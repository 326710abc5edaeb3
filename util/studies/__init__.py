"""Studies of what translated hands are good for. `train` trains their networks: the loop of all scripts on pasted hands."""

from pathlib import Path

from data.labelled_hands import HandsOnBackgrounds
from data.loader import stream_loader
from models.supervised import Supervised
from util.training.checkpoints import Progress, Schedule
from util.training.logger import RunLogger
from util.training.loop import fit


def train(
    net: Supervised,
    stream: HandsOnBackgrounds,
    *,
    folder: Path,
    batch_size: int,
    seed: int,
    num_workers: int,
    start: Progress | None = None,
    board: Path | None = None,
    **schedule: int,
) -> None:
    """Train net in `folder` from `start` (default: the first step). board: TensorBoard's folder, if not that. schedule:
    total_steps and others of Schedule. Raises util.errors.Stopped on SIGINT and SIGTERM."""
    start = start or Progress()
    loader = stream_loader(stream, batch_size, num_workers=num_workers, start_step=start.step)
    folder.mkdir(parents=True, exist_ok=True)
    plan = Schedule(steps_per_epoch=max(1, round(len(stream) / batch_size)), **schedule)
    with RunLogger(folder, plan, start, images_per_step=batch_size, board=board) as logger:
        fit(net, loader, folder=folder, seed=seed, schedule=plan, progress=start, logger=logger)
