"""Updates of the weights: gradient accumulation, the scaler of mixed precision, several processes, and skipped steps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from models.guard import step_if_finite

T = TypeVar("T")


class Update:
    """One step of one optimizer, over the parts of a batch; skipped if the loss or a gradient is not finite.

    still: networks whose weights need no gradient in this update. called: the networks that training calls; those in
    DistributedDataParallel average gradients over processes once, with the last part.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        *,
        called: Iterable[nn.Module],
        still: Iterable[nn.Module] = (),
    ) -> None:
        self.optimizer, self.scaler, self.still = optimizer, scaler, tuple(still)
        self.distributed = [net for net in called if isinstance(net, DistributedDataParallel)]
        self.loss: Tensor | None = None
        optimizer.zero_grad(set_to_none=True)
        for net in self.still:
            net.requires_grad_(False)

    def over(self, parts: list[T]) -> Iterator[T]:
        """Yield the parts; gradients of all but the last stay in this process."""
        for number, part in enumerate(parts, 1):
            with contextlib.ExitStack() as stack:
                for net in self.distributed if number < len(parts) else ():
                    stack.enter_context(net.no_sync())
                yield part

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a part's loss, which is already multiplied by the part's share of the batch."""
        self.scaler.scale(loss).backward()
        self.loss = loss.detach() if self.loss is None else self.loss + loss.detach()

    def apply(self) -> Tensor:
        """Update the weights. Returns 1.0 if the update was skipped because something was not finite, else 0.0."""
        for net in self.still:
            net.requires_grad_(True)
        return step_if_finite(self.optimizer, self.scaler, self.loss)


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
