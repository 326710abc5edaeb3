"""The output of a run: log.jsonl, TensorBoard, and lines and a progress bar on the terminal."""

import contextlib
import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from util.files import as_utf8, json_lines, strict, write_bytes
from util.images import write_png
from util.training.board import WHAT_TO_WATCH, captioned, score_tag, tag
from util.workers import on_terminal

try:
    import resource
except ImportError:  # not on Windows
    resource = None

LOG_FILE = "log.jsonl"
DISTANCES = ("fd", "fid", "score", "mse")  # of a validation's scores
NOT_JUDGED = ("structure_chance", "new_edges", "n_edges")  # they explain others; log.jsonl and TensorBoard have them
BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"  # the bar fills the rest of the line


def setup_logging(*, quiet: bool = False) -> None:
    """Send log records to stderr as plain lines; `quiet` (ranks other than 0) keeps warnings only.

    File names that are not UTF-8 are written with backslash escapes, to stdout too.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(format="%(message)s", stream=sys.stderr, force=True)
    logging.getLogger().setLevel(logging.WARNING if quiet else logging.INFO)


class RunLogger:
    """Writes a run's numbers and pictures; `with` closes it.

    board: TensorBoard's folder (default: folder/tensorboard). columns: what the pictures show, from left to right.
    """

    def __init__(
        self,
        folder: Path,
        *,
        first_step: int,
        total_steps: int,
        steps_per_epoch: int,
        images_per_step: int,
        board: Path | None = None,
        columns: str = "",
    ) -> None:
        self.folder, self.steps_per_epoch, self.images_per_step = folder, steps_per_epoch, images_per_step
        self.total_steps, self.step, self.columns = total_steps, first_step, columns
        _drop_after(folder, first_step)
        self._open = contextlib.ExitStack()
        self._log = self._open.enter_context(open(folder / LOG_FILE, "a", encoding="utf-8"))
        where = self._open.enter_context(readable_path(board or folder / "tensorboard"))
        self._board = self._open.enter_context(SummaryWriter(where, purge_step=first_step + 1))
        bar = tqdm(total=total_steps, initial=first_step, disable=not on_terminal(), dynamic_ncols=True, bar_format=BAR)
        self._bar = self._open.enter_context(bar)
        self._since, self._since_step = time.perf_counter(), first_step
        self._paced_from: tuple[int, float] | None = None  # a step and when it ended

    def __enter__(self) -> "RunLogger":
        self._open.enter_context(logging_redirect_tqdm())
        return self

    def __exit__(self, *error) -> None:
        self._open.close()

    def advance(self) -> None:
        """Count one more step."""
        self.step += 1
        if self._paced_from is None:  # the first step is slow, and says nothing of the others
            self._paced_from = self.step, time.perf_counter()
        self._bar.update()

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Time within the block (validation, pictures, saving) does not count towards the seconds a step."""
        start = time.perf_counter()
        yield
        self._since += time.perf_counter() - start

    def losses(self, values: dict[str, float]) -> None:
        """Log the step's losses and the mean seconds a step since the last call."""
        seconds = (time.perf_counter() - self._since) / max(1, self.step - self._since_step)
        self._since, self._since_step = time.perf_counter(), self.step
        rate = self.images_per_step / seconds if seconds else 0.0
        self._write({"seconds": seconds, "images_per_second": rate, "memory_gib": memory_gib(), **values}, tag)
        shown = [f"{name} {value:.3f}" for name, value in values.items() if not name.endswith(("_real", "_fake"))]
        pace = f"ETA {self.time_left()}, {rate:.2f} images/s"
        self._bar.set_postfix_str(pace)
        line = f"step {self.step}/{self.total_steps}  epoch {self.epoch:.2f}  {'  '.join(shown)}"
        logging.info("%s", line if not self._bar.disable else f"{line}  {pace}")

    def time_left(self) -> str:
        """hours:minutes:seconds to the end at the mean pace since the first step, which includes validation, pictures and
        saving; "?" before the second."""
        first, start = self._paced_from or (self.step, 0.0)
        if self.step == first:
            return "?"
        return tqdm.format_interval(
            (time.perf_counter() - start) / (self.step - first) * (self.total_steps - self.step)
        )

    def scores(self, values: dict[str, float]) -> None:
        """Log the scores of a validation."""
        self._write(values, score_tag)
        distances = [f"{name} {value:.4g}" for name, value in values.items() if name in DISTANCES]
        rulers = [f"{name} {value:.3g}" for name, value in values.items() if name not in (*DISTANCES, *NOT_JUDGED)]
        shown = [
            f"{'  '.join(part)} ({best})"
            for part, best in ((distances, "lower is better"), (rulers, "best is 1"))
            if part
        ]
        logging.info("validation at step %d: %s", self.step, ";  ".join(shown))

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        return self.step / self.steps_per_epoch

    def image(self, name: str, picture: np.ndarray) -> None:
        """Show a uint8 (H, W, 3) picture with its step in TensorBoard, and keep the latest as NAME.png in the folder."""
        picture = captioned(picture, f"step {self.step}" + (f": {self.columns}" if self.columns else ""))
        write_png(self.folder / f"{name}.png", picture)
        self._board.add_image(name, picture, self.step, dataformats="HWC")
        self._board.flush()

    def text(self, name: str, text: str) -> None:
        """Show text (Markdown) in TensorBoard."""
        self._board.add_text(name, as_utf8(text), self.step)

    def guide(self) -> None:
        """Show what to watch in TensorBoard."""
        self.text("what_to_watch", WHAT_TO_WATCH)

    def _write(self, values: dict[str, float], tag_of) -> None:
        values = strict(values)
        print(
            json.dumps({"step": self.step, "epoch": round(self.epoch, 4), **values}, allow_nan=False),
            file=self._log,
            flush=True,
        )
        for name, value in values.items():
            if value is not None:
                self._board.add_scalar(tag_of(name), value, self.step)
        self._board.flush()


@contextlib.contextmanager
def readable_path(folder: Path) -> Iterator[str]:
    """The folder's path, or a temporary link to it if the path is not UTF-8, which TensorBoard cannot write."""
    if as_utf8(str(folder)) == str(folder):
        yield str(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as links:
        link = Path(links, "tensorboard")
        link.symlink_to(folder.resolve(), target_is_directory=True)
        yield str(link)


def read_log(run: Path) -> list[dict]:
    """The objects of a run's log.jsonl, without a last line that is incomplete; [] where there is no log."""
    try:
        text = (run / LOG_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [entry for entry in json_lines(text) if isinstance(entry.get("step"), int)]


def memory_gib() -> float:
    """Peak memory so far: the GPU's if one is in use, else this process's."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if resource else 0
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def _drop_after(run: Path, step: int) -> None:
    """Remove the lines of steps that a resumed run repeats, and a last line that is incomplete."""
    if (run / LOG_FILE).exists():
        kept = [json.dumps(entry) + "\n" for entry in read_log(run) if entry["step"] <= step]
        write_bytes(run / LOG_FILE, "".join(kept).encode())
