"""Backgrounds behind hands for the studies, and hands pasted on them by their masks (paper, Fig. 6).

A background is a photograph of a folder, or a room drawn from a seed (the paper: random indoor scenes of MIT Indoor Scenes,
Quattoni and Torralba 2009). The studies ask whether the look of a hand tells its class, so nothing else may:

- A background is drawn from the random generator alone, so that every class meets the same pool.
- A crop is a square on the mask's centroid whose side is a multiple of the root of its area: neither the place nor the
  size of a hand in its source tells. Training adds random shift, zoom and mirroring.
- Raw masks are ragged, rendered ones exact: all are smoothed, shrunk by a pixel and feathered at the output's resolution.

What remains: a hand that is small in its source is softer; poses, forearms and views differ between data sets.
"""

import colorsys
import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from data.crops import window
from data.listing import images_below
from data.masks import SYNTHETIC_KEY, components
from util.errors import UsageError
from util.images import FORMATS, ImageError, read_rgb

log = logging.getLogger(__name__)

Background = Callable[[np.random.Generator], np.ndarray]
"""Draws one background, uint8 RGB (size, size, 3)."""

HELD_OUT = 5  # every fifth photograph is kept for testing


def open_backgrounds(root: Path | None, *, size: int, part: str) -> Background:
    """Backgrounds of `size` pixels a side for the "train" or "test" part: photographs below `root`, or drawn rooms."""
    return Photographs(root, size=size, part=part) if root else partial(draw_room, size)


class Photographs:
    """Draws crops of the photographs below a folder; each serves in one part only. Files that cannot be read are named once
    and replaced. Raises UsageError if there are fewer than ten."""

    def __init__(self, root: Path, *, size: int, part: str) -> None:
        paths = sorted(images_below(root))
        if len(paths) < 2 * HELD_OUT:
            raise UsageError(
                f"{root} holds {len(paths)} photographs ({FORMATS}), at least {2 * HELD_OUT} are needed: "
                "give another --background_root, or none for backgrounds that the project draws"
            )
        # Test ones are spread over the folders, which are types of rooms.
        self.paths = [path for i, path in enumerate(paths, start=1) if (i % HELD_OUT == 0) == (part == "test")]
        self.root, self.size, self.bad = root, size, set()

    def __call__(self, rng: np.random.Generator) -> np.ndarray:
        first = rng.integers(len(self.paths))
        for path in [*self.paths[first:], *self.paths[:first]]:  # the next one that can be read
            try:
                if path not in self.bad:
                    return random_crop(read_rgb(path), self.size, rng)
            except ImageError as error:
                self.bad.add(path)
                log.warning("skipped: %s", error)
        raise UsageError(f"none of the photographs in {self.root} can be read; give another --background_root")


def random_crop(photograph: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of uint8 (H, W, 3), half to all of its short side, scaled to (size, size, 3), mirrored or not."""
    height, width = photograph.shape[:2]
    side = max(1, round(min(height, width) * rng.uniform(0.5, 1.0)))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    crop = photograph[top : top + side, left : left + side]
    crop = np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)


def draw_room(size: int, rng: np.random.Generator) -> np.ndarray:
    """An indoor-like scene, uint8 RGB (size, size, 3): a room in one-point perspective with things of all sizes in it.

    It deceives nobody; it only varies in colour (browns of skin included), texture, edges and sharpness more than hands do.
    """
    canvas = np.empty((size, size, 3), np.uint8)
    vanishing = rng.uniform([0.2, 0.25], [0.8, 0.6]) * size
    # Corners: the nearest lie beyond the picture's border.
    near = vanishing + (size * np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) - vanishing) * 1.4
    back, wall = vanishing + (near - vanishing) * rng.uniform(0.3, 0.75), _colour(rng)
    canvas[:] = wall
    # Ceiling, side, floor, side.
    for i, colour in enumerate((1.2 * _colour(rng), 0.85 * wall, _colour(rng), 0.7 * wall)):
        _fill(canvas, [near[i], near[i - 3], back[i - 3], back[i]], colour)
    # Furniture, pictures, bowls, cables.
    for length in np.sort(rng.uniform(0.03, 0.8, rng.integers(3, 25)) ** 1.5)[::-1]:
        shape = length * size * rng.choice([(1, 0.6), (0.5, 1), (1.5, 0.04)])
        thing = rng.uniform(0, size, 2), shape, rng.choice([0, rng.uniform(0, 180)])
        if rng.random() < 0.2:
            cv2.ellipse(canvas, thing, _colour(rng).tolist(), -1, cv2.LINE_AA)
        else:
            _fill(canvas, cv2.boxPoints(thing), _colour(rng))

    # Uneven light, mottle, blur, a colour cast and noise, as a cheap camera would add them.
    blur = rng.uniform(-0.5, 4.0) * size / 224
    if blur > 0.3:
        canvas = cv2.GaussianBlur(canvas, (0, 0), blur)
    light = np.ones((size, size), np.float32)
    for strength, cells in ((rng.uniform(0.05, 0.3), 3), (rng.uniform(0.0, 0.08), int(rng.integers(10, 60)))):
        coarse = rng.standard_normal((cells, cells), np.float32)
        light += strength * cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    cast = rng.normal(1, 0.06, 3) * rng.uniform(0.5, 1.25)
    return noisy(canvas * light[..., None] * cast.astype(np.float32), rng.uniform(0.0, 7.0), rng)


def _colour(rng: np.random.Generator) -> np.ndarray:
    """A colour of indoor things as RGB: any hue, mostly muted, or as often wood or skin brown."""
    if rng.random() < 0.5:
        hue, saturation, value = rng.random(), 0.9 * rng.random() ** 2, rng.uniform(0.15, 1.0)
    else:
        hue, saturation, value = rng.uniform((0.01, 0.2, 0.2), (0.12, 0.7, 0.95))
    return 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, value))


def _fill(canvas: np.ndarray, corners: object, colour: np.ndarray) -> None:
    """Fill the polygon with corners (x, y) in pixels, with a smooth border."""
    points = np.round(np.asarray(corners, np.float64) * 16).astype(np.int32)  # 4 fractional bits
    cv2.fillPoly(canvas, [points], colour.tolist(), cv2.LINE_AA, 4)


def noisy(picture: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """float32 (H, W, 3) in [0, 255] with normal noise of that deviation, as uint8."""
    noise = np.empty(picture.shape, np.int16)
    # OpenCV's generator is several times as fast as NumPy's; seeding it from ours keeps the picture a function of rng.
    cv2.setRNGSeed(int(rng.integers(2**31)))
    cv2.randn(noise, (0, 0, 0), (1000.0,) * 3)
    return np.clip(np.rint(picture + noise * np.float32(deviation / 1000)), 0, 255).astype(np.uint8)


WINDOW = 2.1  # side of the crop over the root of the hand's area: the hand covers 1 / 2.1^2 = 23 % of the output


class Placement(NamedTuple):
    """How a hand lies: shifts as fractions of the output's side."""

    right: float = 0.0
    down: float = 0.0
    zoom: float = 1.0
    mirror: bool = False


AS_IT_IS = Placement()


def random_placement(
    rng: np.random.Generator, *, shift: float = 0.06, zoom: tuple[float, float] = (0.9, 1.1)
) -> Placement:
    """Draw a placement, mirrored every other time; defaults are the classification study's."""
    right, down = rng.uniform(-shift, shift, 2)
    size = float(np.exp(rng.uniform(*np.log(zoom))))
    return Placement(right, down, size, bool(rng.random() < 0.5))


def mask_of_crop(image: np.ndarray) -> np.ndarray:
    """Mask, bool (H, W), of a uint8 RGB (H, W, 3) hand on exactly white or exactly SynthHands' key colour, if there is any.

    Spots of the background's colour under 0.1 % of the picture are highlights of the hand.
    """
    candidates = [(image == colour).all(-1) for colour in ((255, 255, 255), SYNTHETIC_KEY)]
    background = max(candidates, key=np.count_nonzero)
    labels, areas = components(background, connectivity=4)
    return (areas < max(2, background.size // 1000))[labels]


def paste_hand(
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
