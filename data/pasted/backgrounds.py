"""Backgrounds behind hands for the classification study: photographs of a folder, or rooms drawn from a seed.

The paper pastes hands on random indoor scenes (Fig. 6; MIT Indoor Scenes, Quattoni and Torralba 2009). Whatever the
source, a background is drawn from the random generator alone: the class of the hand is not an input, so that every
class meets the same pool, equally often.
"""

import colorsys
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from data.listing import images_below
from util.errors import UsageError
from util.images import FORMATS, ImageError, read_rgb

log = logging.getLogger(__name__)

Background = Callable[[np.random.Generator], np.ndarray]
"""Draws one background, uint8 RGB (size, size, 3), from a random generator."""

HELD_OUT = 5  # every fifth photograph is kept for testing


def open_backgrounds(root: str | os.PathLike | None, *, size: int, part: str) -> Background:
    """The source of backgrounds of `size` pixels a side: photographs below `root`, or drawn rooms where it is None.

    part: "train" or "test". No photograph serves in both; drawn rooms never repeat.
    Raises UsageError if `root` holds fewer than ten photographs.
    """
    if root is None:
        return partial(draw_room, size)  # unlike a lambda, it can be sent to workers
    return Photographs(photographs(root, part), size=size, root=root)


class Photographs:
    """Draws crops of photographs, of `size` pixels a side. Files that cannot be read are named, once, and left out."""

    def __init__(self, paths: list[Path], *, size: int, root: str | os.PathLike) -> None:
        self.paths, self.size, self.root = paths, size, root
        self._bad: set[Path] = set()

    def __call__(self, rng: np.random.Generator) -> np.ndarray:
        first = rng.integers(len(self.paths))
        for path in [*self.paths[first:], *self.paths[:first]]:  # the next one that can be read
            try:
                if path not in self._bad:
                    return random_crop(read_rgb(path), self.size, rng)
            except ImageError as error:
                self._bad.add(path)
                log.warning("left out: %s", error)
        raise UsageError(
            f"none of the {len(self.paths)} photographs in {self.root} can be read; give another --background_root"
        )


def photographs(root: str | os.PathLike, part: str) -> list[Path]:
    """The image files below `root`, at any depth, that serve in "train" (four fifths) or "test" (one fifth).

    They are held out evenly over the sorted list and so over its folders (room types). Raises UsageError if there are
    fewer than ten.
    """
    paths = sorted(images_below(Path(root)))
    if len(paths) < 2 * HELD_OUT:
        raise UsageError(
            f"{root} holds {len(paths)} photographs ({FORMATS}), at least {2 * HELD_OUT} are needed: "
            "give another --background_root, or none for backgrounds that the project draws"
        )
    return [path for i, path in enumerate(paths, start=1) if (i % HELD_OUT == 0) == (part == "test")]


def random_crop(photograph: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of uint8 (H, W, 3), half to all of its short side, scaled to (size, size, 3), mirrored or not."""
    height, width = photograph.shape[:2]
    side = max(1, round(min(height, width) * rng.uniform(0.5, 1.0)))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    crop = photograph[top : top + side, left : left + side]
    crop = np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)


def draw_room(size: int, rng: np.random.Generator) -> np.ndarray:
    """An indoor-like scene, uint8 RGB (size, size, 3), from the generator's state alone.

    A box in one-point perspective with floor boards, pictures, furniture and clutter; then uneven light, blur, a colour
    cast and noise. Not meant to deceive anybody: only to vary in colour (browns of skin included), texture, edges and
    sharpness more than hands do.
    """
    canvas = np.empty((size, size, 3), np.uint8)
    vanishing = rng.uniform([0.2, 0.25], [0.8, 0.6]) * size
    floor = _walls(canvas, vanishing, rng)
    for _ in range(rng.integers(0, 4)):  # pictures, windows and screens on the back wall, in their frames
        (width, height), frame = rng.uniform(0.08, 0.35, 2) * size, rng.uniform(1, 4)
        x, y = rng.uniform(0, size - width), rng.uniform(0, max(1.0, floor - height))
        _fill(canvas, _rectangle(x - frame, y - frame, width + 2 * frame, height + 2 * frame), _colour(rng))
        _fill(canvas, _rectangle(x, y, width, height), _colour(rng))
    for depth in np.sort(rng.uniform(0.0, 1.0, rng.integers(1, 6))):  # far pieces first
        _furniture(canvas, vanishing, floor, depth, rng)
    for _ in range(rng.integers(0, 12)):
        _clutter(canvas, rng)
    return _photograph(canvas, rng)


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """A colour of indoor things as RGB: any hue, mostly muted, or as often wood or skin brown."""
    if rng.random() < 0.5:
        hue, saturation, value = rng.random(), 0.9 * rng.random() ** 2, rng.uniform(0.15, 1.0)
    else:
        hue, saturation, value = rng.uniform(0.01, 0.12), rng.uniform(0.2, 0.7), rng.uniform(0.2, 0.95)
    return _shade(tuple(255 * channel for channel in colorsys.hsv_to_rgb(hue, saturation, value)), 1.0)


def _shade(colour: tuple[float, ...], factor: float) -> tuple[int, ...]:
    return tuple(min(255, max(0, round(channel * factor))) for channel in colour)


def _rectangle(x: float, y: float, width: float, height: float) -> np.ndarray:
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])


def _fill(canvas: np.ndarray, corners: object, colour: tuple[int, ...]) -> None:
    """Fill the polygon with corners (x, y) in pixels, with a smooth border."""
    points = np.round(np.asarray(corners, np.float64) * 16).astype(np.int32)  # 4 fractional bits
    cv2.fillPoly(canvas, [points], colour, cv2.LINE_AA, 4)


def _line(canvas: np.ndarray, start: object, end: object, colour: tuple[int, ...], width: int = 1) -> None:
    ends = [tuple(int(v) for v in np.round(np.asarray(point, np.float64) * 16)) for point in (start, end)]
    cv2.line(canvas, *ends, colour, width, cv2.LINE_AA, 4)


def _walls(canvas: np.ndarray, vanishing: np.ndarray, rng: np.random.Generator) -> float:
    """Back wall, side walls, ceiling and a boarded floor; returns the y of the back wall's foot in pixels."""
    size = len(canvas)
    near = vanishing + (_rectangle(0, 0, size, size) - vanishing) * 1.4  # beyond the picture's border on every side
    back = vanishing + (near - vanishing) * rng.uniform(0.3, 0.75)
    wall, ceiling, ground = _colour(rng), _shade(_colour(rng), 1.2), _colour(rng)
    canvas[:] = wall
    for i, (colour, light) in enumerate([(ceiling, 1.0), (wall, 0.85), (ground, 1.0), (wall, 0.7)]):
        j = (i + 1) % 4
        _fill(canvas, [near[i], near[j], back[j], back[i]], _shade(colour, light))
    seam, count = _shade(ground, rng.uniform(0.6, 0.9)), rng.integers(4, 16)
    for start, end in zip(np.linspace(back[3], back[2], count), np.linspace(near[3], near[2], count)):
        _line(canvas, start, end, seam)
    return float(back[2, 1])


def _furniture(canvas: np.ndarray, vanishing: np.ndarray, floor: float, depth: float, rng: np.random.Generator) -> None:
    """A box (chest, sofa, shelf) standing on the floor; depth 0 is at the back wall, 1 near the camera."""
    size = len(canvas)
    foot = floor + (1.1 * size - floor) * depth
    width, height = rng.uniform(0.15, 0.5) * size, rng.uniform(0.12, 0.55) * size
    x = rng.uniform(-0.2 * size, size - 0.4 * width)
    colour = _colour(rng)
    front = _rectangle(x, foot - height, width, height)
    behind = vanishing + (front - vanishing) * rng.uniform(0.65, 0.9)
    left, right = (0, 3) if x > vanishing[0] else (1, 2)  # the side that is seen
    _fill(canvas, [behind[0], behind[1], front[1], front[0]], _shade(colour, 1.2))
    _fill(canvas, [front[left], behind[left], behind[right], front[right]], _shade(colour, 0.6))
    _fill(canvas, front, colour)
    for y in np.linspace(foot - height, foot, rng.integers(1, 6)):  # drawers, cushions, shelves
        _line(canvas, (x, y), (x + width, y), _shade(colour, 0.55))


def _clutter(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """A bowl, a box or a cable: an ellipse, a turned quadrangle or a line."""
    size = len(canvas)
    centre, axes = rng.uniform(0, size, 2), rng.uniform(0.02, 0.18, 2) * size
    angle, colour, kind = rng.uniform(0, 180), _colour(rng), rng.integers(3)
    if kind == 0:
        cv2.ellipse(canvas, (tuple(centre), tuple(2 * axes), angle), colour, -1, cv2.LINE_AA)
    elif kind == 1:
        _fill(canvas, cv2.boxPoints((tuple(centre), tuple(2 * axes), angle)), colour)
    else:
        _line(canvas, centre, rng.uniform(0, size, 2), colour, int(rng.integers(1, 5)))


def _photograph(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uneven light, mottle, blur, a colour cast and sensor noise, as a cheap camera would add them."""
    size = len(canvas)
    blur = max(0.0, rng.uniform(-0.5, 4.0)) * size / 224
    if blur > 0.3:
        canvas = cv2.GaussianBlur(canvas, (0, 0), blur)
    light = np.ones((size, size), np.float32)
    for strength, cells in ((rng.uniform(0.05, 0.3), 3), (rng.uniform(0.0, 0.08), int(rng.integers(10, 60)))):
        coarse = rng.standard_normal((cells, cells), np.float32)
        light += strength * cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    cast = rng.normal(1, 0.06, 3).astype(np.float32) * np.float32(rng.uniform(0.6, 1.15))
    scene = cv2.multiply(canvas.astype(np.float32), cv2.merge([light * channel for channel in cast]))
    return noisy(scene, rng.uniform(0.0, 7.0), rng)


def noisy(picture: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """float32 (H, W, 3) in [0, 255] with normal noise of that deviation, as uint8."""
    noise = np.empty(picture.shape, np.int16)
    # OpenCV's generator is several times as fast as NumPy's; seeding it from ours keeps the picture a function of rng.
    cv2.setRNGSeed(int(rng.integers(2**31)))
    cv2.randn(noise, (0, 0, 0), (1000.0,) * 3)
    return np.clip(np.rint(picture + noise * np.float32(deviation / 1000)), 0, 255).astype(np.uint8)
