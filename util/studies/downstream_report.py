"""The downstream study's measures, the share of the gap that translation closes, its table and its pictures."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from data.joints import draw_skeleton
from util.results.pages import table as markdown_table

SETS = {"synthetic": "(a) synthetic", "translated": "(b) translated", "real": "(c) real"}
SHOWN = 160  # pixels: side of a picture in samples.png
TINT = (255, 60, 150)  # of what is taken for hand: a colour that hands and rooms do not have
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

    gain, gap: translated and real over synthetic hands, in the measure's unit, positive if better. spread: the widest
    range over seeds. share: gain / gap, None where it would mean nothing. verdict: the same in words.
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


def table(
    measures: Mapping[str, Measure],
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    gaps: Mapping[str, GapClosed],
    *,
    title: str,
    notes: Sequence[str],
) -> str:
    """table.md. scores: {measure: {set: one value a seed}}; gaps: {measure: GapClosed}; notes: sentences beneath."""
    header = ["trained on", *(measure.name for measure in measures.values())]
    rows = [
        [label, *(_cell(measure, scores[name][part]) for name, measure in measures.items())]
        for part, label in SETS.items()
    ]
    verdicts = [f"{measure.name}: {gaps[name].verdict}." for name, measure in measures.items()]
    return "\n".join([title, "", markdown_table(header, rows), "", *verdicts, "", " ".join(notes)]) + "\n"


def _cell(measure: Measure, values: Sequence[float]) -> str:
    mean, low, high = (measure.form.format(value) for value in (np.mean(values), min(values), max(values)))
    return f"{mean} ({low} to {high})" if len(values) > 1 else mean


def enlarge(image: np.ndarray) -> np.ndarray:
    """uint8 RGB (S, S, 3) -> (SHOWN, SHOWN, 3)."""
    return cv2.resize(image, (SHOWN, SHOWN), interpolation=cv2.INTER_LINEAR)


def draw_mask(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture in grey, enlarged, with a tint where mask, bool (S, S), says hand."""
    grey = enlarge(image).mean(-1, keepdims=True) * np.ones(3)
    hand = cv2.resize(mask.astype(np.uint8), (SHOWN, SHOWN), interpolation=cv2.INTER_NEAREST) > 0
    return np.where(hand[..., None], grey * 0.45 + np.array(TINT) * 0.55, grey).astype(np.uint8)


def draw_joints(image: np.ndarray, joints: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
    """The picture, enlarged and paled, with the bones between joints (21, 2) in its pixels; seen: those drawn (None: all)."""
    pale = (enlarge(image) * 0.6 + 255 * 0.4).astype(np.uint8)
    return draw_skeleton(pale, joints * (SHOWN / len(image)), seen)


DRAW = {"segmentation": draw_mask, "keypoints": draw_joints}
