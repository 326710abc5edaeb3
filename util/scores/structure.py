"""Structure: does a translation still show the inner edges of its source, such as a finger in front of a palm?

An edge is a step or a line in L*. It is measured by a pair of elongated filters, one odd and one even, across the edge
(a quadrature pair, as in Morrone & Burr 1988); together they are a complex number whose size is the edge's contrast in
L* and whose phase is its kind (bright to dark, dark line, dark to bright, bright line). An edge lies where that size is
largest along the filter's direction. A translation shows an edge of its source if, within 2 pixels and in about the
same direction, it has an edge of at least a third of the contrast whose kind is not the opposite one (a step may
become a line, but not the reverse step). So a soft shadow in place of a finger's outline does not count, nor does a
crease that crosses it. The source itself scores 1 by construction.

Which edges: with a depth map, its discontinuities (one part of the hand in front of another) where the source shows
them; without one, all strong edges of the source. Edges nearer than 6 pixels to the outline do not count.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from data.depth import has_depth
from data.masks.ops import bounding_box
from util.scores.hand_pixels import distance_inside, lab

TOLERANCE = 2  # pixels, at every scale, by which an edge may have moved
KEPT_CONTRAST = 1 / 3  # of the source's contrast must be left
MAX_PHASE = np.deg2rad(100)  # by which the kind of an edge may have changed: 90 degrees lie between a step and a line
VISIBLE = 3.0  # L*: a depth edge of less contrast in the source is not looked for
STRONG = 6.0  # L*: the least contrast of an edge that is found by luminance alone
MARGIN = 6.0  # pixels (scaled): edges nearer to the outline do not count
ACROSS, ALONG = 2.0, 6.0  # pixels (scaled): the filters' Gaussian sigmas across and along the edge
ORIENTATIONS = 12  # of the filters, over half a turn
TURN = 1  # orientations by which an edge may have turned
DEPTH_STEP = 6  # mm between neighbouring pixels: the least discontinuity
CHANCE_SHIFT = 12.0  # pixels (scaled) by which edges are displaced to find what chance alone would keep


@dataclass(frozen=True)
class Structure:
    """What became of one image's edges, in edge pixels; add several for a set.

    edges: inner edges of the source; kept: those that the translation shows; chance: how many it would show if they lay
    elsewhere (the mean over eight displacements by 12 pixels); strong: strong edges of the translation; new: those of
    them that the source does not show.
    """

    edges: int = 0
    kept: int = 0
    chance: float = 0.0
    strong: int = 0
    new: int = 0

    def __add__(self, other: "Structure") -> "Structure":
        return Structure(*(a + b for a, b in zip(vars(self).values(), vars(other).values())))

    @property
    def share(self) -> float | None:
        """`structure` of metrics.json, 0 to 1: the share of the source's edges that is kept. None without edges."""
        return self.kept / self.edges if self.edges else None

    @property
    def chance_share(self) -> float | None:
        """The share that chance alone would keep: what 0 looks like for a picture full of creases."""
        return self.chance / self.edges if self.edges else None

    @property
    def new_share(self) -> float | None:
        """`new_edges` of metrics.json, 0 to 1: the share of the translation's strong edges that the source lacks."""
        return self.new / self.strong if self.strong else None


def structure(
    source: np.ndarray, translated: np.ndarray, mask: np.ndarray, depth: np.ndarray | None = None, *, scale: float = 1.0
) -> Structure:
    """Compare the edges inside the hand of a source and its translation.

    source, translated: uint8 RGB (H, W, 3); mask: bool (H, W), True on the hand; depth: uint16 (H, W) in mm, as
    data.depth.region_depth cuts it; scale: see util.scores.hand_pixels. Raises ValueError for shapes that differ.
    """
    shapes = {source.shape[:2], translated.shape[:2], mask.shape, mask.shape if depth is None else depth.shape}
    if len(shapes) > 1:
        raise ValueError(f"source, translation, mask and depth must have one size, not {sorted(shapes)}")
    if not mask.any():
        return Structure()
    box = bounding_box(mask, margin=2)
    mask = mask[box]
    inside = distance_inside(mask) > MARGIN * scale
    (old, old_edges), (new, new_edges) = (
        _edge_responses(_lightness(image[box], mask), inside, scale) for image in (source, translated)
    )
    if depth is not None:
        old_edges = depth_edges(depth[box], mask) & inside
    wanted = _Edges.find(old, old_edges, STRONG if depth is None else VISIBLE)
    fresh = _Edges.find(new, new_edges, STRONG)
    return Structure(
        edges=len(wanted.size),
        kept=int(wanted.shown_by(new).sum()),
        chance=wanted.shown_by_chance(new, inside, CHANCE_SHIFT * scale),
        strong=len(fresh.size),
        new=int((~fresh.shown_by(old)).sum()),
    )


def depth_edges(depth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """bool (H, W): the near side of each depth discontinuity inside the hand.

    Neighbours in a row or column whose depths differ by more than 6 mm, and by more than twice the slope of the
    surface on the flatter side, so that a surface seen at a grazing angle is no discontinuity.
    """
    known = mask & has_depth(depth)
    depth = depth.astype(np.float32)
    return _steps_along_rows(depth, known) | _steps_along_rows(depth.T, known.T).T


def _steps_along_rows(depth: np.ndarray, known: np.ndarray) -> np.ndarray:
    both = known[:, 1:] & known[:, :-1]
    step = np.where(both, np.diff(depth, axis=1), 0)
    slope = np.where(both, np.abs(step), np.inf)
    beside = np.pad(slope, ((0, 0), (1, 1)), constant_values=np.inf)
    flatter = np.minimum(beside[:, :-2], beside[:, 2:])
    jump = both & (np.abs(step) > DEPTH_STEP) & (np.abs(step) > 2 * np.where(np.isfinite(flatter), flatter, 0))
    near = np.zeros(depth.shape, bool)
    near[:, :-1] |= jump & (step > 0)
    near[:, 1:] |= jump & (step < 0)
    return near


def _lightness(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """L*, float32 (H, W), with the hand's border colours carried on outside it, so that the outline is no edge."""
    nearest = distance_transform_edt(~mask, return_distances=False, return_indices=True)
    return np.ascontiguousarray(lab(image)[..., 0][tuple(nearest)])


@cache
def _filters(scale: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each orientation the odd and the even filter, float32 (K, K): 1 for a step, or a line's flanks, of 1 L*."""
    across, along = ACROSS * scale, ALONG * scale
    radius = int(np.ceil(2.5 * along))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    filters = []
    for angle in np.pi * np.arange(ORIENTATIONS) / ORIENTATIONS:
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        window = np.exp(-0.5 * (u / across) ** 2 - 0.5 * (v / along) ** 2)
        odd, even = u * window, (1 - (u / across) ** 2) * window
        even -= window * (even.sum() / window.sum())
        filters.append(tuple((each / (np.abs(each).sum() / 2)).astype(np.float32) for each in (odd, even)))
    return filters


def _edge_responses(lightness: np.ndarray, inside: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The edges of L* float32 (H, W), inside: complex64 (ORIENTATIONS, H, W), and bool (H, W).

    The first holds odd + i even response, in L*, where its size is largest along the filter's direction, else 0; the
    second is true where the strongest orientation of a pixel has such an edge.
    """
    responses = np.stack([_filtered(lightness, odd) + 1j * _filtered(lightness, even) for odd, even in _filters(scale)])
    sizes = np.abs(responses)
    rows, columns = np.indices(lightness.shape, np.float32)
    located = np.empty(sizes.shape, bool)
    for index, angle in enumerate(np.pi * np.arange(ORIENTATIONS) / ORIENTATIONS):
        across, down = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        ahead, behind = (
            cv2.remap(sizes[index], columns + sign * across, rows + sign * down, cv2.INTER_LINEAR) for sign in (1, -1)
        )
        located[index] = (sizes[index] >= ahead) & (sizes[index] >= behind)
    located &= inside
    strongest = np.take_along_axis(located, sizes.argmax(axis=0)[None], axis=0)[0]
    return responses * located, strongest


def _filtered(lightness: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return cv2.filter2D(lightness, cv2.CV_32F, kernel, borderType=cv2.BORDER_REPLICATE)


def _offsets(radius: int) -> list[tuple[int, int]]:
    steps = range(-radius, radius + 1)
    return [(y, x) for y in steps for x in steps if y * y + x * x <= radius * radius + 0.5]


@dataclass(frozen=True)
class _Edges:
    """n edge pixels of one image: where they lie, their orientation (n,), contrast (n,) in L* and phase, complex (n,)."""

    rows: np.ndarray
    columns: np.ndarray
    orientation: np.ndarray
    size: np.ndarray
    phase: np.ndarray

    @classmethod
    def find(cls, responses: np.ndarray, edges: np.ndarray, least: float) -> "_Edges":
        """The strongest of the located responses within 2 pixels of each edge pixel, where it has the least contrast."""
        rows, columns = np.nonzero(edges)
        spots = np.array([_clipped(rows + y, columns + x, edges.shape) for y, x in _offsets(TOLERANCE)])  # (21, 2, n)
        sizes = np.abs(responses[:, spots[:, 0], spots[:, 1]])  # (ORIENTATIONS, 21, n)
        orientation, spot = np.divmod(sizes.reshape(ORIENTATIONS * len(spots), -1).argmax(axis=0), len(spots))
        rows, columns = spots[spot, :, np.arange(len(rows))].T
        strongest = responses[orientation, rows, columns]
        size = np.abs(strongest)
        clear = size >= least
        phase = strongest[clear] / size[clear]
        return cls(rows[clear], columns[clear], orientation[clear], size[clear], phase)

    def shown_by(self, responses: np.ndarray, shift: tuple[int, int] = (0, 0)) -> np.ndarray:
        """bool (n,): whether another image's located responses show each edge, displaced by (rows, columns)."""
        best = np.zeros(len(self.size))
        for turn in range(-TURN, TURN + 1):
            turned = self.orientation + turn
            wrapped = (turned < 0) | (turned >= ORIENTATIONS)  # half a turn on, the odd filter has the other sign
            for y, x in _offsets(TOLERANCE):
                spot = _clipped(self.rows + y + shift[0], self.columns + x + shift[1], responses.shape[1:])
                response = responses[turned % ORIENTATIONS, spot[0], spot[1]]
                response = np.where(wrapped, -response.conj(), response)
                size = np.abs(response)
                alike = (response * self.phase.conj()).real >= np.cos(MAX_PHASE) * size
                best = np.maximum(best, alike * size)
        return best >= KEPT_CONTRAST * self.size

    def shown_by_chance(self, responses: np.ndarray, inside: np.ndarray, distance: float) -> float:
        """How many edges the other image would show if they lay elsewhere inside the hand, the mean over directions."""
        shares = []
        for angle in np.pi * np.arange(8) / 4:
            shift = round(distance * np.sin(angle)), round(distance * np.cos(angle))
            rows, columns = self.rows + shift[0], self.columns + shift[1]
            held = (rows >= 0) & (rows < inside.shape[0]) & (columns >= 0) & (columns < inside.shape[1])
            held[held] = inside[rows[held], columns[held]]
            if held.any():
                shares.append(self.shown_by(responses, shift)[held].mean())
        return float(np.mean(shares)) * len(self.size) if shares else 0.0


def _clipped(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    return rows.clip(0, shape[0] - 1), columns.clip(0, shape[1] - 1)
