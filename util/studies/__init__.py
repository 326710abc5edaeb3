"""Studies of what translated hands are good for. `train` trains their networks: the loop of all scripts on pasted hands."""

from pathlib import Path

from data.labelled_hands import HandsOnBackgrounds
from data.loader import stream_loader
from models.supervised import Supervised
from util.training.checkpoints import Progress
from util.training.logger import RunLogger
from util.training.loop import Schedule, fit


def train(
    net: Supervised,
    stream: HandsOnBackgrounds,
    *,
    folder: Path,
    batch_size: int,
    total_steps: int,
    log_every: int,
    seed: int,
    num_workers: int,
    start: Progress | None = None,
    board: Path | None = None,
    save_every: int = 0,
) -> None:
    """Train net in `folder` to total_steps, from `start` (default: the first step). board: TensorBoard's folder, if not that.

    Raises util.errors.Stopped on SIGINT and SIGTERM.
    """
    start = start or Progress()
    loader = stream_loader(stream, batch_size, num_workers=num_workers, start_step=start.step)
    folder.mkdir(parents=True, exist_ok=True)
    steps = {"total_steps": total_steps, "steps_per_epoch": max(1, round(len(stream) / batch_size))}
    schedule = Schedule(**steps, log_every=log_every, save_every=save_every)
    with RunLogger(folder, first_step=start.step, **steps, images_per_step=batch_size, board=board) as logger:
        run = {"folder": folder, "device": net.device, "seed": seed}
        fit(net, iter(loader), **run, schedule=schedule, progress=start, logger=logger)
