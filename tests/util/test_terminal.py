"""What training shows: plain lines, and a log that goes on."""

import json
from pathlib import Path

from util import workers
from util.training.checkpoints import Progress, Schedule
from util.training.logger import RunLogger, read_log
from util.workers import progress


def logger_in(folder: Path, progress: Progress | None = None) -> RunLogger:
    schedule = Schedule(total_steps=20, steps_per_epoch=10, log_every=1)
    return RunLogger(folder, schedule, progress or Progress(), images_per_step=4)


def test_piped_progress_is_a_line_now_and_then(caplog, monkeypatch):
    monkeypatch.setattr(workers, "SECONDS", 0.0)
    caplog.set_level("INFO")
    assert list(progress(range(3), desc="reading")) == [0, 1, 2]
    assert caplog.messages == [f"reading: {done} of 3 images" for done in (1, 2, 3)]
    monkeypatch.setattr(workers, "SECONDS", 30.0)
    assert list(progress(range(3), desc="reading")) == [0, 1, 2] and len(caplog.messages) == 3


def test_time_left_counts_validation_and_the_rate_does_not(tmp_path, monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr("util.training.logger.time.perf_counter", lambda: now[0])
    with logger_in(tmp_path) as logger:
        for _ in range(10):
            now[0] += 2
            logger.step += 1
        with logger.pause():
            now[0] += 30
        caplog.set_level("INFO")
        logger.losses({"G_gan": 1.0, "D_r_real": 0.5})
    # Ten more steps, at 50 seconds for ten.
    assert caplog.messages == ["step 10/20  epoch 1.00  G_gan 1.000  ETA 00:50, 2.00 images/s"]
    assert '"seconds": 2.0' in (tmp_path / "log.jsonl").read_text()


def test_a_log_goes_on_without_what_is_repeated(tmp_path):
    """The lines of later steps, and a line that a kill cut short."""
    lines = [{"step": 1, "seconds": 1}, {"step": 2, "seconds": 1}, {"step": 2, "fd": 5}, {"step": 3, "seconds": 1}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4, "se')
    with logger_in(tmp_path, Progress(2)):
        pass
    assert read_log(tmp_path) == lines[:3]
