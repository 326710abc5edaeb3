"""Optimizers: updates that are not finite, and a state that comes back on another device and in another precision."""

import copy
import math

import pytest
import torch
from torch import nn

from models.optimization import load_optimizer, load_scaler, step_if_finite


def scaler(enabled: bool) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", enabled=enabled, init_scale=8.0)


def test_a_broken_update_changes_nothing_and_a_good_one_is_adams():
    start = torch.randn(6)
    guarded, plain = (torch.nn.Parameter(start.clone()) for _ in range(2))
    ours, theirs = (torch.optim.Adam([p], lr=0.1, fused=True) for p in (guarded, plain))
    for step in range(6):
        if step in (2, 3):  # moments and their count stay, too
            guarded.grad = torch.full((6,), [math.nan, 3e38][step - 2])
            assert step_if_finite(ours, scaler(False), torch.tensor(1.0)).item() == 1
        guarded.grad = torch.arange(6.0) - step
        assert step_if_finite(ours, scaler(False), torch.tensor(math.inf)).item() == 1
        assert step_if_finite(ours, scaler(False), torch.tensor(1.0)).item() == 0
        plain.grad = torch.arange(6.0) - step
        theirs.step()
    assert torch.equal(guarded, plain)


@pytest.mark.parametrize(
    ("gradient", "loss", "skipped"), [(1.0, 1.0, 0), (math.inf, 1.0, 1), (3e38, 1.0, 1), (1.0, math.inf, 1)]
)
def test_the_scaler_skips_what_is_said_to_be_skipped(gradient, loss, skipped):
    """Gradients whose norm overflows, or a broken loss with good gradients, too."""
    parameter = nn.Parameter(torch.zeros(6))
    adam, scale = torch.optim.Adam([parameter], lr=0.1, fused=True), scaler(True)
    scale.scale(parameter.sum()).backward()
    parameter.grad.fill_(gradient)
    assert step_if_finite(adam, scale, torch.tensor(loss)).item() == skipped
    scale.update()
    assert scale.get_scale() == (4.0 if skipped else 8.0)
    assert parameter.any().item() != skipped and parameter.isfinite().all()


FORMATS = (torch.channels_last, torch.contiguous_format)


@pytest.mark.parametrize("formats", [FORMATS, FORMATS[::-1]])
def test_moments_belong_to_the_same_weights_in_another_memory_format(formats):
    """CUDA keeps some networks channels-last, a CPU does not: the next update must be the one that was due."""
    there, here = (nn.Parameter(torch.zeros(6, 8, 3, 3).to(memory_format=each)) for each in formats)
    theirs, ours = (torch.optim.Adam([each], lr=0.1, fused=True) for each in (there, here))
    gradients = torch.randn(6, *there.shape)
    for gradient in gradients[:5]:
        there.grad = torch.empty_like(there).copy_(gradient)
        theirs.step()
    here.data.copy_(there)
    load_optimizer(ours, copy.deepcopy(theirs.state_dict()))
    for parameter, adam in ((there, theirs), (here, ours)):
        parameter.grad = torch.empty_like(parameter).copy_(gradients[5])
        adam.step()
    torch.testing.assert_close(here, there, rtol=1e-5, atol=1e-6)
    assert ours.state[here]["exp_avg"].stride() == here.stride()


@pytest.mark.parametrize(("before", "after"), [(False, True), (True, False), (True, True)])
def test_a_run_goes_on_in_another_precision(before, after):
    again = scaler(after)
    load_scaler(again, scaler(before).state_dict())
    assert again.is_enabled() == after
