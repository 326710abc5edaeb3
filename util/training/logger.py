"""The output of a run: log.jsonl, TensorBoard, and lines on the terminal."""

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from util.errors import RunError
from util.files import as_utf8, naming, strict, write_bytes
from util.images import write_png
from util.training.checkpoints import Progress, Schedule

LOG_FILE = "log.jsonl"
READ_EVERY = 25  # steps, at most, between two reads of the device, which wait for it
MOST_SKIPPED = 30  # steps in a row, then training stops; fp16's scaler needs 16 to come down from its first scale to 1
SKIPPED = "skipped"


def setup_logging(*, quiet: bool = False) -> None:
    """Send log records to stderr as plain lines; `quiet` (ranks other than 0) keeps warnings only."""
    for stream in (sys.stdout, sys.stderr):  # names of files may hold what is not UTF-8
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(format="%(message)s", stream=sys.stderr, force=True)
    logging.getLogger().setLevel(logging.WARNING if quiet else logging.INFO)


class LossMeter:
    """Means of losses, fetched in batches to avoid GPU syncs, and the number of steps that were skipped."""

    def __init__(self) -> None:
        self.broken = False  # MOST_SKIPPED steps in a row were skipped
        self._in_a_row = 0
        self._unread: list[tuple[int, str, dict[str, Tensor]]] = []
        self._read: list[dict[str, float]] = []  # of steps that were not skipped, since the last means
        self._skipped = 0  # steps since then

    def add(self, step: int, losses: dict[str, Tensor], batch: dict) -> None:
        """Add a step's losses: scalars, among them "skipped" (1.0 if the step changed nothing, else 0.0)."""
        files = ", ".join(path for key, paths in batch.items() if key.endswith("_path") for path in paths)
        self._unread.append((step, files, losses))
        if len(self._unread) >= READ_EVERY:
            self.read()

    def means(self) -> dict[str, float]:
        """The losses' means since the last call, without skipped steps. "skipped", their number, is missing if it is 0."""
        self.read()
        steps, skipped = self._read, {SKIPPED: self._skipped} if self._skipped else {}
        self._read, self._skipped = [], 0
        return {name: fmean(losses[name] for losses in steps) for name in (steps[0] if steps else ())} | skipped

    def read(self) -> None:
        """Fetch what was added, and log skipped steps. Raises RunError for MOST_SKIPPED in a row."""
        unread, self._unread = self._unread, []
        for step, files, losses in unread:
            values = dict(zip(losses, torch.stack([loss.float() for loss in losses.values()]).tolist()))
            if not values.pop(SKIPPED):
                self._in_a_row = 0
                self._read.append(values)
                continue
            self._in_a_row += 1
            self._skipped += 1
            logging.warning("step %d: loss or gradient not finite, update skipped; files: %s", step, files)
            self.broken = self._in_a_row >= MOST_SKIPPED
            if self.broken:
                said = f"losses or gradients were not finite in {MOST_SKIPPED} steps in a row, up to step {step}"
                raise RunError(
                    f"{said}; go on from the last checkpoint with --amp off, or start anew with a lower --lr"
                )


class RunLogger(contextlib.ExitStack):
    """Writes the numbers and pictures of a run from `progress` on; `with` closes it. step: the one that they are of. board:
    TensorBoard's folder (default: folder/tensorboard)."""

    def __init__(
        self, folder: Path, schedule: Schedule, progress: Progress, *, images_per_step: int, board: Path | None = None
    ) -> None:
        super().__init__()
        self.folder, self.images_per_step, self.step = folder, images_per_step, progress.step
        self.total_steps, self.steps_per_epoch = schedule.total_steps, schedule.steps_per_epoch
        _drop_repeated(folder, progress)
        self._log = self.enter_context(open(folder / LOG_FILE, "ab", buffering=0))
        board = board or folder / "tensorboard"
        self._board = self.enter_context(SummaryWriter(str(board), purge_step=self.step + 1))
        self._first_step, self._start = self.step, time.perf_counter()
        self._since, self._since_step = self._start, self.step

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Time within the block (validation, pictures, saving) does not count towards the seconds a step."""
        start = time.perf_counter()
        yield
        self._since += time.perf_counter() - start

    def losses(self, values: dict[str, float]) -> None:
        """Log the step's losses and the mean seconds a step since the last call."""
        now = time.perf_counter()
        seconds = (now - self._since) / max(1, self.step - self._since_step)
        self._since, self._since_step = now, self.step
        speed = {"seconds": seconds, "images_per_second": self.images_per_step / seconds if seconds else 0.0}
        if torch.cuda.is_initialized():
            speed["memory_gib"] = torch.cuda.max_memory_allocated() / 2**30  # the peak so far
        self._write(speed | values, loss_tag)
        shown = [f"{name} {value:.3f}" for name, value in values.items() if not name.endswith(("_real", "_fake"))]
        left = (now - self._start) / (self.step - self._first_step) * (self.total_steps - self.step)
        pace = f"ETA {tqdm.format_interval(left)}, {speed['images_per_second']:.2f} images/s"
        where = f"step {self.step}/{self.total_steps}  epoch {self.step / self.steps_per_epoch:.2f}"
        logging.info("%s", "  ".join([where, *shown, pace]))

    def scores(self, values: dict[str, float]) -> None:
        """Log the scores of a validation."""
        self._write(values, "1_scores/{}".format)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        logging.info("validation at step %d: %s", self.step, shown)

    def image(self, name: str, picture: np.ndarray) -> None:
        """Show a uint8 (H, W, 3) picture with its step in TensorBoard, and keep the latest as NAME.png in the folder."""
        write_png(self.folder / f"{name}.png", picture)
        with naming(self._board.log_dir):
            self._board.add_image(name, picture, self.step, dataformats="HWC")
            self._board.flush()

    def options(self, options: dict[str, object]) -> None:
        """Show the command and a table of the run's options in TensorBoard."""
        rows = [f"| {name} | `{value}` |" for name, value in options.items()]
        text = "\n".join([f"`{' '.join(sys.argv)}`", "", "| option | value |", "| --- | --- |", *rows])
        self._board.add_text("options", as_utf8(text), self.step)

    def _write(self, values: dict[str, float], tag: Callable[[str], str]) -> None:
        values = strict(values)
        entry = {"step": self.step, "epoch": round(self.step / self.steps_per_epoch, 4), **values}
        with naming(self._log.name):
            self._log.write(f"{json.dumps(entry, allow_nan=False)}\n".encode())
        with naming(self._board.log_dir):
            for name, value in values.items():
                if value is not None:
                    self._board.add_scalar(tag(name), value, self.step)
            self._board.flush()


def loss_tag(name: str) -> str:
    """A logged number's name -> its tag in TensorBoard, "group/name", so that groups are in the order to look at."""
    if name in ("seconds", "images_per_second", "memory_gib", SKIPPED):
        return f"4_speed_and_memory/{name}"
    return {"D": "3_discriminators", "G": "2_generators"}.get(name.partition("_")[0], "2_losses") + f"/{name}"


def read_log(run: Path) -> list[dict]:
    """The objects of a run's log.jsonl, without lines that are damaged or were cut short; [] where there is no log."""
    log, entries = run / LOG_FILE, []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else ():
        with contextlib.suppress(ValueError):
            entries.append(json.loads(line))
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("step"), int)]


def _drop_repeated(run: Path, progress: Progress) -> None:
    """Remove the lines of what a resumed run repeats, and a last line that is incomplete."""
    kept = [entry for entry in read_log(run) if entry["step"] <= progress.step]
    if progress.validation_due:
        kept = [entry for entry in kept if entry["step"] < progress.step or "seconds" in entry]
    write_bytes(run / LOG_FILE, "".join(json.dumps(entry) + "\n" for entry in kept).encode())
