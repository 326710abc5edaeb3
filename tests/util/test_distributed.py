"""Two processes with half a batch each do what one does with the whole."""

from functools import partial
from pathlib import Path

import pytest
import torch
import two_ranks
from helpers import run_ranks, start_call


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Checkpoints of one process after a step, and what two processes made of them."""
    folder = tmp_path_factory.mktemp("ranks")
    for name in ("mshgan4", "pixcyclegan4"):
        model = two_ranks.create(name)
        model.training_step(two_ranks.batch_of(seed=9))
        torch.save(model.state_dict(), folder / f"{name}_start.pt")
    log = folder / "log"
    assert run_ranks(2, partial(start_call, partial(two_ranks.main, folder)), log) == [0, 0], log.read_text()
    return folder


@pytest.mark.parametrize("name", ["mshgan4", "pixcyclegan4"])
def test_two_halves_are_one_whole(folder, name):
    """From one process's checkpoint: equal gradients, losses as they are logged, weights; and back into one process."""
    model = two_ranks.create(name)
    model.load_state_dict(torch.load(folder / f"{name}_start.pt", weights_only=True))
    one, two = two_ranks.train(model, rank=0, world_size=1), torch.load(folder / f"{name}.pt", weights_only=True)
    for mine, theirs in zip(one["gradients"], two["gradients"]):
        for net in mine:
            assert (mine[net] - theirs[net]).norm() < 1e-9 * mine[net].norm(), net
    for mine, theirs in zip(one["losses"], two["losses"]):
        assert mine == pytest.approx(theirs, rel=1e-9)

    model.load_state_dict(two["model"])
    assert model.steps == two_ranks.STEPS + 1
    for key, value in model.state_dict()["networks"]["G_r"].items():
        assert torch.equal(value, two["model"]["networks"]["G_r"][key])
    model.training_step(two_ranks.batch_of(seed=9))
