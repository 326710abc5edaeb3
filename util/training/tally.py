"""Losses and skipped steps between two log entries, and a watch on the discriminators."""

import logging
from statistics import fmean

import torch
from torch import Tensor

from util.errors import RunError

log = logging.getLogger(__name__)

READ_EVERY = 25  # steps, at most, before flags of skipped steps are read from the device
SKIPPED_IN_A_ROW = 30  # then training stops; fp16's scaler needs 16 to come down from its first scale to 1
SKIPPED = "skipped"


class Tally:
    """Means of losses, which are read from their device a few steps late, as reading waits for it."""

    def __init__(self) -> None:
        self.in_a_row = 0  # skipped steps up to the last one that was read
        self._unread: list[tuple[int, list[str], dict[str, Tensor]]] = []
        self._read: list[dict[str, float]] = []  # of steps that were not skipped, since the last means
        self._skipped = 0  # steps since then

    def add(self, step: int, losses: dict[str, Tensor], batch: dict) -> None:
        """Add a step's losses: scalars, among them "skipped" (1.0 if the step changed nothing, else 0.0)."""
        files = [path for key, paths in batch.items() if key.endswith("_path") for path in paths]
        self._unread.append((step, files, losses))
        if len(self._unread) >= READ_EVERY:
            self.check()

    def means(self) -> dict[str, float]:
        """The losses' means over the steps since the last call, without skipped ones, whose number is "skipped".

        "skipped" is missing where it is 0, and the means are missing where every step was skipped.
        """
        self.check()
        steps, skipped = self._read, self._skipped
        self._read, self._skipped = [], 0
        means = {name: fmean(losses[name] for losses in steps) for name in steps[0]} if steps else {}
        return means | ({SKIPPED: skipped} if skipped else {})

    def check(self) -> None:
        """Read the losses of the steps since the last check, and log skipped ones. Raises RunError for too many in a row."""
        unread, self._unread = self._unread, []
        for step, files, losses in unread:
            values = torch.stack([loss.float() for loss in losses.values()]).tolist()
            read = dict(zip(losses, values))
            if not read.pop(SKIPPED):
                self.in_a_row = 0
                self._read.append(read)
                continue
            self.in_a_row += 1
            self._skipped += 1
            log.warning("step %d: loss or gradient not finite, update skipped; files: %s", step, ", ".join(files))
            if self.in_a_row == SKIPPED_IN_A_ROW:
                raise RunError(
                    f"losses or gradients were not finite in {SKIPPED_IN_A_ROW} steps in a row, up to step {step} (files of "
                    f"the last: {', '.join(files)}); the last checkpoint is from before: go on from it with --amp off, if it "
                    "was on, or start anew with a lower --lr"
                )
