"""Two processes with half a batch each do what one does with the whole."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import two_ranks


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Checkpoints of one process after a step, and what two processes made of them."""
    folder = tmp_path_factory.mktemp("ranks")
    for name in ("mshgan4", "pixcyclegan4"):
        model = two_ranks.create(name)
        model.training_step(two_ranks.batch_of(seed=9))
        torch.save(model.state_dict(), folder / f"{name}_start.pt")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = os.environ | {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, two_ranks.__file__, str(folder)]
    ranks = [
        subprocess.Popen(
            command, env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    try:
        for rank in ranks:
            _, said = rank.communicate(timeout=300)
            assert rank.returncode == 0, said
    finally:
        for rank in ranks:
            rank.kill()
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
