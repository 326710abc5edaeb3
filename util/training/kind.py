"""The interface between train.py and what it trains. translator_run.py and silnet_run.py are modules that implement it."""

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from data.frames import Frame
from data.packs.format import Pack
from data.unpaired import UnpairedHands
from util.runtime import Amp
from util.training.loop import Display, Validate
from util.training.saving import Trainable


class RunModel(Trainable, Protocol):
    """A model that train.py can put on several devices and compile."""

    networks: dict[str, nn.Module]
    device: torch.device
    total_steps: int | None  # the run's length, which rates may depend on

    def distribute(self) -> None: ...

    def compile(self) -> None: ...


class Kind(Protocol):
    """PICTURE: the file of the picture that training shows, and COLUMNS, what it shows from left to right.
    LEAST_VALIDATED: images a domain below which there is no validation. PACKABLE: whether packs hold all that samples
    are cut from.
    """

    PICTURE: str
    COLUMNS: str
    LEAST_VALIDATED: int
    PACKABLE: bool

    def create_model(
        self, opt: argparse.Namespace, *, saved: dict | None, amp: Amp, device: torch.device
    ) -> tuple[RunModel, dict]:
        """The model, and what options.yaml records of the frozen networks that it was built with.

        saved: the options of the run that is continued; UsageError where its frozen networks were others.
        """

    def create_samples(
        self,
        opt: argparse.Namespace,
        frames: dict[str, list[Frame]],
        *,
        bad: Collection[Frame],
        packs: dict[str, Pack],
    ) -> UnpairedHands:
        """The stream of training crops, without the frames that cannot be used. Raises UsageError."""

    def create_validator(
        self, opt: argparse.Namespace, model: RunModel, frames: dict[str, list[Frame]], *, folder: Path
    ) -> tuple[Validate, dict]:
        """The validation, and what options.yaml records of the network behind it."""

    def create_display(self, opt: argparse.Namespace, model: RunModel, frames: dict[str, list[Frame]]) -> Display:
        """What makes the pictures that training shows."""

    def describe(self, opt: argparse.Namespace, resolved: dict) -> str:
        """What is about to be trained, in a few words."""

    def next_command(self, opt: argparse.Namespace) -> str:
        """What to do with the run once it is trained."""
