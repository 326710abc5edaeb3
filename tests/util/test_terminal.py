"""What training shows: a whole bar at any width on a terminal, plain lines in a pipe; groups and captions in TensorBoard."""

import contextlib
import json
import os
import re
import sys
import termios
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers import start_call, wait
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from util import workers
from util.training.checkpoints import Progress, Schedule
from util.training.logger import RunLogger, read_log, setup_logging
from util.workers import progress

LOSSES = {f"{player}_{part}": 123.456 for player in "GD" for part in ("gan", "cycle", "identity", "r", "s", "r_real")}


def logger_in(folder: Path, progress: Progress | None = None, images: int = 1, **changes: int) -> RunLogger:
    schedule = Schedule(**({"total_steps": 20, "steps_per_epoch": 10, "log_every": 1} | changes))
    return RunLogger(folder, schedule, progress or Progress(), images_per_step=images)


def run_logger(folder: Path) -> None:
    """Three logged steps out of 150,000, with a validation between them."""
    setup_logging()
    with logger_in(folder, total_steps=150_000, steps_per_epoch=1000) as logger:
        for _ in range(3):
            time.sleep(0.15)  # more than the bar's shortest interval
            logger.advance()
            logger.losses(LOSSES)
            with logger.pause():
                logger.scores({"fd": 81.2})


def show_progress(_folder: Path) -> None:
    """A bar of a hundred thousand images, some of them done."""
    for _ in progress(range(3), total=100_000, desc="checking synthetic images"):  # none has a longer description
        time.sleep(0.15)


def show_on(terminal: str, show: Callable[[Path], None], folder: Path) -> None:
    sys.stderr = open(os.open(terminal, os.O_WRONLY | os.O_NOCTTY), "w", buffering=1)
    show(folder)


def on_terminal(columns: int, folder: Path, show: Callable[[Path], None]) -> str:
    """What `show(folder)` writes to a terminal of so many columns."""
    main, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, columns))
    child = start_call(partial(show_on, os.ttyname(terminal), show, folder), folder / "log")
    written = []
    reader = threading.Thread(target=read_all, args=(main, written))
    reader.start()
    status = wait(child)
    os.close(terminal)  # the last holder: the reader comes to the end
    reader.join(60)
    os.close(main)
    assert status == 0, (folder / "log").read_text()
    return b"".join(written).decode()


def read_all(terminal: int, chunks: list[bytes]) -> None:
    """Append what is written to a terminal, until nobody holds its other end."""
    with contextlib.suppress(OSError):  # how Linux says so
        while chunk := os.read(terminal, 65536):
            chunks.append(chunk)


@pytest.mark.parametrize("columns", [80, 200])
def test_bars_are_whole(tmp_path, columns):
    written = on_terminal(columns, tmp_path, run_logger)
    bars = [bar for bar in re.findall(r"\r([^\r\n]*\|[^\r\n]*\])", written) if "ETA" in bar]
    assert bars
    for bar in bars:
        assert len(bar) <= columns and bar.endswith("images/s]")
        assert len(re.search(r"\|(.*)\|", bar)[1]) >= columns - 75 > 0
    lines = [line for line in re.split(r"[\r\n]+", written) if "G_gan" in line]
    assert len(lines) == 3 and all("D_s 123.456" in line and "step " in line for line in lines)

    written = on_terminal(columns, tmp_path, show_progress)
    bars = [bar for bar in re.split(r"[\r\n]+", written) if "%|" in bar]
    assert len(bars) >= 2
    for bar in bars:
        assert len(bar) <= columns and re.search(r": +\d+%\|.+\| \d+/100000 \[.*image/s\]$", bar), bar
    assert written.endswith("\r")  # it is removed at the end


def test_piped_output_is_plain_lines(tmp_path):
    log = tmp_path / "log"
    assert wait(start_call(partial(run_logger, tmp_path), log)) == 0
    said = log.read_text()
    assert "\r" not in said and "\x1b" not in said
    assert len(re.findall(r"step \d/150000 .* G_gan 123.456 .* ETA (?:\?|[\d:]+), [\d.]+ images/s", said)) == 3


def test_piped_progress_is_a_line_now_and_then(caplog, monkeypatch):
    monkeypatch.setattr(workers, "SECONDS", 0.0)
    caplog.set_level("INFO")
    assert list(progress(range(3), desc="reading")) == [0, 1, 2]
    assert caplog.messages == [f"reading: {done} of 3 images" for done in (1, 2, 3)]
    monkeypatch.setattr(workers, "SECONDS", 30.0)
    assert list(progress(range(3), desc="reading")) == [0, 1, 2] and len(caplog.messages) == 3


def test_time_left_counts_validation_and_the_rate_does_not(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("util.training.logger.time.perf_counter", lambda: now[0])
    with logger_in(tmp_path, images=4) as logger:
        now[0] += 40  # the first step's
        logger.advance()
        assert logger.time_left() == "?"
        for _ in range(9):
            now[0] += 2
            logger.advance()
        with logger.pause():
            now[0] += 30
        logger.losses({"loss": 1.0})
        assert logger.time_left() == "00:53"  # ten more steps, at 48 seconds for nine
    assert '"seconds": 5.8' in (tmp_path / "log.jsonl").read_text()


def test_tensorboard_is_in_groups(tmp_path):
    with logger_in(tmp_path) as logger:
        logger.options({"lr": 1e-4})
        logger.advance()
        logger.losses({"G_gan": 1.0, "D_r": 2.0, "loss": 3.0})
        logger.scores({"fd": 4.0})
        logger.image("picture", np.zeros((20, 200, 3), np.uint8))
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    speed = ("seconds", "images_per_second", "memory_gib")
    expected = {"1_scores/fd", "2_generators/G_gan", "3_discriminators/D_r", "2_losses/loss"}
    assert set(board.Tags()["scalars"]) == expected | {f"4_speed_and_memory/{name}" for name in speed}
    assert board.Tags()["images"] == ["picture"] and "options/text_summary" in board.Tags()["tensors"]
    assert board.Scalars("4_speed_and_memory/memory_gib")[0].value > 0.05


def test_a_log_goes_on_without_what_is_repeated(tmp_path):
    """The lines of later steps, the validation of this one if it is repeated, and a line that a kill cut short."""
    lines = [{"step": 1, "seconds": 1}, {"step": 2, "seconds": 1}, {"step": 2, "fd": 5}, {"step": 3, "seconds": 1}]
    for repeats, kept in ((False, 3), (True, 2)):
        (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4, "se')
        with logger_in(tmp_path, Progress(2, validation_due=repeats)):
            pass
        assert read_log(tmp_path) == lines[:kept]
