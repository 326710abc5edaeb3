"""Scores of downstream networks on real hands, and how much of the synthetic-to-real gap translation closes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

PCK_SHARE = 0.05  # of the picture's side, within which a joint counts as correct


class Measure(NamedTuple):
    """One column of the table: its name, how a value is written, and which way it is better."""

    name: str
    form: str
    lower_is_better: bool = False


MEASURES = {
    "segmentation": {"iou": Measure("IoU", "{:.3f}")},
    "keypoints": {"pck": Measure("PCK", "{:.3f}"), "error": Measure("mean error, pixels", "{:.2f}", True)},
}


class GapClosed(NamedTuple):
    """How much of the gap between training on synthetic and on real hands translation closes.

    gain: translated over synthetic hands; gap: real over synthetic hands; both in the measure's own unit, positive if
    better. spread: the widest range over seeds of the three trainings. share: (b - a) / (c - a) of the
    means, None where it would mean nothing. verdict: the same in words.
    """

    gain: float
    gap: float
    spread: float
    share: float | None
    verdict: str


def gap_closed(
    synthetic: Sequence[float], translated: Sequence[float], real: Sequence[float], *, lower_is_better: bool = False
) -> GapClosed:
    """Compare one measure of three trainings, seed by seed.

    A share is given only if the mean gap is wider than the spread and every seed finds real hands better: else the
    denominator is mostly chance.
    """
    sign = -1 if lower_is_better else 1
    a, b, c = (sign * np.asarray(values, np.float64) for values in (synthetic, translated, real))
    gain, gap = float(np.mean(b - a)), float(np.mean(c - a))
    spread = float(max(np.ptp(values) for values in (a, b, c)))
    if gap <= spread or (c <= a).any():
        verdict = (
            "the gap from synthetic to real is no wider than the spread over seeds, so its share is unknown; translated "
            f"hands trained better than synthetic ones by {(b > a).sum()} of {len(a)} seeds"
        )
        return GapClosed(gain, gap, spread, None, verdict)
    share, single = gain / gap, 100 * (b - a) / (c - a)
    seeds = f"{single.min():.0f} % to {single.max():.0f} % over {len(a)} seeds" if len(a) > 1 else "by one seed"
    return GapClosed(gain, gap, spread, share, f"translation closes {100 * share:.0f} % of the gap ({seeds})")
