"""What trainers keep in a checkpoint (networks, averages, optimizers, schedules, the scaler), and how it is taken back.

A run may go on on another device and in another precision than it was saved with, so two things are not loaded as they
lie: Adam's moments take the memory format of their parameters here, and a scaler that was off starts anew.
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
        """Undo `state_dict`; further entries of `state` are ignored."""
        for group in ("networks", "averages", "schedules"):
            for name, part in getattr(self, group).items():
                part.load_state_dict(state[group][name])
        for name, optimizer in self.optimizers.items():
            load_optimizer(optimizer, state["optimizers"][name])
        load_scaler(self.scaler, state["scaler"])


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Take back the moments, in the memory format of their parameters, and the learning rates; other settings stay.

    A moment keeps the strides it was stored with, channels-last from CUDA; a fused step on a contiguous parameter would
    pair its elements with the wrong weights (or refuse). Settings such as `capturable` belong to this device.
    """
    groups = []
    for mine, saved in zip(optimizer.param_groups, state["param_groups"], strict=True):
        rate = torch.full_like(mine["lr"], float(saved["lr"])) if isinstance(mine["lr"], torch.Tensor) else saved["lr"]
        extra = {name: value for name, value in saved.items() if name not in mine}  # what schedules keep there
        groups.append({**extra, **mine, "params": saved["params"], "lr": rate})
    optimizer.load_state_dict({**state, "param_groups": groups})
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def load_scaler(scaler: torch.amp.GradScaler, state: dict) -> None:
    """scaler.load_state_dict(state), but for the empty state of a run that went without one: this one then starts anew."""
    if state:
        scaler.load_state_dict(state)
