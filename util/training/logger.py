"""What a run tells: log.jsonl, TensorBoard, and a line or a progress bar on the terminal."""

import json
import logging
import sys
import time
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from util.images import write_bytes, write_png
from util.strict_json import strict

LOG_FILE = "log.jsonl"


def setup_logging(*, quiet: bool = False) -> None:
    """Send log records to stderr as plain lines; `quiet` (ranks other than 0) keeps warnings only."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr, force=True)
    logging.getLogger().setLevel(logging.WARNING if quiet else logging.INFO)


class RunLogger:
    """Writes a run's numbers and pictures; `with` closes it."""

    def __init__(
        self,
        folder: Path,
        *,
        first_step: int,
        total_steps: int,
        steps_per_epoch: int,
        images_per_step: int,
        board: Path | None = None,
    ) -> None:
        self.folder, self.steps_per_epoch, self.images_per_step = folder, steps_per_epoch, images_per_step
        self.total_steps, self.step = total_steps, first_step
        _drop_after(folder / LOG_FILE, first_step)
        self._log = open(folder / LOG_FILE, "a", encoding="utf-8")
        self._board = SummaryWriter(str(board or folder / "tensorboard"), purge_step=first_step + 1)
        self._bar = tqdm(
            total=total_steps,
            initial=first_step,
            unit="step",
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
            smoothing=0.1,
        )
        self._redirect = logging_redirect_tqdm()
        self._since = time.perf_counter()
        self._since_step = first_step

    def __enter__(self) -> "RunLogger":
        self._redirect.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self._redirect.__exit__(*error)
        self._bar.close()
        self._log.close()
        self._board.close()

    def advance(self) -> None:
        """Count one more step."""
        self.step += 1
        self._bar.update()

    def pause(self) -> "_Pause":
        """`with logger.pause():` keeps the time of validation and saving out of the seconds a step."""
        return _Pause(self)

    def scalars(self, values: dict[str, float]) -> None:
        """Write the step's numbers, with the mean seconds a step since the last time."""
        seconds = (time.perf_counter() - self._since) / max(1, self.step - self._since_step)
        self._since, self._since_step = time.perf_counter(), self.step
        self._write({"seconds": seconds, **values})
        shown = "  ".join(
            f"{name} {value:.3f}" for name, value in values.items() if not name.endswith(("_real", "_fake"))
        )
        rate = f"{self.images_per_step / seconds:.2f} images/s" if seconds else ""
        self._bar.set_postfix_str(f"{shown}  {rate}")
        if self._bar.disable:
            eta = tqdm.format_interval(seconds * (self.total_steps - self.step))
            logging.info(
                "step %d/%d  epoch %.2f  %s  %s  ETA %s", self.step, self.total_steps, self.epoch, shown, rate, eta
            )

    def scores(self, values: dict[str, float]) -> None:
        """Write validation's numbers."""
        self._write(values)
        logging.info("validation at step %d: %s", self.step, "  ".join(f"{k} {v:.4g}" for k, v in values.items()))

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        return self.step / self.steps_per_epoch

    def image(self, name: str, picture: np.ndarray) -> None:
        """Show a uint8 (H, W, 3) picture in TensorBoard, and keep the latest one as NAME.png in the run's folder."""
        write_png(self.folder / f"{name}.png", picture)
        self._board.add_image(name, picture, self.step, dataformats="HWC")
        self._board.flush()

    def text(self, name: str, text: str) -> None:
        """Show text (Markdown) in TensorBoard."""
        self._board.add_text(name, text, self.step)

    def _write(self, values: dict[str, float]) -> None:
        values = strict(values)
        print(
            json.dumps({"step": self.step, "epoch": round(self.epoch, 4), **values}, allow_nan=False),
            file=self._log,
            flush=True,
        )
        for name, value in values.items():
            if value is not None:
                self._board.add_scalar(name, value, self.step)
        self._board.flush()


class _Pause:
    def __init__(self, logger: RunLogger) -> None:
        self._logger = logger

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *error) -> None:
        self._logger._since += time.perf_counter() - self._start


def _drop_after(path: Path, step: int) -> None:
    """Forget lines of steps that a resumed run does again, and a last line that was cut short."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    write_bytes(path, "".join(line + "\n" for line in kept).encode())
