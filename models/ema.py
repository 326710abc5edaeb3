"""An exponential moving average of a network's weights."""

import copy

import torch
from torch import nn


class EMA:
    """`module` is a copy of `net` whose parameters follow it: p <- d p + (1 - d) p_net after each `update`.

    The decay d warms up as min(decay, (1 + t) / (3 + t)) over t updates: an average over the later half of a short run,
    over which the oscillation of generator and discriminator cancels. With decay 0, the copy equals the net.

    Buffers (batch norm's statistics) are copied or, with average_buffers, averaged like parameters: where the weights move
    fast, the latest statistics fit the latest weights only.

    torch.optim.swa_utils.AveragedModel has no warm-up and takes decays as Python numbers, which a CUDA graph would freeze.
    Here `advance` sets the rate, a tensor, on the host, and `follow` can be recorded.
    """

    def __init__(self, net: nn.Module, decay: float, *, average_buffers: bool = False) -> None:
        self.decay, self.average_buffers = decay, average_buffers
        self.updates = 0
        self.module = copy.deepcopy(net).eval().requires_grad_(False)
        self.rate: torch.Tensor | None = None  # 1 - d of the next `follow`

    def update(self, net: nn.Module) -> None:
        """Follow `net` by one update."""
        self.advance()
        self.follow(net)

    def advance(self) -> None:
        """Count an update and set its rate."""
        self.updates += 1
        weight = next(self.module.parameters())
        if self.rate is None or (self.rate.dtype, self.rate.device) != (weight.dtype, weight.device):
            self.rate = torch.empty((), dtype=weight.dtype, device=weight.device)
        decay = min(self.decay, (1 + self.updates) / (3 + self.updates)) if self.decay else 0.0
        self.rate.fill_(1 - decay)

    @torch.no_grad()
    def follow(self, net: nn.Module) -> None:
        """Move the average towards `net` by the rate that `advance` set."""
        averaged, copied = [(list(self.module.parameters()), list(net.parameters()))], []
        for average, latest in zip(self.module.buffers(), net.buffers()):
            pairs = averaged if self.average_buffers and average.is_floating_point() else copied
            pairs.append(([average], [latest]))
        for averages, latest in averaged if self.decay else ():
            difference = torch._foreach_sub(latest, averages)
            torch._foreach_mul_(difference, self.rate)
            torch._foreach_add_(averages, difference)
        for averages, latest in copied if self.decay else copied + averaged:
            torch._foreach_copy_(averages, latest)

    def state_dict(self) -> dict:
        return {"updates": self.updates, "module": self.module.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.updates = state["updates"]
        self.module.load_state_dict(state["module"])
