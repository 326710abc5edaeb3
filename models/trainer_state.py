"""A trainer's state in a checkpoint: networks, averages, optimizers, schedules, and the scaler.

A run may be continued on another device and in another precision. So Adam's moments are loaded in the memory format of
their parameters, and a scaler that was disabled in the saved run starts anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from models.ema import EMA


@dataclass(frozen=True, kw_only=True)
class TrainerState:
    """The parts of a trainer by name; state_dict() is in plain types and tensors."""

    networks: Mapping[str, nn.Module]
    optimizers: Mapping[str, torch.optim.Optimizer]
    scaler: torch.amp.GradScaler
    averages: Mapping[str, EMA] = field(default_factory=dict)
    schedules: Mapping[str, LRScheduler] = field(default_factory=dict)

    def state_dict(self) -> dict:
        groups = ("networks", "averages", "optimizers", "schedules")
        state = {group: {name: part.state_dict() for name, part in getattr(self, group).items()} for group in groups}
        return state | {"scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Load the result of `state_dict`; other entries of `state` are ignored."""
        for group in ("networks", "averages", "schedules"):
            for name, part in getattr(self, group).items():
                part.load_state_dict(state[group][name])
        for name, optimizer in self.optimizers.items():
            load_optimizer(optimizer, state["optimizers"][name])
        load_scaler(self.scaler, state["scaler"])


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Load the moments, in the memory format of their parameters, and the learning rates; other settings stay.

    A stored moment keeps its strides, channels-last from CUDA; a fused step on a contiguous parameter would then pair its
    elements with the wrong weights, or fail. Settings such as `capturable` depend on this device.
    """
    groups = []
    for group, saved in zip(optimizer.param_groups, state["param_groups"], strict=True):
        rate = (
            torch.full_like(group["lr"], float(saved["lr"])) if isinstance(group["lr"], torch.Tensor) else saved["lr"]
        )
        extra = {name: value for name, value in saved.items() if name not in group}  # entries of schedules
        groups.append({**extra, **group, "params": saved["params"], "lr": rate})
    optimizer.load_state_dict({**state, "param_groups": groups})
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def load_scaler(scaler: torch.amp.GradScaler, state: dict) -> None:
    """scaler.load_state_dict(state), unless the state is empty, as that of a disabled scaler is."""
    if state:
        scaler.load_state_dict(state)
