"""An exponential moving average of a network's weights."""

import copy

import torch
from torch import nn


class EMA:
    """`module` is a copy of `net` whose parameters follow it: p <- d p + (1 - d) p_net after each `update`.

    The decay d warms up as min(decay, (1 + t) / (3 + t)) over t updates: an average over the later half of a short run,
    wide enough for what two players circle through to cancel. decay 0 follows the net exactly.

    Buffers (batch norm's statistics) are copied, or, with average_buffers, averaged like parameters: of a network whose
    weights move fast, the latest statistics fit the latest weights alone.
    """

    def __init__(self, net: nn.Module, decay: float, *, average_buffers: bool = False) -> None:
        self.decay, self.average_buffers = decay, average_buffers
        self.updates = 0
        self.module = copy.deepcopy(net).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (3 + self.updates)) if self.decay else 0.0
        torch._foreach_lerp_(list(self.module.parameters()), list(net.parameters()), 1 - decay)
        for mine, theirs in zip(self.module.buffers(), net.buffers()):
            if self.average_buffers and mine.is_floating_point():
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)

    def state_dict(self) -> dict:
        return {"updates": self.updates, "module": self.module.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.updates = state["updates"]
        self.module.load_state_dict(state["module"])
