"""The training loop, with a model that only draws numbers: saving, skipped steps, snapshots, and what draws depend on."""

import os
import signal

import pytest
import torch
from drawing_model import Drawing, train

from util import distributed
from util.checkpoint import load_checkpoint, save_checkpoint
from util.errors import RunError, Stopped, UsageError
from util.runtime import seed_step
from util.training import saving
from util.training.logger import RunLogger
from util.training.saving import resume


@pytest.fixture
def logger(tmp_path):
    with RunLogger(tmp_path, first_step=0, total_steps=8, steps_per_epoch=2, images_per_step=1) as logger:
        yield logger


def test_a_skipped_last_step_is_saved(tmp_path, logger):
    """So is a periodic save that falls on a skipped step."""
    train(Drawing(skipped={4, 8}), tmp_path, 8, save_every=4, logger=logger)
    assert load_checkpoint(tmp_path / "latest.pt")["step"] == 8
    assert load_checkpoint(tmp_path / "previous.pt")["step"] == 4


def test_many_skipped_steps_at_the_end_are_not_called_done(tmp_path, logger, monkeypatch):
    monkeypatch.setattr(saving, "UNSAVED_AFTER", 3)
    with pytest.raises(RunError, match=r"last 3 steps were not finite; .*latest.pt is of step 4"):
        train(Drawing(skipped={6, 7, 8}), tmp_path, 8, save_every=4, logger=logger)
    assert load_checkpoint(tmp_path / "latest.pt")["step"] == 4


def test_time_saves_as_well_as_steps(tmp_path, logger, monkeypatch):
    now, saved = [0.0], []
    monkeypatch.setattr(saving.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(saving, "save_latest", lambda folder, model, progress: saved.append(progress.step))
    step = Drawing.training_step

    def slow(self, batch):
        now[0] += 25
        return step(self, batch)

    monkeypatch.setattr(Drawing, "training_step", slow)
    train(Drawing(), tmp_path, 8, save_every_seconds=60, logger=logger)
    assert saved == [3, 6, 8]


def test_snapshots_hold_what_using_the_model_takes(tmp_path, logger):
    train(Drawing(), tmp_path, 8, snapshot_every_epochs=2, logger=logger)
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


def test_sigterm_saves_the_step_and_stops(tmp_path, logger, monkeypatch):
    step = Drawing.training_step

    def signalled(self, batch):
        if self.steps == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch)

    monkeypatch.setattr(Drawing, "training_step", signalled)
    with pytest.raises(Stopped) as stopped:
        train(Drawing(), tmp_path, 8, logger=logger)
    assert "saved at step 5" in str(stopped.value) and load_checkpoint(tmp_path / "latest.pt")["step"] == 5


def test_a_run_of_an_earlier_version_is_not_continued(tmp_path):
    save_checkpoint(tmp_path / "latest.pt", {"step": 3, "best": [], "model": {"steps": 3}, "random": {}})
    content = torch.load(tmp_path / "latest.pt", weights_only=True) | {"format": 1}
    torch.save(content, tmp_path / "latest.pt")
    assert load_checkpoint(tmp_path / "latest.pt")["step"] == 3  # its networks can still be used
    with pytest.raises(UsageError, match="earlier version"):
        resume(tmp_path, Drawing())


def test_a_single_process_agrees_with_itself_at_once():
    assert distributed.Agreement().exchange(True, False) == [True, False]
