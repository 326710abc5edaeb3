"""The downstream study's table and pictures."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from data.joints import draw_skeleton
from util.results.pages import table as markdown_table
from util.scores.downstream import GapClosed, Measure

SETS = {"synthetic": "(a) synthetic", "translated": "(b) translated", "real": "(c) real"}
SHOWN = 160  # pixels: side of a picture in samples.png
TINT = (255, 60, 150)  # of what is taken for hand: a colour that hands and rooms do not have


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
    grey = cv2.cvtColor(cv2.cvtColor(enlarge(image), cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    hand = cv2.resize(mask.astype(np.uint8), (SHOWN, SHOWN), interpolation=cv2.INTER_NEAREST) > 0
    return np.where(hand[..., None], grey * 0.45 + np.array(TINT) * 0.55, grey).astype(np.uint8)


def draw_joints(image: np.ndarray, joints: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
    """The picture, enlarged and paled, with the bones between joints (21, 2) in its pixels.

    seen: bool (21,), joints that are drawn; None for all.
    """
    pale = (enlarge(image) * 0.6 + 255 * 0.4).astype(np.uint8)
    return draw_skeleton(pale, joints * (SHOWN / len(image)), seen)


DRAW = {"segmentation": draw_mask, "keypoints": draw_joints}
