"""Updates that are skipped on the device if the loss or a gradient is not finite; the host does not wait for the decision.

util.training.tally reads the flag when losses are logged, or every few steps.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from util import distributed


def step_if_finite(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, loss: Tensor) -> Tensor:
    """Call optimizer.step() of a fused optimizer, unless the loss or a gradient is not finite.

    A skipped step leaves weights and moments unchanged. Gradients whose norm overflows float32 count as not finite: their
    squares would stay in Adam's second moment for ever. The scaler of --amp fp16 detects overflows itself, lowers its
    scale, and skips as well. Returns 1.0 where the update was skipped, else 0.0: a scalar on the device, the same on every rank.
    """
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    broken = distributed.largest((~torch.isfinite(norm + loss.detach())).float())
    if scaler.is_enabled():
        scaler.step(optimizer)
        return broken
    optimizer.found_inf = broken  # fused optimizers read it there; GradScaler sets it in the same way
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf
    return broken


def finite_or_white(images: Tensor) -> Tensor:
    """Replace each of the images (N, C, H, W) in [-1, 1] that holds a value that is not finite by a white one."""
    finite = torch.isfinite(images).flatten(1).all(1)
    return torch.where(finite.view(-1, 1, 1, 1), images, torch.ones_like(images))


class BufferGuard:
    """Undoes a skipped step's changes of networks' buffers (batch norm's statistics), which no optimizer controls."""

    def __init__(self, nets: Iterable[nn.Module]) -> None:
        self.buffers = [b for net in nets for b in net.buffers() if b.is_floating_point()]
        self.saved: list[Tensor] = []

    def remember(self) -> None:
        """Save the buffers, before a step."""
        self.saved = [buffer.clone() for buffer in self.buffers]

    def restore(self, broken: Tensor) -> None:
        """Restore the saved buffers after a step if it was skipped. broken: the flag of step_if_finite."""
        for buffer, saved in zip(self.buffers, self.saved):
            buffer.copy_(torch.where(broken > 0, saved, buffer))
