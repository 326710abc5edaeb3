"""What one rank of tests/util/test_distributed.py does."""

from pathlib import Path

import torch
from helpers import build, make_batch, to_double

from models.features.vgg16 import load_vgg16
from util import distributed

CPU = torch.device("cpu")
STEPS, COUNT = 2, 4


def create(model: str):
    """In float64, where what rounding does to a gradient's sign is out of sight."""
    vgg = load_vgg16("random", calibrated=True)[0] if model == "mshgan4" else None
    return to_double(build(vgg, model, pool_size=50))


def batch_of(seed: int) -> dict:
    return {name: value.double() for name, value in make_batch(count=COUNT, seed=seed).items()}


def train(model, *, rank: int, world_size: int) -> dict:
    """Take two steps on this rank's share of each batch: every gradient, and losses, averaged."""
    gradients, losses = [], []
    for step in range(STEPS):
        batch = {name: value[rank::world_size] for name, value in batch_of(step).items()}
        found = model.training_step(batch)
        losses.append(distributed.mean({name: value.item() for name, value in found.items()}))
        gradients.append(
            {n: torch.cat([p.grad.flatten() for p in net.parameters()]) for n, net in model.networks.items()}
        )
    return {"gradients": gradients, "losses": losses, "model": model.state_dict()}


def main(folder: Path) -> None:
    """Train both models from one process's checkpoints, in the environment that torchrun makes."""
    here = distributed.place()
    distributed.start(here, CPU)
    for name in ("mshgan4", "pixcyclegan4"):
        model = create(name)
        model.load_state_dict(torch.load(folder / f"{name}_start.pt", weights_only=True))
        model.distribute()
        found = train(model, rank=here.rank, world_size=here.world_size)
        if here.rank == 0:
            torch.save(found, folder / f"{name}.pt")
    distributed.finish()
