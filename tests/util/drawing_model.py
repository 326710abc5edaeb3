"""A model of no weights that says what it draws, for tests of the training loop."""

import itertools

import torch
from helpers import CPU

from util.training.checkpoints import Progress, Schedule
from util.training.loop import fit


class Drawing:
    """A step draws a number, as noise is drawn; its own part of the state is the list of what it drew.

    skipped: steps whose update is skipped. act is called before the step after step `at`, if that is not 0.
    """

    PER_RANK = ("drawn",)

    device = CPU

    def __init__(self, *, skipped=(), at: int = 0, act=None) -> None:
        self.drawn, self.steps, self.skipped, self.at, self.act = [], 0, set(skipped), at, act

    def training_step(self, batch: dict) -> dict:
        if self.at and self.steps == self.at:
            self.act()
        self.drawn.append(torch.rand(()).item())
        self.steps += 1
        return {"loss": torch.tensor(1.0), "skipped": torch.tensor(float(self.steps in self.skipped))}

    def state_dict(self) -> dict:
        return {"drawn": list(self.drawn), "steps": self.steps}

    def load_state_dict(self, state: dict) -> None:
        self.drawn, self.steps = list(state["drawn"]), state["steps"]

    def inference_state(self) -> dict:
        return {"steps": self.steps}


def train(model, folder, steps: int, *, progress=None, logger=None, batches=None, validate=None, **changes) -> Progress:
    progress, batches = progress or Progress(), batches or itertools.repeat({"synthetic_path": ["a.png"]})
    schedule = Schedule(total_steps=steps, steps_per_epoch=2, log_every=3, **changes)
    shown = {"progress": progress, "logger": logger, "validate": validate}
    fit(model, batches, folder=folder, seed=7, schedule=schedule, **shown)
    return progress
