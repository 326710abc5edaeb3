"""What is painted on the demo's real-look hands: tone, mottling, creases, veins, freckles and nails of seven subjects.

Everything painted lives on two maps of the resting hand, palm side and back side, seen from straight above, half a
millimetre a pixel; the thumb, which lies turned in the resting hand, has two maps of its own.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from data.demo.skeleton import Person, make_person
from data.demo.surface import smoothstep

PIXELS_PER_MM = 2.0
MAP_LOW = np.array([-72.0, -64.0])
_MAP_SHAPE = (580, 376)  # rows (towards the fingers), columns (towards the thumb)
_THUMB_SHAPE = (320, 160)  # rows: 0 to 3.2 bones along, columns: -1.6 to 1.6 half-widths across


@dataclass(frozen=True)
class Look:
    """A subject's skin. back, palm: sRGB 0-255. The rest are strengths around 0 to 1."""

    back: tuple[int, int, int]
    palm: tuple[int, int, int]
    red: float
    veins: float
    freckles: float
    wrinkles: float
    shine: float


LOOKS = (
    Look((233, 194, 174), (236, 189, 172), 1.00, 0.8, 0.0, 0.6, 0.25),
    Look((224, 178, 150), (230, 178, 154), 0.85, 0.3, 1.0, 0.5, 0.30),
    Look((208, 164, 130), (220, 170, 142), 0.65, 0.7, 0.0, 1.0, 0.35),
    Look((188, 140, 104), (210, 158, 126), 0.55, 0.3, 0.1, 0.7, 0.45),
    Look((156, 108, 78), (196, 144, 114), 0.40, 0.4, 0.0, 0.9, 0.55),
    Look((118, 78, 56), (182, 130, 104), 0.30, 0.2, 0.0, 0.8, 0.55),
    Look((84, 56, 43), (160, 112, 91), 0.25, 0.1, 0.0, 1.0, 0.55),
)
# size, slender, bony
_BUILDS = (
    (0.90, 1.10, 0.3),
    (0.96, 1.06, 0.5),
    (1.00, 0.98, 0.9),
    (0.93, 1.0, 0.4),
    (1.03, 0.97, 0.7),
    (0.97, 1.08, 0.8),
    (1.05, 1.03, 0.6),
)


def make_subject(index: int, rng: np.random.Generator) -> Person:
    """The hand of real-look subject 0 to 6."""
    size, slender, bony = _BUILDS[index]
    return make_person(rng, size=size, slender=slender, bony=bony)


@dataclass(frozen=True)
class Paint:
    """A subject's painted maps, by "palm", "back", "thumb_palm" and "thumb_back". Each is a pair of float32 arrays:
    albedo (rows, columns, 3), linear RGB in [0, 1]; relief (rows, columns, 2), height in about mm and gloss factor."""

    maps: dict[str, tuple[np.ndarray, np.ndarray]]
    shine: float


def _noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Smooth noise of unit spread, features about cell pixels across."""
    small = rng.standard_normal((max(3, int(shape[0] / cell) + 3), max(3, int(shape[1] / cell) + 3))).astype(np.float32)
    size = (int(small.shape[1] * cell) + 1, int(small.shape[0] * cell) + 1)
    field = cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)
    return field[: shape[0], : shape[1]] / 0.62


class _Canvas:
    """Strokes on a map, in the map's own units, gathered by kind."""

    def __init__(self, shape: tuple[int, int], low: np.ndarray, scale: np.ndarray) -> None:
        self.shape, self.low, self.scale = shape, low, scale

    def stroke(self, layer: np.ndarray, points: np.ndarray, width_px: float, strength: float) -> None:
        """Add a soft line through points (N, 2) to layer, keeping the stronger where lines cross."""
        at = (np.asarray(points) - self.low) * self.scale
        fresh = np.zeros(self.shape, np.uint8)
        thick = max(1, int(round(width_px)))
        cv2.polylines(fresh, [np.round(at * 16).astype(np.int32)], False, 255, thick, cv2.LINE_AA, 4)
        np.maximum(layer, fresh * np.float32(strength / 255), out=layer)

    def spot(self, layer: np.ndarray, centre: np.ndarray, radius_px: float, strength: float) -> None:
        """Add a soft round spot to layer."""
        at = (np.asarray(centre) - self.low) * self.scale
        reach = int(3 * radius_px) + 1
        x0, y0 = np.round(at).astype(int) - reach
        ys, xs = np.mgrid[y0 : y0 + 2 * reach + 1, x0 : x0 + 2 * reach + 1]
        ok = (ys >= 0) & (xs >= 0) & (ys < self.shape[0]) & (xs < self.shape[1])
        value = strength * np.exp(-((xs - at[0]) ** 2 + (ys - at[1]) ** 2) / (2 * radius_px**2))
        layer[ys[ok], xs[ok]] += value[ok].astype(np.float32)


def _linear(srgb) -> np.ndarray:
    return (np.asarray(srgb, np.float32) / 255) ** 2.2


def _arc(centre, direction, half: float, bow: float, rng) -> np.ndarray:
    """A short line across a finger, bowed along it."""
    across = np.array([direction[1], -direction[0]])
    t = np.linspace(-1, 1, 7)
    wobble = rng.normal(0, 0.12, 7)
    return centre + t[:, None] * half * across + (bow * (t**2 - 0.4) + wobble)[:, None] * direction


def _nail(canvas: _Canvas, maps: dict, base, direction, length: float, half: float, look: Look) -> None:
    """Paint a nail from base along direction: plate, paler half-moon, white free edge, darker fold around it."""
    middle = (np.asarray(base) + np.asarray(direction) * length / 2 - canvas.low) * canvas.scale
    low = np.maximum(middle - length * canvas.scale[1], 0).astype(int)
    high = np.ceil(middle + length * canvas.scale[1]).astype(int)
    rows, columns = np.mgrid[low[1] : min(high[1], canvas.shape[0]), low[0] : min(high[0], canvas.shape[1])]
    block = (slice(low[1], high[1]), slice(low[0], high[0]))
    x = columns / canvas.scale[0] + canvas.low[0] - base[0]
    y = rows / canvas.scale[1] + canvas.low[1] - base[1]
    along = (x * direction[0] + y * direction[1]) / length
    across = (x * direction[1] - y * direction[0]) / half
    # A superellipse, square towards the tip.
    power = 2.6
    edge = np.abs(across) ** power + np.abs((along - 0.52) / 0.52) ** power
    plate = smoothstep(1.12, 0.88, edge)
    fold = np.exp(-(((edge - 1.18) / 0.30) ** 2)) * (along < 0.95)
    tip = plate * smoothstep(0.84, 0.94, along)
    moon = plate * smoothstep(0.30, 0.12, along + 0.25 * across**2)
    tint = 0.30 * _linear(look.back) + 0.52 * _linear(look.palm) + 0.18 * _linear((246, 196, 188))
    albedo = maps["albedo"][block]
    albedo[:] = albedo * (1 - 0.9 * plate[..., None]) + 0.9 * plate[..., None] * tint
    albedo += moon[..., None] * (0.03, 0.03, 0.03) + tip[..., None] * (0.06, 0.065, 0.06)
    albedo *= 1 - 0.42 * fold[..., None] * np.array([0.7, 1.0, 1.0], np.float32)
    maps["height"][block] += 0.35 * plate - 0.45 * fold
    maps["gloss"][block] = np.maximum(maps["gloss"][block], 1 + 2.2 * plate)


def _fresh(canvas: _Canvas, base: np.ndarray, look: Look, rng: np.random.Generator, *, palm: bool) -> dict:
    """Bare skin of one map: base colour, mottling, fine grain."""
    shape = canvas.shape
    blotch = 0.6 * _noise(rng, shape, 22) + 0.4 * _noise(rng, shape, 9)
    grain = _noise(rng, shape, 3.2)
    melanin = _noise(rng, shape, 30)
    albedo = base * np.ones(shape + (1,), np.float32)
    flush = (0.5 + 0.7 * look.red) * (1.2 if palm else 0.8)
    pink = blotch[..., None] * np.array([0.015, 0.055, 0.05], np.float32) * flush
    dark = melanin[..., None] * np.array([0.03, 0.04, 0.05], np.float32)
    albedo = albedo * (1 - pink) * (1 - dark) * (1 + 0.02 * grain[..., None])
    height = 0.05 * grain + 0.05 * _noise(rng, shape, 6)
    return {"albedo": albedo, "height": height, "gloss": np.ones(shape, np.float32)}


def _redden(maps: dict, layer: np.ndarray, look: Look) -> None:
    tint = np.array([0.03, 0.24, 0.22], np.float32) * (0.35 + 0.65 * look.red)
    maps["albedo"] *= 1 - np.clip(layer, 0, 1.2)[..., None] * tint


def _crease(maps: dict, layer: np.ndarray, look: Look, *, depth: float) -> None:
    soft = cv2.GaussianBlur(layer, (0, 0), 1.3)
    wide = cv2.GaussianBlur(layer, (0, 0), 3.0)
    amount = np.clip(soft * 1.1 + wide * 0.5, 0, 1)[..., None]
    maps["albedo"] *= 1 - amount * np.array([0.42, 0.56, 0.60], np.float32) * (0.8 + 0.2 * look.wrinkles)
    maps["height"] -= depth * (soft + 0.8 * wide)
    maps["gloss"] *= 1 - 0.6 * amount[..., 0]


def _finish(maps: dict) -> tuple[np.ndarray, np.ndarray]:
    albedo = np.clip(maps["albedo"], 0.005, 0.95).astype(np.float32)
    return albedo, np.dstack([maps["height"], maps["gloss"]]).astype(np.float32)


def _fingers(person: Person):
    for chain in range(1, 5):
        bones = person.joints[1 + 4 * chain : 5 + 4 * chain, :2]
        yield bones, person.dirs[chain, 0, :2] / np.linalg.norm(person.dirs[chain, 0, :2]), person.radii[chain]


def _paint_palm(person: Person, look: Look, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    canvas = _Canvas(_MAP_SHAPE, MAP_LOW, np.array([PIXELS_PER_MM] * 2))
    maps = _fresh(canvas, _linear(look.palm), look, rng, palm=True)
    red, fine, deep = (np.zeros(canvas.shape, np.float32) for _ in range(3))
    for bones, direction, radii in _fingers(person):
        canvas.spot(red, bones[3] - direction * 4, 14, 0.8)
        web = bones[0] + (bones[1] - bones[0]) * 0.47
        for joint, centre, lines in ((0, web, 2), (1, bones[1], 2), (2, bones[2], 1)):
            for i in range(lines):
                place = centre + direction * ((i - (lines - 1) / 2) * 2.6 + rng.normal(0, 0.3))
                arc = _arc(place, direction, radii[joint] * 1.15, rng.normal(0, 0.5), rng)
                canvas.stroke(deep, arc, 1, 0.85 - 0.2 * i)
            for _ in range(4):
                place = centre + direction * rng.normal(0, 4)
                arc = _arc(place, direction, radii[joint] * rng.uniform(0.5, 1), 0, rng)
                canvas.stroke(fine, arc, 1, rng.uniform(0.15, 0.35))
    width, size = person.palm
    knots = {
        "heart": [(-40, 62), (-28, 64), (-12, 67), (2, 73), (12, 83)],
        "head": [(42, 63), (28, 61), (10, 54), (-8, 45), (-26, 35)],
        "life": [(42, 61), (28, 56), (15, 43), (8, 27), (7, 8)],
    }
    t = np.linspace(0, 1, 40)
    for knot in knots.values():
        knot = (np.array(knot, float) + rng.normal(0, 1.8, (5, 2))) * (width, width)
        curve = sum(np.array([1, 4, 6, 4, 1])[i] * (t**i * (1 - t) ** (4 - i))[:, None] * knot[i] for i in range(5))
        curve = 0.45 * curve + 0.55 * np.stack([np.interp(t, np.linspace(0, 1, 5), knot[:, k]) for k in (0, 1)], 1)
        canvas.stroke(deep, curve, 1, 0.75)
        canvas.stroke(deep, curve[4:30], 2, 0.55)
    for _ in range(16):
        start = rng.uniform((-30, 15), (28, 80))
        step = rng.normal(0, 7, (2, 2)).cumsum(0)
        canvas.stroke(fine, np.vstack([start, start + step]), 1, rng.uniform(0.1, 0.4))
    for y in (2.5, -3.0, -9.0):
        line = np.stack([np.linspace(-28, 28, 9), y + rng.normal(0, 0.6, 9) - np.linspace(-1, 1, 9) ** 2], 1)
        canvas.stroke(deep, line, 1, rng.uniform(0.35, 0.65))
    for centre in ((-24, 40), (22, 32), (0, 82), (-18, 78), (20, 84)):
        canvas.spot(red, np.array(centre) * width, 24, 0.45)
    _redden(maps, red, look)
    _crease(maps, deep, look, depth=0.9)
    _crease(maps, fine * look.wrinkles, look, depth=0.4)
    rows = np.arange(canvas.shape[0]) / PIXELS_PER_MM + MAP_LOW[1]
    arm = smoothstep(8, -22, rows)[:, None, None].astype(np.float32)  # the inner arm is as dark as the back, nearly
    maps["albedo"] = maps["albedo"] * (1 - arm) + arm * (maps["albedo"] / _linear(look.palm)) * (
        0.75 * _linear(look.back) + 0.25 * _linear(look.palm)
    )
    return _finish(maps)


def _paint_back(person: Person, look: Look, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    canvas = _Canvas(_MAP_SHAPE, MAP_LOW, np.array([PIXELS_PER_MM] * 2))
    maps = _fresh(canvas, _linear(look.back), look, rng, palm=False)
    red, fine, deep, veins, cords = (np.zeros(canvas.shape, np.float32) for _ in range(5))
    for bones, direction, radii in _fingers(person):
        canvas.spot(red, bones[0], 13, 0.55)
        canvas.spot(red, bones[1], 11, 0.75)
        canvas.spot(red, bones[2], 9, 0.55)
        canvas.spot(red, bones[3], 10, 0.5)
        for joint, lines, spread in ((0, 3, 3.0), (1, 7, 3.4), (2, 4, 2.0)):
            for i in range(lines):
                shift = (i - (lines - 1) / 2) / max(lines - 1, 1) * 2 * spread + rng.normal(0, 0.3)
                half = radii[joint] * rng.uniform(0.5, 0.85)
                arc = _arc(bones[joint] + direction * shift, direction, half, -0.25 * shift, rng)
                canvas.stroke(deep if joint else fine, arc, 1, rng.uniform(0.25, 0.65))
        for _ in range(12):  # the fine cross-hatch of the back of a finger
            place = bones[0] + (bones[2] - bones[0]) * rng.uniform(0.1, 1)
            arc = _arc(place, direction, radii[1] * rng.uniform(0.2, 0.6), 0, rng)
            canvas.stroke(fine, arc, 1, rng.uniform(0.1, 0.3))
        wrist = np.array([bones[0, 0] * 0.35, 8.0])
        canvas.stroke(cords, np.array([wrist, bones[0]]), 7, 0.6)
    for start in (-14, -2, 10, 18):
        x, y = start + rng.normal(0, 3), -50.0
        path = [(x, y)]
        while y < 76:
            x += rng.normal(0, 3.2) + (0.02 * (start * 1.6 - x))
            y += rng.uniform(6, 11)
            path.append((x, y))
            if rng.random() < 0.18:
                side = rng.choice((-1, 1))
                canvas.stroke(veins, np.array([(x, y), (x + 6 * side, y + 9), (x + 9 * side, y + 20)]), 3, 0.6)
        canvas.stroke(veins, np.array(path), 4, 0.9)
    _redden(maps, red, look)
    veins = cv2.GaussianBlur(veins, (0, 0), 2.4)
    maps["albedo"] *= 1 - (look.veins * veins)[..., None] * np.array([0.26, 0.13, 0.07], np.float32)
    maps["height"] += 0.5 * look.veins * cv2.GaussianBlur(veins, (0, 0), 1.5)
    maps["height"] += 1.5 * person.bony * cv2.GaussianBlur(cords, (0, 0), 4.0)
    _crease(maps, deep, look, depth=0.8)
    _crease(maps, fine * look.wrinkles * 0.7, look, depth=0.4)
    spots = np.zeros(canvas.shape, np.float32)
    for _ in range(int(160 * look.freckles) + 8):
        canvas.spot(spots, rng.uniform((-45, -60), (60, 150)), rng.uniform(0.9, 1.9), rng.uniform(0.2, 0.7))
    maps["albedo"] *= 1 - np.clip(spots, 0, 1)[..., None] * np.array([0.22, 0.34, 0.42], np.float32)
    for bones, direction, radii in _fingers(person):
        length = np.linalg.norm(bones[3] - bones[2])
        _nail(canvas, maps, bones[2] + direction * length * 0.44, direction, length * 0.60, radii[3] * 0.80, look)
    return _finish(maps)


def _paint_thumb(person: Person, look: Look, rng: np.random.Generator, *, palm: bool) -> tuple[np.ndarray, np.ndarray]:
    canvas = _Canvas(_THUMB_SHAPE, np.array([-1.6, 0.0]), np.array([50.0, 100.0]))
    maps = _fresh(canvas, _linear(look.palm if palm else look.back), look, rng, palm=palm)
    red, deep = np.zeros(canvas.shape, np.float32), np.zeros(canvas.shape, np.float32)
    across = np.array([0.0, 1.0])
    canvas.spot(red, (0, 2.8), 30, 0.6)
    for joint, lines in ((1.0, 2), (2.0, 3)):
        canvas.spot(red, (0, joint), 22, 0.3 if palm else 0.6)
        for i in range(lines if palm else lines + 2):
            shift = (i - lines / 2) * (0.08 if palm else 0.07) + rng.normal(0, 0.01)
            line = _arc(np.array([0, joint + shift]), across, rng.uniform(0.7, 1.2), 0, rng)
            line[:, 1] = joint + shift + (line[:, 1] - joint - shift) * 0.1
            canvas.stroke(deep, line, 2, rng.uniform(0.3, 0.75))
    _redden(maps, red, look)
    _crease(maps, deep, look, depth=0.7)
    if not palm:
        _nail(canvas, maps, np.array([0, 2.42]), across, 0.60, 0.74, look)
    return _finish(maps)


def make_paint(person: Person, look: Look, rng: np.random.Generator) -> Paint:
    """Paint a subject's skin onto the maps of person's resting hand."""
    maps = {"palm": _paint_palm(person, look, rng), "back": _paint_back(person, look, rng)}
    for side in ("palm", "back"):
        maps["thumb_" + side] = _paint_thumb(person, look, rng, palm=side == "palm")
    return Paint(maps, look.shine)
