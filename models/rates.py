"""Learning rates as pure functions of the step: factors on --lr, from 0 to 1."""

from dataclasses import dataclass


def warmed_up(step: int, warmup: int) -> float:
    """The rise from 1 / warmup to 1 over the first `warmup` steps; step counts from 0.

    Adam's first steps move every weight by lr, whatever the gradient's size. In a discriminator without normalisation,
    these moves add up over thousands of inputs a layer, and the losses rise a hundredfold.
    """
    return min(1.0, (step + 1) / max(warmup, 1))


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
