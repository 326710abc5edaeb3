"""Updates of the weights: mixed precision's scaler, skipped steps, frozen networks, and learning rates as tensors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from models.guard import step_if_finite


@contextlib.contextmanager
def frozen(*nets: nn.Module) -> Iterator[None]:
    """Within the block, no gradients of these networks' weights are computed."""
    for net in nets:
        net.requires_grad_(False)
    try:
        yield
    finally:
        for net in nets:
            net.requires_grad_(True)


def update(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, loss: Tensor) -> Tensor:
    """One step of a fused optimizer on a loss. Returns 1.0 if it was skipped because something was not finite, else 0.0."""
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()
    return step_if_finite(optimizer, scaler, loss)


def create_adam(
    parameters: Iterable[nn.Parameter], *, lr: float, beta1: float, device: torch.device
) -> torch.optim.Adam:
    """A fused Adam whose learning rate is a tensor on its device, so that a CUDA graph reads the rate of `set_rate`."""
    # CUDA's kernel reads float32; on a CPU the rate is as exact as a Python number.
    rate = torch.tensor(lr, dtype=torch.float32 if device.type == "cuda" else torch.float64, device=device)
    betas, capturable = (beta1, 0.999), device.type == "cuda"
    return torch.optim.Adam(parameters, lr=rate, betas=betas, fused=True, capturable=capturable)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of an optimizer of `create_adam`."""
    for group in optimizer.param_groups:
        group["lr"].fill_(lr)
