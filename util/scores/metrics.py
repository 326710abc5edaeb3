"""All metrics of translated hands, one row each, and the score that chooses best.pt. CONTRIBUTING.md says how to add one."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from data.masks import iou
from util.scores.appearance import BANDS, band_strengths, fringe_chroma, mean_colour, psnr, ssim
from util.scores.silhouettes import boundary_f, gaps_filled
from util.scores.structure import SourceEdges, Structure

LEAST_AGREEMENT = 0.01  # of a single metric in best_score, so that the score stays finite
Figures = dict[str, Any]
"""{key of a metric: what was measured of one hand}, without what cannot be measured."""


@dataclass(frozen=True)
class View:
    """One picture of a hand, and what is known beside it; None where it is not known."""

    image: np.ndarray  # uint8 RGB (H, W, 3)
    mask: np.ndarray | None  # bool (H, W)
    scale: float = 1.0  # of lengths, see appearance.py
    source: SourceEdges | None = None  # the edges of the source that it shows
    truth: tuple[np.ndarray, np.ndarray] | None = None  # image and mask: what it should look like
    silhouette: np.ndarray | None = None  # bool (H, W), where SilNet sees a hand in it

    @cached_property
    def structure(self) -> Structure | None:
        """What became of the source's edges."""
        return self.source.compare(self.image) if self.source else None


Pool = Callable[[Sequence[Any], Sequence[Any]], Any]


def mean(hands: Sequence[float], _: Sequence) -> float | None:
    """The mean over hands."""
    return float(np.mean(hands)) if hands else None


def share(part: str, of: str = "edges") -> Pool:
    """The share of the sources' edge pixels, over those of all hands together, 0 to 1; None without any."""

    def pool(hands: Sequence[Structure], _: Sequence) -> float | None:
        count = sum(getattr(hand, of) for hand in hands)
        return sum(getattr(hand, part) for hand in hands) / count if count else None

    return pool


def ratio(statistic: Callable, *parts: str, least: int = 1) -> Pool:
    """A statistic of the hands over that of the photographs: a number, or {part: number} for figures of several parts.

    None where a side has fewer than `least` hands, or the photographs' statistic is 0.
    """

    def pool(hands: Sequence, photographs: Sequence) -> float | None | dict[str, float | None]:
        ratios = [None] * max(1, len(parts))
        if min(len(hands), len(photographs)) >= least:
            values, references = (np.atleast_1d(statistic(side, axis=0)) for side in (hands, photographs))
            ratios = [float(value / reference) if reference else None for value, reference in zip(values, references)]
        return dict(zip(parts, ratios)) if parts else ratios[0]

    return pool


@dataclass(frozen=True)
class Metric:
    """One row."""

    key: str  # its entry in metrics.json
    label: str  # in tables; {} is the part of an entry of several
    form: str
    better: str  # "higher", "lower", "near 1", "1 or less"; "": not judged
    measure: Callable[[View], Any]  # a hand's figure, None where it has none
    pool: Pool = mean  # (figures of hands, of photographs) -> the entry


METRICS = [
    Metric("shape_iou", "shape IoU, unmasked", "{:.3f}", "higher",
           lambda view: None if view.silhouette is None else iou(view.silhouette, view.mask)),
    Metric("boundary_f", "boundary F, unmasked", "{:.3f}", "higher",
           lambda view: None if view.silhouette is None else boundary_f(view.silhouette, view.mask)),
    Metric("gaps_filled", "gaps between fingers filled, unmasked", "{:.3f}", "lower",
           lambda view: None if view.silhouette is None else gaps_filled(view.silhouette, view.mask, scale=view.scale)),
    Metric("structure", "structure kept", "{:.3f}", "higher",
           lambda view: view.structure, share("kept")),
    Metric("structure_chance", "  by chance alone", "{:.3f}", "",
           lambda view: view.structure, share("chance")),
    Metric("n_edges", "  edge pixels", "{:d}", "",
           lambda view: view.structure and view.structure.edges, lambda hands, _: sum(hands)),
    Metric("shading_kept", "shading kept", "{:.3f}", "lower",
           lambda view: view.structure if view.structure and view.structure.shading else None,
           share("shading_kept", of="shading")),
    Metric("texture", "texture {} px", "{:.2f}", "near 1",
           lambda view: None if view.mask is None else band_strengths(view.image, view.mask, scale=view.scale),
           ratio(np.median, *map(str, BANDS))),
    Metric("tone", "tone spread {}", "{:.2f}", "near 1",
           lambda view: None if view.mask is None else mean_colour(view.image, view.mask),
           ratio(np.std, *"Lab", least=2)),
    Metric("fringe", "fringe", "{:.2f}", "1 or less",
           lambda view: None if view.mask is None else fringe_chroma(view.image, view.mask),
           ratio(np.median)),
    Metric("psnr", "PSNR to the true pair, dB", "{:.2f}", "higher",
           lambda view: psnr(view.image, *view.truth) if view.truth else None),
    Metric("ssim", "SSIM to the true pair", "{:.3f}", "higher",
           lambda view: ssim(view.image, *view.truth) if view.truth else None),
]  # fmt: skip


def measure(view: View) -> Figures:
    """The figures of one hand."""
    return {metric.key: figure for metric in METRICS if (figure := metric.measure(view)) is not None}


def entries(hands: Sequence[Figures], photographs: Sequence[Figures]) -> dict[str, Any]:
    """The entries of metrics.json for a set of hands, without those that neither side has figures of."""
    pooled = {}
    for metric in METRICS:
        sides = [[each[metric.key] for each in side if metric.key in each] for side in (hands, photographs)]
        if any(sides):
            pooled[metric.key] = metric.pool(*sides)
    return pooled


def single(hands: Sequence[Figures]) -> dict[str, list[float | None]]:
    """{key: a number, or None, for each hand} of the metrics that have one for a single hand."""
    values = {m.key: [m.pool([each[m.key]], []) if m.key in each else None for each in hands] for m in METRICS}
    return {key: row for key, row in values.items() if any(isinstance(value, (int, float)) for value in row)}


def flat_entries(pooled: dict) -> dict[str, float]:
    """Entries for a log: texture_6, tone_L and so on, without those that could not be measured."""
    flat = {}
    for name, value in pooled.items():
        parts = {f"{name}_{key}": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
        flat |= {key: part for key, part in parts.items() if part is not None}
    return flat


def agreements(pooled: dict) -> dict[str, float]:
    """How well a set's figures agree with the photographs' (structure: with the source's), each from 0.01 to 1.

    pooled: what `entries` gives. A figure that could not be measured counts as 1.
    """

    def agreement(value: float | None) -> float:
        return 1.0 if value is None else max(LEAST_AGREEMENT, min(value, 1 / max(value, LEAST_AGREEMENT)))

    fringe = pooled.get("fringe")
    texture = [agreement(value) for value in pooled.get("texture", {}).values()]
    return {
        "structure": agreement(pooled.get("structure")),
        "texture": max(LEAST_AGREEMENT, math.prod(texture) ** (1 / max(1, len(texture)))),
        "tone": agreement(pooled.get("tone", {}).get("L")),
        "fringe": agreement(None if fringe is None else max(fringe, 1.0)),
    }


def best_score(distance: float, pooled: dict) -> float:
    """The score that chooses best.pt, by FID or FD and what `entries` gives; lower is better. docs/scores.md says why."""
    return distance / math.sqrt(math.prod(agreements(pooled).values()))
