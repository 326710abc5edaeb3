"""What depends on a run's length, as pure functions of the step: the learning rate, and how freely texture may grow."""

import math
from dataclasses import dataclass

SHORT = 1024  # steps; a run of this length forms no creases yet, and one of twice this length does


@dataclass(frozen=True)
class RunLength:
    """The plans of a run of `total` steps; None: of an endless one.

    After a change of the length at step `start` (`continued`), each value begins where the old plan left it. It differs from the
    new plan by its offset there, and approaches it over a quarter of the remaining steps. So no value jumps.
    """

    total: int | None = None
    start: int = 0
    offset: float = 0.0  # of the factor
    freedom_offset: float = 0.0

    def factor(self, step: int) -> float:
        """The factor on the learning rate in the step numbered `step`, from 0: 1 for the first half of a run, then falling
        linearly to 0 at its end (CycleGAN's schedule)."""
        half = self.total / 2 if self.total else 0
        planned = min(1.0, max(0.0, (self.total - step) / half)) if half else 1.0
        return self._between(planned, self.offset, step)

    def freedom(self, step: int) -> float:
        """How freely texture may grow in that step: 0 in runs of up to SHORT steps, which keep all detail of the source, and 1 in
        runs of twice that and more, which keep its strong edges."""
        planned = 1.0 if self.total is None else self.total / SHORT - 1
        return self._between(min(1.0, max(0.0, planned)), self.freedom_offset, step)

    @property
    def freedoms(self) -> tuple[float, float]:
        """The least and the greatest freedom from step `start` on."""
        ends = (self.freedom(step) for step in (self.start, self.start if self.total is None else self.total))
        return tuple(sorted(ends))

    def _between(self, planned: float, offset: float, step: int) -> float:
        window = math.inf if self.total is None else max(1.0, (self.total - self.start) / 4)
        left = max(0.0, 1 - (step - self.start) / window)
        return min(1.0, max(0.0, planned + offset * left))

    def continued(self, total: int | None, step: int, *, falls: bool) -> "RunLength":
        """The plans of a run that has done `step` steps of this one and now has another length.

        falls: whether its learning rate uses `factor`.
        """
        if total == self.total:
            return self
        new = RunLength(total, step)
        offset = self.factor(step) - new.factor(step) if falls else 0.0
        freedom_offset = self.freedom(step) - new.freedom(step)
        changed = step > 0 and (offset or freedom_offset)
        return RunLength(total, step, offset, freedom_offset) if changed else RunLength(total)
