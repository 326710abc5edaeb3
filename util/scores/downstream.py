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


def pixel_errors(predicted: np.ndarray, true: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Distances in pixels, float64 (K,), of the joints that are seen, in their order.

    predicted, true: (..., 2), x and y in pixels; seen: bool (...). Raises ValueError for shapes that do not fit.
    """
    predicted, true, seen = np.asarray(predicted, np.float64), np.asarray(true, np.float64), np.asarray(seen, bool)
    if predicted.shape != true.shape or predicted.shape[:-1] != seen.shape or predicted.shape[-1] != 2:
        raise ValueError(f"joints of {predicted.shape} and {true.shape} do not fit each other and {seen.shape} flags")
    return np.linalg.norm(predicted - true, axis=-1)[seen]


def pck(errors: np.ndarray, threshold: float) -> float:
    """The share of correct keypoints: errors (K,) in pixels up to the threshold. Raises ValueError where K is 0."""
    if not len(errors):
        raise ValueError("no joint is seen, so there is no share of correct ones")
    return float(np.mean(np.asarray(errors) <= threshold))


class GapClosed(NamedTuple):
    """How much of the gap between training on synthetic and on real hands translation closes.

    gain: translated over synthetic hands; gap: real over synthetic hands; both in the measure's own unit, positive if
    better. spread: the widest range over seeds of the three trainings. share: (b - a) / (c - a) of the
    means, None where it would mean nothing; low, high: the least and greatest of the single seeds' shares. verdict:
    the same in words.
    """

    gain: float
    gap: float
    spread: float
    share: float | None
    low: float | None
    high: float | None
    verdict: str


def gap_closed(
    synthetic: Sequence[float], translated: Sequence[float], real: Sequence[float], *, lower_is_better: bool = False
) -> GapClosed:
    """Compare one measure of three trainings, seed by seed.

    A share is given only if the mean gap is wider than the spread and every seed finds real hands better: else the
    denominator is mostly chance. With a single seed nothing is known of the spread, and the verdict says so. Raises
    ValueError for none or unequally many seeds.
    """
    sign = -1 if lower_is_better else 1
    a, b, c = (sign * np.asarray(values, np.float64) for values in (synthetic, translated, real))
    if not len(a) == len(b) == len(c) > 0:
        raise ValueError(f"equally many seeds are compared, at least one, not {len(a)}, {len(b)} and {len(c)}")
    gain, gap = float(np.mean(b - a)), float(np.mean(c - a))
    spread = float(max(np.ptp(values) for values in (a, b, c)))
    if gap <= 0:
        verdict = against_synthetic(b - a) + "there is no gap to close: synthetic hands train as well as real ones"
        return GapClosed(gain, gap, spread, None, None, None, verdict)
    if gap <= spread or (c <= a).any():
        verdict = "the gap from synthetic to real is no wider than the spread over seeds: its share is unknown"
        verdict = against_synthetic(b - a) + verdict
        return GapClosed(gain, gap, spread, None, None, None, verdict)
    share, single = float(np.mean(b - a) / gap), (b - a) / (c - a)
    low, high = float(single.min()), float(single.max())
    if len(a) == 1:
        verdict = f"translation closes {percent(share)} of the gap, by one seed: the spread is unknown"
    else:
        seeds = f"{percent(low)} to {percent(high)} over {len(a)} seeds"
        verdict = f"translation closes {percent(share)} of the gap ({seeds})"
        if low <= 0 <= high:
            verdict += ", which may be nothing"
    if share < 0:
        verdict += ": translated hands train worse than synthetic ones"
    return GapClosed(gain, gap, spread, share, low, high, verdict)


def against_synthetic(gains: np.ndarray) -> str:
    """Whether translated hands beat synthetic ones by every seed, as the first half of a verdict."""
    if (gains > 0).all():
        return "by every seed, translated hands train better than synthetic ones; "
    if (gains < 0).all():
        return "by every seed, translated hands train worse than synthetic ones; "
    return "translated hands train no better or worse than synthetic ones by every seed; "


def percent(share: float) -> str:
    """0.614 -> "61 %"."""
    return f"{100 * share:.0f} %"
