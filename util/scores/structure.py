"""Structure: does a translation still show the inner edges of its source, such as a finger in front of a palm?

An edge is a step or a line in L*, measured by a pair of elongated filters, one odd and one even, across it (a quadrature
pair, as in Morrone & Burr 1988): a complex number whose size is the edge's contrast in L* and whose phase is its kind. A
translation shows an edge of its source if, within 2 pixels and in about the same direction, it has an edge of at least a
third of the contrast whose kind is not the opposite one (a step may become a line, but not the reverse step).
docs/scores.md says which edges count, and how this was calibrated.
"""

import math
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from data.joints import has_depth
from data.masks import bounding_box
from util.scores.appearance import distance_inside, lab

TOLERANCE = 2  # pixels, at every scale, by which an edge may have moved
KEPT_CONTRAST = 1 / 3  # of the source's contrast must be left
MAX_PHASE = np.deg2rad(100)  # by which the kind of an edge may have changed: 90 degrees lie between a step and a line
VISIBLE = 3.0  # L*: a depth edge of less contrast in the source is not looked for
STRONG = 6.0  # L*: the least contrast of an edge that is found by luminance alone
MARGIN = 6.0  # pixels (scaled): edges nearer to the outline do not count, nor, as shading, those nearer to a depth edge
ACROSS, ALONG = 2.0, 6.0  # pixels (scaled): the filters' Gaussian sigmas across and along the edge
ORIENTATIONS = 12  # of the filters, over half a turn
TURN = 1  # orientations by which an edge may have turned
DEPTH_STEP = 6  # mm between neighbouring pixels: the least discontinuity
CHANCE_SHIFT = 12.0  # pixels (scaled) by which edges are displaced to find what chance alone would keep


class Structure(NamedTuple):
    """What became of one image's edges, in edge pixels."""

    edges: int = 0  # inner edges of the source
    kept: int = 0  # those of them that the translation shows
    chance: float = 0.0  # how many it would show if they lay elsewhere: the mean over eight displacements by 12 pixels
    shading: int = 0  # strong inner edges of the source that are none of its depth: shadows, creases, spots
    shading_kept: int = 0  # those of them that the translation shows


class SourceEdges:
    """The inner edges of a source, found once and compared with each of its translations.

    source: uint8 RGB (H, W, 3); mask: bool (H, W), True on the hand; depth: uint16 (H, W) in mm, as
    data.joints.region_depth cuts it; scale: see util.scores.appearance.
    """

    def __init__(
        self, source: np.ndarray, mask: np.ndarray, depth: np.ndarray | None = None, *, scale: float = 1.0
    ) -> None:
        self.source, self.scale = source, scale
        self._box = bounding_box(mask, margin=2)
        self._mask = mask[self._box]
        self._inside = distance_inside(self._mask) > MARGIN * scale
        self._responses, found = self._edges_of(source)
        if depth is None:
            edges, least, shading = found, STRONG, np.zeros_like(found)
        else:
            steps, least = depth_edges(depth[self._box], self._mask), VISIBLE
            edges, shading = steps & self._inside, found & (distance_inside(~steps) > MARGIN * scale)
        self._wanted = _Edges.find(self._responses, edges, least)
        self._shading = _Edges.find(self._responses, shading, STRONG)

    def compare(self, translated: np.ndarray) -> Structure:
        """What became of the edges in a translation, uint8 RGB (H, W, 3)."""
        responses = self._responses if translated is self.source else self._edges_of(translated)[0]
        return Structure(
            edges=len(self._wanted.rows),
            kept=int(self._wanted.shown_by(responses).sum()),
            chance=self._wanted.shown_by_chance(responses, self._inside, CHANCE_SHIFT * self.scale),
            shading=len(self._shading.rows),
            shading_kept=int(self._shading.shown_by(responses).sum()),
        )

    def _edges_of(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # The hand's border colours are carried on outside it, so that the outline is no edge.
        nearest = distance_transform_edt(~self._mask, return_distances=False, return_indices=True)
        lightness = np.ascontiguousarray(lab(image[self._box])[..., 0][tuple(nearest)])
        return _edge_responses(lightness, self._inside, self.scale)


def depth_edges(depth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """bool (H, W): the near side of each depth discontinuity inside the hand: neighbours whose depths differ by more than
    6 mm, and by more than twice the slope on the flatter side, as a surface seen at a grazing angle is none."""
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
    """The edges of L* float32 (H, W), inside: complex64 (ORIENTATIONS, H, W), odd + i even response where its size is
    largest along the filter's direction, else 0; and bool (H, W), where a pixel's strongest orientation has such an edge."""

    def filtered(kernel: np.ndarray) -> np.ndarray:
        return cv2.filter2D(lightness, cv2.CV_32F, kernel, borderType=cv2.BORDER_REPLICATE)

    responses = np.stack([filtered(odd) + 1j * filtered(even) for odd, even in _filters(scale)])
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


_SQUARE = np.mgrid[-TOLERANCE : TOLERANCE + 1, -TOLERANCE : TOLERANCE + 1]
_OFFSETS = _SQUARE[:, np.hypot(*_SQUARE) <= TOLERANCE]  # (2, 13): rows and columns


class _Edges(NamedTuple):
    """n edge pixels of one image: where they lie, their orientation (n,) and response, complex (n,)."""

    rows: np.ndarray
    columns: np.ndarray
    orientation: np.ndarray
    response: np.ndarray

    @classmethod
    def find(cls, responses: np.ndarray, edges: np.ndarray, least: float) -> "_Edges":
        """The strongest of the located responses within 2 pixels of each edge pixel, where it has the least contrast."""
        rows, columns = np.nonzero(edges)
        around = _around(rows, columns, edges.shape)  # each (13, n)
        sizes = np.abs(responses[:, *around])  # (ORIENTATIONS, 13, n)
        orientation, spot = np.divmod(sizes.reshape(ORIENTATIONS * sizes.shape[1], -1).argmax(axis=0), sizes.shape[1])
        rows, columns = (each[spot, np.arange(len(rows))] for each in around)
        strongest = responses[orientation, rows, columns]
        clear = np.abs(strongest) >= least
        return cls(rows[clear], columns[clear], orientation[clear], strongest[clear])

    def shown_by(self, responses: np.ndarray, shift: tuple[int, int] = (0, 0)) -> np.ndarray:
        """bool (n,): whether another image's located responses show each edge, displaced by (rows, columns)."""
        turned = self.orientation + np.arange(-TURN, TURN + 1)[:, None, None]  # (3, 1, n)
        rows, columns = _around(self.rows + shift[0], self.columns + shift[1], responses.shape[1:])
        response = responses[turned % ORIENTATIONS, rows, columns]  # (3, 13, n)
        wrapped = (turned < 0) | (turned >= ORIENTATIONS)  # half a turn on, the odd filter has the other sign
        response = np.where(wrapped, -response.conj(), response)
        size, own_size = np.abs(response), np.abs(self.response)
        alike = (response * (self.response / own_size).conj()).real >= np.cos(MAX_PHASE) * size
        return (alike * size).max(axis=(0, 1)) >= KEPT_CONTRAST * own_size

    def shown_by_chance(self, responses: np.ndarray, inside: np.ndarray, distance: float) -> float:
        """How many edges the other image would show if they lay elsewhere inside the hand, the mean over directions."""
        shares, reach = [], math.ceil(distance)
        within = np.pad(inside, reach)
        for angle in np.pi * np.arange(8) / 4:
            down, right = round(distance * np.sin(angle)), round(distance * np.cos(angle))
            held = within[self.rows + down + reach, self.columns + right + reach]
            if held.any():
                shares.append(self.shown_by(responses, (down, right))[held].mean())
        return float(np.mean(shares)) * len(self.rows) if shares else 0.0


def _around(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The (rows, columns), each (13, n), within 2 pixels of n pixels, none beyond the image."""
    y, x = _OFFSETS[..., None]
    return (rows + y).clip(0, shape[0] - 1), (columns + x).clip(0, shape[1] - 1)
