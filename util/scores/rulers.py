"""The rulers of a whole set of hands: what metrics.json holds, and the score that chooses best.pt.

structure.py measures a translation against its source; texture.py, tone.py and fringe.py measure hands by themselves,
and count as ratios to the photographs' own figures.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from util.scores.fringe import fringe_chroma
from util.scores.structure import Structure, structure
from util.scores.texture import BANDS, band_strengths
from util.scores.tone import CHANNELS, mean_colour, tone_spread

LEAST_AGREEMENT = 0.01  # of a single ruler in best_score, so that the score stays finite


@dataclass
class Appearance:
    """Figures of hands, one entry a hand that can be measured; see `add`.

    strengths: (3,) each, band_strengths; colours: (3,) each, mean_colour; fringes: fringe_chroma.
    """

    scale: float = 1.0
    strengths: list[np.ndarray] = field(default_factory=list)
    colours: list[np.ndarray] = field(default_factory=list)
    fringes: list[float] = field(default_factory=list)

    def add(self, image: np.ndarray, mask: np.ndarray) -> None:
        """Measure one hand."""
        figures = (band_strengths(image, mask, scale=self.scale), mean_colour(image, mask), fringe_chroma(image, mask))
        for values, figure in zip((self.strengths, self.colours, self.fringes), figures):
            if figure is not None:
                values.append(figure)

    def texture(self) -> np.ndarray | None:
        """Median band strengths over hands, (3,) in L*; None without a hand."""
        return np.median(self.strengths, axis=0) if self.strengths else None

    def tone(self) -> np.ndarray | None:
        """The spread of mean colours over hands, (3,) in L*, a*, b*; None below two hands."""
        return tone_spread(self.colours) if len(self.colours) > 1 else None

    def fringe(self) -> float | None:
        """Median fringe chroma over hands, in a*b* units; None without a hand that has an outline."""
        return float(np.median(self.fringes)) if self.fringes else None


def relative_to(photographs: Appearance, hands: Appearance) -> dict:
    """`texture`, `tone` and `fringe` of metrics.json: each figure of the hands over that of the photographs.

    {"texture": {"6": r, "12": r, "24": r}, "tone": {"L": r, "a": r, "b": r}, "fringe": r}; None where either side has
    no figure, or the photographs' is 0.
    """
    return {
        "texture": _ratios([str(band) for band in BANDS], hands.texture(), photographs.texture()),
        "tone": _ratios(CHANNELS, hands.tone(), photographs.tone()),
        "fringe": _ratio(hands.fringe(), photographs.fringe()),
    }


def _ratios(names: Iterable[str], values: np.ndarray | None, references: np.ndarray | None) -> dict[str, float | None]:
    if values is None or references is None:
        return dict.fromkeys(names)
    return {name: _ratio(value, reference) for name, value, reference in zip(names, values, references)}


def _ratio(value: float | None, reference: float | None) -> float | None:
    return float(value / reference) if value is not None and reference else None


class RulerScores:
    """The rulers of translations, gathered while hands are translated.

    photographs: what texture, tone and fringe are relative to; its scale is used. structures: one entry a translation.
    """

    def __init__(self, photographs: Appearance) -> None:
        self.photographs = photographs
        self.appearance = Appearance(photographs.scale)
        self.structures: list[Structure] = []

    def add(self, source: np.ndarray, translated: np.ndarray, mask: np.ndarray, depth: np.ndarray | None) -> None:
        """Measure one translation; arguments as of util.scores.structure.structure."""
        self.structures.append(structure(source, translated, mask, depth, scale=self.photographs.scale))
        self.appearance.add(translated, mask)

    def entries(self) -> dict:
        """The set's entries of metrics.json.

        `structure`, `structure_chance` and `new_edges`, each 0 to 1 or None where there are no edges; `n_edges`, in
        pixels; and those of `relative_to`.
        """
        total = sum(self.structures, Structure())
        return {
            "structure": total.share,
            "structure_chance": total.chance_share,
            "new_edges": total.new_share,
            "n_edges": total.edges,
            **relative_to(self.photographs, self.appearance),
        }


def flat_entries(entries: dict) -> dict[str, float]:
    """RulerScores.entries for a log: texture_6, tone_L and so on, without those that could not be measured."""
    flat = {}
    for name, value in entries.items():
        parts = {f"{name}_{key}": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
        flat |= {key: part for key, part in parts.items() if part is not None}
    return flat


def best_score(distance: float, rulers: dict) -> float:
    """The score that chooses best.pt; lower is better.

    distance / sqrt(structure * texture * tone * fringe), where each factor is an agreement between 0.01 and 1:
    structure itself; texture, the geometric mean of min(r, 1 / r) over the bands; tone, min(r, 1 / r) of L*;
    fringe, min(1, 1 / r). A figure that could not be measured counts as 1. distance: FID or FD; rulers:
    RulerScores.entries. docs/scores.md gives the reasons.
    """
    texture = [_closeness(ratio) for ratio in rulers["texture"].values()]
    factors = (
        1.0 if rulers["structure"] is None else rulers["structure"],
        math.prod(texture) ** (1 / len(texture)),
        _closeness(rulers["tone"]["L"]),
        1.0 if rulers["fringe"] is None else min(1.0, 1 / max(rulers["fringe"], LEAST_AGREEMENT)),
    )
    return distance / math.sqrt(math.prod(max(factor, LEAST_AGREEMENT) for factor in factors))


def _closeness(ratio: float | None) -> float:
    """min(r, 1 / r), at least 0.01: 1 where a figure is the photographs' own. 1 for None."""
    return 1.0 if ratio is None else max(LEAST_AGREEMENT, min(ratio, 1 / max(ratio, LEAST_AGREEMENT)))
