"""Updates of the weights: gradient accumulation, the scaler of mixed precision, several processes, and skipped steps.

An update is skipped on the device if the loss or a gradient is not finite; the host does not wait for the decision.
util.training.tally reads it when losses are logged, or every few steps.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from util import distributed

T = TypeVar("T")


class Updater:
    """Updates what one optimizer trains, over the parts of a batch: `start`, `backward` of each part's loss, `apply`.

    called: the networks that training calls; those in DistributedDataParallel average gradients over processes once, with
    the last part. still: networks whose weights need no gradient in this update.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        *,
        called: Mapping[str, nn.Module],
        still: Iterable[nn.Module] = (),
    ) -> None:
        self.optimizer, self.scaler, self.called, self.still = optimizer, scaler, called, tuple(still)
        # Batch norm's statistics, which no optimizer controls.
        self.buffers = [b for net in called.values() for b in net.buffers() if b.is_floating_point()]

    def start(self) -> None:
        """Prepare an update."""
        self.optimizer.zero_grad(set_to_none=True)
        self.loss: Tensor | None = None
        self.saved = [buffer.clone() for buffer in self.buffers]
        for net in self.still:
            net.requires_grad_(False)

    def over(self, parts: list[T]) -> Iterator[T]:
        """Start an update and yield the parts; gradients of all but the last stay in this process."""
        self.start()
        for number, part in enumerate(parts, 1):
            with contextlib.ExitStack() as stack:
                for net in self.called.values() if number < len(parts) else ():
                    if isinstance(net, DistributedDataParallel):
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
        skipped = step_if_finite(self.optimizer, self.scaler, self.loss)
        for buffer, saved in zip(self.buffers, self.saved):
            buffer.copy_(torch.where(skipped > 0, saved, buffer))
        return skipped


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
