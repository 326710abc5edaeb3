"""The optimizers, their learning rate, and the mean of weights over training. Updates that are not finite are skipped."""

import copy
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from util import distributed


def create_adam(
    parameters: Iterable[nn.Parameter], *, lr: float, beta1: float, device: torch.device
) -> torch.optim.Adam:
    """A fused Adam whose learning rate is a tensor on its device, so that a CUDA graph reads a rate that changes."""
    # CUDA's kernel reads float32; on a CPU the rate is as exact as a Python number.
    rate = torch.tensor(lr, dtype=torch.float32 if device.type == "cuda" else torch.float64, device=device)
    return torch.optim.Adam(parameters, lr=rate, betas=(beta1, 0.999), fused=True, capturable=device.type == "cuda")


def linear_decay(step: int, total_steps: int | None) -> float:
    """The factor on the learning rate in the step numbered `step`, from 0, with lr_decay: CycleGAN's schedule.

    1 for the first half of a run, then falling linearly to 0 at its end; 1 in an endless run (None).
    """
    return min(1.0, max(0.0, 2 * (total_steps - step) / total_steps)) if total_steps else 1.0


def step_if_finite(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, loss: Tensor) -> Tensor:
    """Call step() of a fused optimizer, unless the loss or a gradient is not finite: then weights and moments stay.

    Gradients whose norm overflows float32 count as not finite: their squares would stay in Adam's second moment for ever.
    Returns 1.0 if the update was skipped, else 0.0: a scalar on the device, which the host does not wait for, the same on
    every rank.
    """
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    broken = distributed.largest((~torch.isfinite(norm + loss.detach())).float())
    if scaler.is_enabled():
        # The scaler of --amp fp16 skips for gradients that are not finite, and only for these: so that it agrees.
        torch._foreach_mul_(gradients, torch.where(broken > 0, math.nan, 1.0))
        scaler.step(optimizer)
        return broken
    optimizer.found_inf = broken  # fused optimizers read it there; GradScaler sets it in the same way
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf
    return broken


class WeightAverage:
    """The weighted mean of networks' weights, and of batch norm's statistics, over training: step t has weight t (t + 1).

    So weights in it are a quarter of the run old on average, however long the run is. networks: the averaged copies, in eval mode.

    Source: polynomial-decay averaging, O. Shamir and T. Zhang, "Stochastic Gradient Descent for Non-smooth Optimization:
    Convergence Results and Optimal Averaging Schemes", 2013.
    """

    def __init__(self, networks: dict[str, nn.Module], device: torch.device) -> None:
        self.trained = networks
        self.networks = {name: copy.deepcopy(net).eval().requires_grad_(False) for name, net in networks.items()}
        self.steps = torch.zeros((), dtype=torch.float64, device=device)  # a tensor, as `update` is part of CUDA graphs

    @torch.no_grad()
    def update(self) -> None:
        """Take in the networks as they are after a step."""
        self.steps += 1
        means, values = _floats(self.networks), _floats(self.trained)
        share = (3 / (self.steps + 2)).to(means[0].dtype)
        torch._foreach_lerp_(means, values, [share] * len(means))

    def state_dict(self) -> dict:
        return {"steps": self.steps, "networks": {name: net.state_dict() for name, net in self.networks.items()}}

    def load_state_dict(self, state: dict) -> None:
        self.steps.copy_(state["steps"])
        for name, net in self.networks.items():
            net.load_state_dict(state["networks"][name])


def _floats(networks: dict[str, nn.Module]) -> list[Tensor]:
    tensors = (each for net in networks.values() for each in net.state_dict().values())
    return [tensor for tensor in tensors if tensor.is_floating_point()]


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Load the moments, in the memory format of their parameters; learning rates and other settings stay.

    A run may go on on another device, on which settings such as `capturable` depend. A stored moment keeps its strides,
    channels-last from CUDA; a fused step on a contiguous parameter would then pair its elements with the wrong weights.
    """
    pairs = zip(optimizer.param_groups, state["param_groups"], strict=True)
    groups = [{**group, "params": saved["params"]} for group, saved in pairs]
    optimizer.load_state_dict({**state, "param_groups": groups})
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def load_scaler(scaler: torch.amp.GradScaler, state: dict) -> None:
    """scaler.load_state_dict(state), unless the state is that of a disabled scaler: a run may go on in another precision."""
    if state:
        scaler.load_state_dict(state)
