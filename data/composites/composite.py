"""Hands pasted on backgrounds by their masks: the images that the studies see (paper, Fig. 6).

The studies ask whether the look of a hand tells its class, so nothing else may. Every class passes the same code:

- A crop is a square on the mask's centroid whose side is a multiple of the root of its area: neither the place nor the
  size of a hand in its source tells. Training adds random shift, zoom and mirroring.
- Raw masks are ragged, rendered ones exact: all are smoothed, shrunk by a pixel and feathered at the output's resolution.

What remains: a hand that is small in its source is softer; poses, forearms and views differ between data sets.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from data.crops import window
from data.masks import SYNTHETIC_KEY

WINDOW = 2.1  # side of the crop over the root of the hand's area: the hand covers 1 / 2.1^2 = 23 % of the output


class Placement(NamedTuple):
    """How a hand lies: shifts as fractions of the output's side; turn: degrees, of the downstream study's cutouts only."""

    right: float = 0.0
    down: float = 0.0
    zoom: float = 1.0
    mirror: bool = False
    turn: float = 0.0


AS_IT_IS = Placement()


def random_placement(
    rng: np.random.Generator, *, shift: float = 0.06, zoom: tuple[float, float] = (0.9, 1.1), turn: float = 0.0
) -> Placement:
    """Draw a placement, mirrored every other time; defaults are the classification study's. turn: degrees to either side."""
    right, down = rng.uniform(-shift, shift, 2)
    size = float(np.exp(rng.uniform(*np.log(zoom))))
    angle = float(rng.uniform(-turn, turn)) if turn else 0.0
    return Placement(right, down, size, bool(rng.random() < 0.5), angle)


def mask_of_crop(image: np.ndarray) -> np.ndarray:
    """Mask, bool (H, W), of a uint8 RGB (H, W, 3) hand on exactly white or exactly SynthHands' key colour, if there is any.

    Spots of the background's colour under 0.1 % of the picture are highlights of the hand.
    """
    candidates = [(image == colour).all(-1) for colour in ((255, 255, 255), SYNTHETIC_KEY)]
    background = max(candidates, key=np.count_nonzero)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(background.astype(np.uint8), connectivity=4)
    large = stats[:, cv2.CC_STAT_AREA] >= max(2, background.size // 1000)
    large[0] = False  # label 0 is the hand
    return ~large[labels]


def composite(
    image: np.ndarray, mask: np.ndarray, background: np.ndarray, *, placement: Placement = AS_IT_IS
) -> np.ndarray:
    """The hand of `image`, uint8 RGB (H, W, 3) with `mask`, bool (H, W), on `background`, uint8 RGB (S, S, 3), as such."""
    colours, alpha = place_hand(image, mask, size=len(background), placement=placement)
    return np.rint(background + alpha[..., None] * (colours - background)).astype(np.uint8)


def place_hand(
    image: np.ndarray, mask: np.ndarray, *, size: int, placement: Placement = AS_IT_IS
) -> tuple[np.ndarray, np.ndarray]:
    """Crop and scale a hand: colours, float32 (size, size, 3) in [0, 255], and opacity, float32 (size, size) in [0, 1].

    Colours come from inside the mask alone. What lies beyond the source's border is transparent.
    """
    inside = mask.astype(np.float32)
    premultiplied = np.dstack([image * inside[..., None], inside])  # colour x coverage, coverage
    left, top, side = _window(mask, placement)
    layers = window(premultiplied, (left, top, side, side), beyond=0)
    layers = cv2.resize(layers, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)
    coverage = layers[..., 3]
    colours = np.clip(layers[..., :3] / np.maximum(coverage, 1e-3)[..., None], 0, 255)
    # Smoothed, one pixel smaller, and 1, 3/4, 1/4, 0 across the border; never where there is no colour.
    solid = ((cv2.GaussianBlur(coverage, (0, 0), 1.5) > 0.5) & (coverage > 0.5)).astype(np.uint8)
    solid = cv2.erode(solid, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1)
    alpha = cv2.GaussianBlur(solid.astype(np.float32), (3, 3), 0, borderType=cv2.BORDER_REPLICATE)
    if placement.mirror:
        colours, alpha = colours[:, ::-1], alpha[:, ::-1]
    return colours, alpha


def place_points(points: np.ndarray, mask: np.ndarray, *, size: int, placement: Placement = AS_IT_IS) -> np.ndarray:
    """Where place_hand puts points of the source, (..., 2): x and y in pixels, whose centres lie at +0.5; perhaps outside."""
    left, top, side = _window(mask, placement)
    placed = (np.asarray(points, np.float64) - (left, top)) * (size / side)
    return np.stack([size - placed[..., 0], placed[..., 1]], axis=-1) if placement.mirror else placed


def _window(mask: np.ndarray, placement: Placement) -> tuple[int, int, int]:
    """Left, top and side in source pixels of the square crop; it may lie partly outside the source."""
    rows, columns = np.nonzero(mask)
    side = max(2, round(WINDOW * np.sqrt(len(rows)) / placement.zoom))
    left = columns.mean() - side * (0.5 + placement.right)
    top = rows.mean() - side * (0.5 + placement.down)
    return math.floor(left + 0.5), math.floor(top + 0.5), side  # round() sends halves to the even neighbour
