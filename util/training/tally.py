"""Losses and skipped steps between two log entries, and a watch on the discriminators."""

import logging

import torch
from torch import Tensor

from util.errors import RunError

log = logging.getLogger(__name__)

READ_EVERY = 25  # steps, at most, before flags of skipped steps are read from the device
SKIPPED_IN_A_ROW = 30  # then training stops; fp16's scaler needs 16 to come down from its first scale to 1
SKIPPED = "skipped"


class Tally:
    """Sums losses on their device, as reading them would wait for it. Skipped steps count in no mean."""

    def __init__(self) -> None:
        self.in_a_row = 0  # skipped steps up to the last one that was read
        self._names: list[str] = []
        self._sum: Tensor | None = None
        self._skipped: Tensor | None = None
        self._steps = 0
        self._unread: list[tuple[int, list[str], Tensor]] = []

    def add(self, step: int, losses: dict[str, Tensor], batch: dict) -> None:
        """Add a step's losses: scalars, among them "skipped" (1.0 if the step changed nothing, else 0.0)."""
        self._names = [name for name in losses if name != SKIPPED]
        device = losses[self._names[0]].device
        values = torch.stack([losses[name].float().to(device, non_blocking=True) for name in self._names])
        skipped = losses[SKIPPED]
        values = torch.where(skipped > 0, torch.zeros_like(values), values)
        self._sum = values if self._sum is None else self._sum + values
        self._skipped = skipped if self._skipped is None else self._skipped + skipped
        self._steps += 1
        files = [path for key, paths in batch.items() if key.endswith("_path") for path in paths]
        self._unread.append((step, files, skipped))
        if len(self._unread) >= READ_EVERY:
            self.check()

    def means(self) -> dict[str, float]:
        """The losses' means over the steps since the last call, without skipped ones, whose number is "skipped".

        "skipped" is missing where it is 0, and the means are missing where every step was skipped.
        """
        self.check()
        skipped = round(self._skipped.item())
        done = self._steps - skipped
        means = dict(zip(self._names, (self._sum / done).tolist())) if done else {}
        self._sum, self._skipped, self._steps = None, None, 0
        return means | ({SKIPPED: skipped} if skipped else {})

    def check(self) -> None:
        """Log the steps that were skipped since the last check. Raises RunError for too many in a row."""
        if not self._unread:
            return
        flags = torch.stack([flag for *_, flag in self._unread]).tolist()
        unread, self._unread = self._unread, []
        for (step, files, _), flag in zip(unread, flags):
            self.in_a_row = self.in_a_row + 1 if flag else 0
            if flag:
                log.warning("step %d: loss or gradient not finite, update skipped; files: %s", step, ", ".join(files))
            if self.in_a_row == SKIPPED_IN_A_ROW:
                raise RunError(
                    f"losses or gradients were not finite in {SKIPPED_IN_A_ROW} steps in a row, up to step {step} (files of "
                    f"the last: {', '.join(files)}); the last checkpoint is from before: go on from it with --amp off, if it "
                    "was on, or start anew with a lower --lr"
                )
