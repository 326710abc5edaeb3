"""The training loop, with a model that only draws numbers: saving, skipped steps, snapshots, and what draws depend on."""

import os
import signal

import pytest
import torch
from drawing_model import Drawing, train

from util.checkpoint import load_checkpoint
from util.errors import RunError, Stopped
from util.runtime import seed_step
from util.training import logger as logging_
from util.training import loop
from util.training.checkpoints import Progress, resume
from util.training.logger import RunLogger


@pytest.fixture
def logger(tmp_path):
    with RunLogger(tmp_path, first_step=0, total_steps=8, steps_per_epoch=2, images_per_step=1) as logger:
        yield logger


def test_a_skipped_last_step_is_saved(tmp_path, logger):
    """So is a periodic save that falls on a skipped step."""
    for end in (4, 8):
        train(Drawing(skipped={4, 8}), tmp_path, end, save_every=4, logger=logger)
        assert load_checkpoint(tmp_path / "latest.pt")["step"] == end


def test_many_skipped_steps_at_the_end_are_not_called_done(tmp_path, logger, monkeypatch):
    monkeypatch.setattr(logging_, "MOST_SKIPPED", 3)
    with pytest.raises(RunError, match="not finite in 3 steps in a row, up to step 8 .* the last checkpoint"):
        train(Drawing(skipped={6, 7, 8}), tmp_path, 8, save_every=4, logger=logger)
    assert load_checkpoint(tmp_path / "latest.pt")["step"] == 4


def test_time_saves_as_well_as_steps(tmp_path, logger, monkeypatch):
    now, saved = [0.0], []
    monkeypatch.setattr(loop, "SAVE_SECONDS", 60)
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(loop, "save_latest", lambda folder, model, progress: saved.append(progress.step))
    step = Drawing.training_step

    def slow(self, batch):
        now[0] += 25
        return step(self, batch)

    monkeypatch.setattr(Drawing, "training_step", slow)
    train(Drawing(), tmp_path, 8, logger=logger)
    assert saved == [3, 6, 8]


def test_snapshots_hold_what_using_the_model_takes(tmp_path, logger):
    train(Drawing(), tmp_path, 8, snapshot_every=4, logger=logger)
    snapshots = {path.name: load_checkpoint(path) for path in tmp_path.glob("epoch_*.pt")}
    assert {name: content["step"] for name, content in snapshots.items()} == {"epoch_2.pt": 4, "epoch_4.pt": 8}
    assert snapshots["epoch_2.pt"]["model"] == {"steps": 4}


def test_a_step_draws_by_seed_rank_and_number_alone(tmp_path, logger):
    straight, halves = Drawing(), Drawing()
    train(straight, tmp_path, 8, logger=logger)
    train(halves, tmp_path, 3, logger=logger)
    torch.manual_seed(99)
    resumed = Drawing()
    progress = resume(tmp_path, resumed)
    assert progress.step == 3
    train(resumed, tmp_path, 8, progress=progress, logger=logger)
    assert resumed.drawn == straight.drawn and len(set(straight.drawn)) == 8
    seed_step(7, 1, 0)
    assert torch.rand(()).item() not in straight.drawn


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1], ids=lambda n: n.name)
def test_a_signal_saves_the_step_and_stops(tmp_path, logger, monkeypatch, number):
    monkeypatch.setattr(Drawing, "training_step", at_step(4, lambda: os.kill(os.getpid(), number)))
    with pytest.raises(Stopped) as stopped:
        train(Drawing(), tmp_path, 8, logger=logger)
    assert stopped.value.number == number
    assert "saved at step 5" in str(stopped.value) and load_checkpoint(tmp_path / "latest.pt")["step"] == 5


def at_step(number: int, act):
    """Drawing's training_step, which acts before the step of this number."""
    step = Drawing.training_step

    def acting(self, batch):
        if self.steps == number:
            act()
        return step(self, batch)

    return acting


def test_a_failure_between_steps_saves_and_one_within_a_step_does_not(tmp_path, logger, monkeypatch):
    def batches():
        yield from [{"synthetic_path": ["a.png"]}] * 5
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        train(Drawing(), tmp_path, 8, batches=batches(), logger=logger)
    assert load_checkpoint(tmp_path / "latest.pt")["step"] == 5
    monkeypatch.setattr(Drawing, "training_step", at_step(7, lambda: 1 / 0))
    model = Drawing()
    with pytest.raises(ZeroDivisionError):
        train(model, tmp_path, 8, progress=resume(tmp_path, model), logger=logger)
    assert load_checkpoint(tmp_path / "latest.pt")["step"] == 5


def test_a_validation_follows_a_save_and_is_repeated_after_a_kill_in_it(tmp_path, logger):
    seen = []

    def validate(killed=()):
        content = load_checkpoint(tmp_path / "latest.pt")
        seen.append((content["step"], content["validation_due"]))
        if content["step"] in killed:
            raise KeyboardInterrupt
        return {"fd": 9.0 - content["step"]}, 9.0 - content["step"]

    with pytest.raises(KeyboardInterrupt):
        train(Drawing(), tmp_path, 8, validate_every=2, validate=lambda: validate({4}), logger=logger)
    model = Drawing()
    progress = resume(tmp_path, model)
    assert progress == Progress(4, best_score=7.0, validation_due=True)
    train(model, tmp_path, 8, validate_every=2, validate=validate, progress=progress, logger=logger)
    assert seen == [(step, True) for step in (2, 4, 4, 6, 8)]
    assert load_checkpoint(tmp_path / "best.pt")["step"] == 8
