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
from util.image_header import FORMATS
from util.images import ImageError, read_rgb

log = logging.getLogger(__name__)

Background = Callable[[np.random.Generator], np.ndarray]
"""Draws one background, uint8 RGB (size, size, 3), from a random generator."""

HELD_OUT = 5  # every fifth photograph is kept for testing


def open_backgrounds(root: str | os.PathLike | None, *, size: int, part: str) -> Background:
    """The source of backgrounds of `size` pixels a side: photographs below `root`, or drawn rooms where it is None.

    part: "train" or "test". No photograph serves in both; drawn rooms never repeat.
    Raises UsageError if `root` holds fewer than ten photographs.
    """
    if part not in ("train", "test"):
        raise ValueError(f"part is {part!r}; it must be train or test")
    if root is None:
        return partial(draw_room, size)  # unlike a lambda, it can be sent to workers
    return Photographs(split_photographs(list_photographs(root))[part], size=size, root=root)


class Photographs:
    """Draws crops of photographs, of `size` pixels a side. Files that cannot be read are named, once, and left out."""

    def __init__(self, paths: list[Path], *, size: int, root: str | os.PathLike) -> None:
        self.paths, self.size, self.root = paths, size, root
        self._bad: set[Path] = set()

    def __call__(self, rng: np.random.Generator) -> np.ndarray:
        first = rng.integers(len(self.paths))
        for path in [*self.paths[first:], *self.paths[:first]]:  # the next one that can be read
            if path in self._bad:
                continue
            try:
                return random_crop(read_rgb(path), self.size, rng)
            except ImageError as error:
                self._bad.add(path)
                log.warning("left out: %s", error)
        raise UsageError(
            f"none of the {len(self.paths)} photographs in {self.root} can be read; give another --background_root"
        )


def list_photographs(root: str | os.PathLike) -> list[Path]:
    """All image files below `root`, at any depth, sorted. Raises UsageError if there are fewer than ten."""
    root = Path(root)
    paths = sorted(images_below(root))
    if len(paths) < 2 * HELD_OUT:
        raise UsageError(
            f"{root} holds {len(paths)} photographs ({FORMATS}), at least {2 * HELD_OUT} are needed: "
            "give another --background_root, or none for backgrounds that the project draws"
        )
    return paths


def split_photographs(paths: list[Path]) -> dict[str, list[Path]]:
    """{"train": four fifths, "test": one fifth}, evenly over the sorted list and so over its folders (room types)."""
    return {
        "train": [path for i, path in enumerate(paths) if i % HELD_OUT != HELD_OUT - 1],
        "test": paths[HELD_OUT - 1 :: HELD_OUT],
    }


def random_crop(photograph: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of uint8 (H, W, 3), half to all of its short side, scaled to (size, size, 3), mirrored or not."""
    height, width = photograph.shape[:2]
    side = max(1, round(min(height, width) * rng.uniform(0.5, 1.0)))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    crop = photograph[top : top + side, left : left + side]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    interpolation = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(crop), (size, size), interpolation=interpolation)


def draw_room(size: int, rng: np.random.Generator) -> np.ndarray:
    """An indoor-like scene, uint8 RGB (size, size, 3), from the generator's state alone.

    A box in one-point perspective with floor boards or tiles, pictures, windows, furniture and clutter, or a surface
    seen from near; then uneven light, blur, a colour cast and noise. Not meant to deceive anybody: only to vary in
    colour (browns of skin included), texture, edges and sharpness more than hands do.
    """
    canvas = np.empty((size, size, 3), np.uint8)
    if rng.random() < 0.2:
        canvas[:] = _colour(rng)
        _stripes(canvas, rng)
        _clutter(canvas, rng, count=int(rng.integers(2, 14)), top=0.0)
    else:
        vanishing = rng.uniform([0.2, 0.25], [0.8, 0.6]) * size
        floor = _walls(canvas, vanishing, rng)
        for _ in range(rng.integers(0, 4)):
            _picture(canvas, rng, bottom=floor)
        for depth in np.sort(rng.uniform(0.0, 1.0, rng.integers(1, 6))):  # far pieces first
            _furniture(canvas, vanishing, floor, depth, rng)
        _clutter(canvas, rng, count=int(rng.integers(0, 8)), top=0.4)
    return _photograph(canvas, rng)


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """A colour of indoor things as RGB: mostly muted, often wood or skin brown, now and then vivid."""
    kind = rng.random()
    if kind < 0.4:  # paint, cloth, metal
        hue, saturation, value = rng.random(), rng.uniform(0, 0.3), rng.uniform(0.15, 1.0)
    elif kind < 0.85:  # wood, cardboard, skin
        hue, saturation, value = rng.uniform(0.01, 0.12), rng.uniform(0.2, 0.7), rng.uniform(0.2, 0.95)
    else:
        hue, saturation, value = rng.random(), rng.uniform(0.3, 0.9), rng.uniform(0.3, 1.0)
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _shade(colour: tuple[int, int, int], factor: float) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in colour)
    return red, green, blue


def _fill(canvas: np.ndarray, corners: object, colour: tuple[int, int, int]) -> None:
    """Fill the polygon with corners (x, y) in pixels, with a smooth border."""
    points = np.round(np.asarray(corners, np.float64) * 16).astype(np.int32)  # 4 fractional bits
    cv2.fillPoly(canvas, [points], colour, cv2.LINE_AA, 4)


def _line(canvas: np.ndarray, start: object, end: object, colour: tuple[int, int, int], width: int = 1) -> None:
    ends = [tuple(int(v) for v in np.round(np.asarray(point, np.float64) * 16)) for point in (start, end)]
    cv2.line(canvas, *ends, colour, width, cv2.LINE_AA, 4)


def _walls(canvas: np.ndarray, vanishing: np.ndarray, rng: np.random.Generator) -> float:
    """Back wall, side walls, ceiling and a boarded or tiled floor; returns the y of the back wall's foot in pixels."""
    size = len(canvas)
    near = np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float64)
    near = vanishing + (near - vanishing) * 1.4  # beyond the picture's border on every side
    back = vanishing + (near - vanishing) * rng.uniform(0.3, 0.75)
    wall, ceiling, ground = _colour(rng), _shade(_colour(rng), 1.2), _colour(rng)
    canvas[:] = wall
    for i, (colour, light) in enumerate([(ceiling, 1.0), (wall, 0.85), (ground, 1.0), (wall, 0.7)]):
        j = (i + 1) % 4
        _fill(canvas, [near[i], near[j], back[j], back[i]], _shade(colour, light))
    if rng.random() < 0.3:  # wallpaper
        for x in np.linspace(back[0, 0], back[1, 0], rng.integers(6, 30)):
            _line(canvas, (x, back[0, 1]), (x, back[3, 1]), _shade(wall, 0.9))
    seam = _shade(ground, rng.uniform(0.6, 0.9))
    count = rng.integers(4, 16)
    for start, end in zip(np.linspace(back[3], back[2], count), np.linspace(near[3], near[2], count)):
        _line(canvas, start, end, seam)
    if rng.random() < 0.5:
        for t in np.linspace(0, 1, rng.integers(3, 10)) ** 2:  # cross seams crowd towards the back
            _line(canvas, back[3] + t * (near[3] - back[3]), back[2] + t * (near[2] - back[2]), seam)
    skirting = _shade(wall, rng.uniform(0.5, 1.3))
    _line(canvas, back[3], back[2], skirting, int(rng.integers(1, 4)))
    return float(back[2, 1])


def _picture(canvas: np.ndarray, rng: np.random.Generator, *, bottom: float) -> None:
    """A framed picture, a window or a screen on the back wall, above y = bottom."""
    size = len(canvas)
    width, height = rng.uniform(0.08, 0.35, 2) * size
    x, y = rng.uniform(0, size - width), rng.uniform(0, max(1.0, bottom - height))
    frame = rng.uniform(1, 4)
    _fill(canvas, _rectangle(x - frame, y - frame, width + 2 * frame, height + 2 * frame), _colour(rng))
    pane = (235, 242, 250) if rng.random() < 0.35 else _colour(rng)
    _fill(canvas, _rectangle(x, y, width, height), pane)
    for _ in range(rng.integers(0, 4)):
        along = rng.uniform(0, 1)
        start, end = ((x + along * width, y), (x + along * width, y + height))
        if rng.random() < 0.5:
            start, end = ((x, y + along * height), (x + width, y + along * height))
        _line(canvas, start, end, _colour(rng), int(rng.integers(1, 3)))


def _rectangle(x: float, y: float, width: float, height: float) -> np.ndarray:
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])


def _furniture(canvas: np.ndarray, vanishing: np.ndarray, floor: float, depth: float, rng: np.random.Generator) -> None:
    """A box (chest, sofa, shelf) or a table standing on the floor; depth 0 is at the back wall, 1 near the camera."""
    size = len(canvas)
    foot = floor + (1.1 * size - floor) * depth
    width, height = rng.uniform(0.15, 0.5) * size, rng.uniform(0.12, 0.55) * size
    x = rng.uniform(-0.2 * size, size - 0.4 * width)
    colour = _colour(rng)
    front = _rectangle(x, foot - height, width, height)
    behind = vanishing + (front - vanishing) * rng.uniform(0.65, 0.9)
    if rng.random() < 0.3:  # a table: a slab on legs
        leg, slab = rng.uniform(2, 6), rng.uniform(2, 8)
        for corners in (behind, front):
            for left in (corners[0, 0], corners[1, 0] - leg):
                _fill(canvas, _rectangle(left, corners[0, 1], leg, corners[3, 1] - corners[0, 1]), _shade(colour, 0.6))
        _fill(canvas, [behind[0], behind[1], front[1], front[0]], _shade(colour, 1.15))
        _fill(canvas, _rectangle(x, foot - height, width, slab), colour)
        return
    _fill(canvas, [behind[0], behind[1], front[1], front[0]], _shade(colour, 1.2))
    side = (0, 3) if x > vanishing[0] else (1, 2)
    _fill(canvas, [front[side[0]], behind[side[0]], behind[side[1]], front[side[1]]], _shade(colour, 0.6))
    _fill(canvas, front, colour)
    if rng.random() < 0.6:  # drawers, cushions, or a shelf with books
        for t in np.linspace(0, 1, rng.integers(2, 6)):
            y = foot - height + t * height
            _line(canvas, (x, y), (x + width, y), _shade(colour, 0.55))
    if rng.random() < 0.35:
        books, left = rng.uniform(0.1, 0.2) * size, x
        while left < x + width:
            thick, tall = rng.uniform(2, 8), books * rng.uniform(0.7, 1.0)
            _fill(canvas, _rectangle(left, foot - 0.5 * height - tall, thick, tall), _colour(rng))
            left += thick


def _clutter(canvas: np.ndarray, rng: np.random.Generator, *, count: int, top: float) -> None:
    """Cushions, bowls, boxes, cables: ellipses, turned quadrangles and lines below the fraction `top` of the height."""
    size = len(canvas)
    for _ in range(count):
        centre = rng.uniform([0.0, top], [1.0, 1.0]) * size
        axes, angle, colour = rng.uniform(0.02, 0.18, 2) * size, rng.uniform(0, 180), _colour(rng)
        kind = rng.random()
        if kind < 0.45:
            cv2.ellipse(canvas, (tuple(centre), tuple(2 * axes), angle), colour, -1, cv2.LINE_AA)
            cv2.ellipse(canvas, (tuple(centre - 0.2 * axes), tuple(1.1 * axes), angle), _shade(colour, 1.15), -1)
        elif kind < 0.8:
            _fill(canvas, cv2.boxPoints((tuple(centre), tuple(2 * axes), angle)), colour)
        else:
            _line(canvas, centre, rng.uniform(0, size, 2), colour, int(rng.integers(1, 5)))


def _stripes(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """Boards, tiles or woven cloth on a surface seen from near: one or two sets of parallel lines, or none."""
    size = len(canvas)
    colour = tuple(int(v) for v in canvas[0, 0])
    for _ in range(rng.integers(0, 3)):
        angle, step = rng.uniform(0, np.pi), rng.uniform(4, 40)
        along = np.array([np.cos(angle), np.sin(angle)]) * size
        across = np.array([-np.sin(angle), np.cos(angle)])
        seam = _shade(colour, rng.uniform(0.7, 1.2))
        for offset in np.arange(-0.8 * size, 0.8 * size, step):
            centre = size / 2 + across * offset
            _line(canvas, centre - along, centre + along, seam, int(rng.integers(1, 4)))


def _smooth_field(size: int, cells: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise, float32 (size, size), of about unit deviation and `cells` bumps across."""
    coarse = rng.standard_normal((cells, cells), np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def _photograph(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uneven light, mottle, a lamp's glow, blur, a colour cast and sensor noise, as a cheap camera would add them."""
    size = len(canvas)
    if rng.random() < 0.5:
        canvas = np.ascontiguousarray(canvas[:, ::-1])
    blur = max(0.0, rng.uniform(-0.3, 2.5)) * size / 224
    if blur > 0.3:
        canvas = cv2.GaussianBlur(canvas, (0, 0), blur)
    light = 1 + rng.uniform(0.05, 0.3) * _smooth_field(size, 3, rng)
    light += rng.uniform(0.0, 0.08) * _smooth_field(size, int(rng.integers(10, 60)), rng)
    if rng.random() < 0.3:
        x, y = rng.uniform(0, size, 2)
        ramp = np.arange(size, dtype=np.float32)
        spread = rng.uniform(0.05, 0.25) * size
        glow = [np.exp(-(((ramp - centre) / spread) ** 2)) for centre in (y, x)]
        light += rng.uniform(0.3, 1.0) * np.outer(*glow)
    cast = rng.normal(1, 0.06, 3).astype(np.float32) * np.float32(rng.uniform(0.6, 1.15))
    scene = cv2.multiply(canvas.astype(np.float32), cv2.merge([light * channel for channel in cast]))
    noise = np.empty((size, size, 3), np.int16)
    # OpenCV's generator is several times as fast as NumPy's; seeding it from ours keeps the picture a function of rng.
    cv2.setRNGSeed(int(rng.integers(2**31)))
    cv2.randn(noise, (0, 0, 0), (1000.0,) * 3)
    scene += noise * np.float32(rng.uniform(0.0, 7.0) / 1000)
    return np.clip(np.rint(scene), 0, 255).astype(np.uint8)
