"""The training loop, with a model that only draws numbers: saving, skipped steps, snapshots, signals."""

import json
import os

import pytest
import torch
from drawing_model import Drawing, train
from helpers import same

from util.checkpoint_file import load_checkpoint
from util.errors import RunError, Stopped
from util.training import logger as logging_
from util.training import loop
from util.training.checkpoints import Progress, Schedule, resume
from util.training.logger import RunLogger

LENGTH = Schedule(total_steps=8, steps_per_epoch=2, log_every=1)


@pytest.fixture
def logger(tmp_path):
    with RunLogger(tmp_path, LENGTH, Progress(), images_per_step=1) as logger:
        yield logger


def latest(folder) -> int:
    return load_checkpoint(folder / "latest.pt")["step"]


def test_a_skipped_last_step_is_saved(tmp_path, logger):
    """So is a periodic save that falls on a skipped step."""
    for end in (4, 8):
        train(Drawing(skipped={4, 8}), tmp_path, end, save_every=4, logger=logger)
        assert latest(tmp_path) == end


def test_many_skipped_steps_at_the_end_are_not_called_done(tmp_path, logger, monkeypatch):
    monkeypatch.setattr(logging_, "MOST_SKIPPED", 3)
    with pytest.raises(RunError, match="not finite in 3 steps in a row, up to step 8; .* the last checkpoint"):
        train(Drawing(skipped={6, 7, 8}), tmp_path, 8, save_every=4, logger=logger)
    assert latest(tmp_path) == 4


def test_time_saves_as_well_as_steps(tmp_path, logger, monkeypatch):
    now, saved = [0.0], []
    monkeypatch.setattr(loop, "SAVE_SECONDS", 60)
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(loop, "save_latest", lambda folder, model, progress: saved.append(progress.step))

    def slow_batches():
        while True:
            now[0] += 25
            yield {"synthetic_path": ["a.png"]}

    train(Drawing(), tmp_path, 8, batches=slow_batches(), logger=logger)
    assert saved == [3, 6, 8]


def test_snapshots_hold_what_using_the_model_takes(tmp_path, logger):
    train(Drawing(), tmp_path, 8, snapshot_every=4, logger=logger)
    snapshots = {path.name: load_checkpoint(path) for path in tmp_path.glob("epoch_*.pt")}
    assert {name: content["step"] for name, content in snapshots.items()} == {"epoch_2.pt": 4, "epoch_4.pt": 8}
    assert snapshots["epoch_2.pt"]["model"] == {"steps": 4}


@pytest.mark.parametrize("number", loop.STOP_SIGNALS, ids=lambda number: number.name)
def test_a_signal_saves_the_step_and_stops(tmp_path, logger, number):
    with pytest.raises(Stopped, match="saved at step 5") as stopped:
        train(Drawing(at=4, act=lambda: os.kill(os.getpid(), number)), tmp_path, 8, logger=logger)
    assert stopped.value.number == number and latest(tmp_path) == 5


def test_a_failure_between_steps_saves_and_one_within_a_step_does_not(tmp_path, logger):
    def batches():
        yield from [{"synthetic_path": ["a.png"]}] * 5
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        train(Drawing(), tmp_path, 8, batches=batches(), logger=logger)
    assert latest(tmp_path) == 5
    model = Drawing(at=7, act=lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(model, tmp_path, 8, progress=resume(tmp_path, model), logger=logger)
    assert latest(tmp_path) == 5


def test_a_validation_follows_a_save_and_a_kill_in_it_changes_nothing_in_the_end(tmp_path):
    """It is repeated; the files end as those of a run that was left alone."""
    seen, runs = [], [tmp_path / "killed", tmp_path / "straight"]

    def train_on(folder, killed=()) -> None:
        def validate():
            content = load_checkpoint(folder / "latest.pt")
            seen.append((content["step"], content["validation_due"]))
            if content["step"] in killed:
                raise KeyboardInterrupt
            torch.rand(5)  # what resumes must not depend on it
            return {"fd": 9.0 - content["step"]}, 9.0 - content["step"]

        model = Drawing()
        progress = resume(folder, model)
        with RunLogger(folder, LENGTH, progress, images_per_step=1) as logger:
            train(model, folder, 8, validate_every=2, validate=validate, progress=progress, logger=logger)

    for folder in runs:
        folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        train_on(runs[0], killed={4})
    assert resume(runs[0], Drawing()) == Progress(4, best_score=7.0, validation_due=True)
    for folder in runs:
        train_on(folder)
    assert seen[:5] == [(step, True) for step in (2, 4, 4, 6, 8)]
    for name in ("latest.pt", "best.pt"):
        killed, straight = (load_checkpoint(folder / name) for folder in runs)
        assert same(killed, straight) and killed["step"] == 8
    steps = [[json.loads(line)["step"] for line in (folder / "log.jsonl").open()] for folder in runs]
    assert steps[0] == steps[1]
