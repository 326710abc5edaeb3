"""Updates that happen only where loss and gradients are finite, decided on the device: the host never waits for it.

The flag is read when losses are logged, or every few steps (util.training.tally): so a broken step costs nothing but itself.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from util import distributed


def step_if_finite(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, loss: Tensor) -> Tensor:
    """optimizer.step(), for a fused optimizer whose gradients are there, unless the loss or a gradient is not finite.

    Weights and moments then stay as they are. Gradients whose norm overflows float32 count as not finite: their squares
    would stay in Adam's second moment for ever. The scaler of --amp fp16 finds its overflows itself, lowers its scale,
    and skips alike. Returns 1.0 where the update was skipped, else 0.0: a scalar on the device, the same on every rank.
    """
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    broken = distributed.largest((~torch.isfinite(norm + loss.detach())).float())
    if scaler.is_enabled():
        scaler.step(optimizer)
        return broken
    optimizer.found_inf = broken  # where GradScaler, too, leaves it for fused optimizers
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf
    return broken


def finite_or_white(images: Tensor) -> Tensor:
    """images (N, C, H, W) in [-1, 1], but white where an image holds a value that is not finite."""
    finite = torch.isfinite(images).flatten(1).all(1)
    return torch.where(finite.view(-1, 1, 1, 1), images, torch.ones_like(images))


class BufferGuard:
    """Undoes what a broken step did to networks' buffers (batch norm's statistics), which no optimizer guards."""

    def __init__(self, nets: Iterable[nn.Module]) -> None:
        self.buffers = [b for net in nets for b in net.buffers() if b.is_floating_point()]
        self.before: list[Tensor] = []

    def remember(self) -> None:
        """Call it before the step."""
        self.before = [buffer.clone() for buffer in self.buffers]

    def restore(self, broken: Tensor) -> None:
        """Call it after the step, with the flag of step_if_finite."""
        for buffer, before in zip(self.buffers, self.before):
            buffer.copy_(torch.where(broken > 0, before, buffer))
