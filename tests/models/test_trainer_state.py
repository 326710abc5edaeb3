"""A trainer's state comes back on another device and in another precision: as far as a CPU can show it."""

import copy

import pytest
import torch
from helpers import CPU
from torch import nn

from models.supervised import HandClassifier
from models.trainer_state import TrainerState, load_optimizer
from util.runtime import Amp


def conv(memory_format: torch.memory_format) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    net = nn.Conv2d(8, 6, 3).to(memory_format=memory_format)
    return net, torch.optim.Adam(net.parameters(), lr=0.1, fused=True)


def step(net: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    images = torch.randn(2, 8, 9, 9, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    net(images).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize(
    "formats", [(torch.channels_last, torch.contiguous_format), (torch.contiguous_format, torch.channels_last)]
)
def test_moments_belong_to_the_same_weights_in_another_memory_format(formats):
    """CUDA keeps some networks channels-last, a CPU does not: the next update must be the one that was due."""
    there, here = (conv(each) for each in formats)
    for seed in range(5):
        step(*there, seed)
    here[0].load_state_dict(there[0].state_dict())
    load_optimizer(here[1], copy.deepcopy(there[1].state_dict()))
    step(*there, 9)
    step(*here, 9)
    torch.testing.assert_close(here[0].weight, there[0].weight, rtol=1e-5, atol=1e-6)
    moment = here[1].state[here[0].weight]["exp_avg"]
    assert moment.stride() == here[0].weight.stride()


def scaler(enabled: bool) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", enabled=enabled)


@pytest.mark.parametrize(("before", "after"), [(False, True), (True, False), (True, True)])
def test_a_run_goes_on_in_another_precision(before, after):
    net, optimizer = conv(torch.contiguous_format)
    state = TrainerState(networks={"N": net}, optimizers={"N": optimizer}, scaler=scaler(before)).state_dict()
    again = TrainerState(networks={"N": net}, optimizers={"N": optimizer}, scaler=scaler(after))
    again.load_state_dict(state)
    assert again.scaler.is_enabled() == after


def test_a_classifier_goes_on_exactly():
    def create():
        torch.manual_seed(0)
        return HandClassifier(vit="tiny", img_size=32, num_classes=2, lr=1e-3, amp=Amp("off"), device=CPU)

    batch = {"image": torch.rand(4, 3, 32, 32), "label": torch.tensor([0, 1, 0, 1])}
    straight, stopped = create(), create()
    for model in (straight, stopped):
        torch.manual_seed(1)
        model.training_step(batch)
    again = create()
    again.load_state_dict(copy.deepcopy(stopped.state_dict()))
    for model in (straight, again):
        torch.manual_seed(2)
        model.training_step(batch)
    assert all(torch.equal(a, b) for a, b in zip(straight.net.parameters(), again.net.parameters()))
