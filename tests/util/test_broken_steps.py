"""Steps whose losses or gradients are not finite change nothing, are named, and end a run if they do not stop."""

import json
import math
from pathlib import Path

import pytest
import torch

from models.hgan import HGAN
from util.checkpoint import load_checkpoint
from util.training import logger


def weights_are_finite(checkpoint: Path) -> bool:
    networks = load_checkpoint(checkpoint)["model"]["networks"]
    return all(value.isfinite().all() for net in networks.values() for value in net.values())


def spoil_steps(monkeypatch, steps) -> None:
    """Have train.py meet images that are no numbers at these steps (from 0)."""
    step = HGAN.training_step

    def spoilt(self, batch):
        if self.steps in steps:
            batch["real"] = torch.full_like(batch["real"], math.nan)
        return step(self, batch)

    monkeypatch.setattr(HGAN, "training_step", spoilt)


@pytest.mark.parametrize("flags", [(), ("--norm", "batch")], ids=["instance", "batch"])
def test_broken_steps_are_skipped_named_and_logged(fit, tmp_path, monkeypatch, flags):
    spoil_steps(monkeypatch, {2, 3})
    status, said = fit("--max_steps", 6, "--log_freq", 5, "--pool_size", 3, *flags)
    assert status == 0 and said.count("update skipped") == 2
    assert "step 3: " in said and "step 4: " in said and "_color.png" in said
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    assert [line.get("skipped") for line in lines] == [None, 2, None]
    assert all(math.isfinite(value) for line in lines for value in line.values())
    assert weights_are_finite(tmp_path / "run" / "latest.pt")
    (state,) = load_checkpoint(tmp_path / "run" / "latest.pt")["ranks"]
    assert all(state["pools"][name]["images"].isfinite().all() for name in "rs")


def test_too_many_broken_steps_end_the_run_with_the_checkpoint_from_before(fit, tmp_path, monkeypatch):
    monkeypatch.setattr(logger, "MOST_SKIPPED", 4)
    spoil_steps(monkeypatch, range(3, 99))
    status, said = fit("--max_steps", 50, "--save_freq", 3)
    assert status == 1 and "in 4 steps in a row, up to step 7" in said and "Traceback" not in said
    assert load_checkpoint(tmp_path / "run" / "latest.pt")["step"] == 6  # among skipped steps, which changed nothing
    assert weights_are_finite(tmp_path / "run" / "latest.pt")
