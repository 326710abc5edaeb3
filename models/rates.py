"""The learning rate as a pure function of the step: a factor on --lr, from 0 to 1."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LinearDecay:
    """1 for the first half of a run of `total` steps, then falling linearly to 0 at its end (CycleGAN's schedule).

    total None: always 1. After a change of the length at step `start` (`continued`), the factor keeps its value, which
    differs by `offset` from the new schedule's, and approaches the new schedule over a quarter of the remaining steps. So
    it is continuous, even if the old schedule had ended at 0.
    """

    total: int | None = None
    start: int = 0
    offset: float = 0.0

    def factor(self, step: int) -> float:
        """The factor of the step numbered `step`, from 0."""
        if self.total is None:
            return max(0.0, 1.0 + self.offset)
        half = self.total / 2
        planned = min(1.0, max(0.0, (self.total - step) / half)) if half else 1.0
        window = max(1.0, (self.total - self.start) / 4)
        return min(1.0, max(0.0, planned + self.offset * max(0.0, 1 - (step - self.start) / window)))

    def continued(self, total: int | None, step: int) -> "LinearDecay":
        """The schedule of a run that has done `step` steps of this one and now has another length."""
        if total == self.total:
            return self
        return LinearDecay(total, step, self.factor(step) - LinearDecay(total).factor(step))
