"""The demo's real look: painted skin in soft light with warm shadows, before a green screen, by a cheap webcam."""

import cv2
import numpy as np
import scipy

from data.demo.hand import CHAINS, Person, smoothstep, unit
from data.demo.render import SIDE, Geometry, highlight, lit_part
from data.masks import bounding_box

SKINS = (  # sRGB of the back and of the palm of the hand, fair to dark
    ((233, 194, 174), (236, 189, 172)),
    ((224, 178, 150), (230, 178, 154)),
    ((208, 164, 130), (220, 170, 142)),
    ((188, 140, 104), (210, 158, 126)),
    ((156, 108, 78), (196, 144, 114)),
    ((118, 78, 56), (182, 130, 104)),
    ((84, 56, 43), (160, 112, 91)),
)
_SCALE, _LOW, _SHAPE = 2.0, (-72.0, -64.0), (580, 376)  # of the maps: pixels a mm, first x and y, rows and columns
_PALM_LINES = (  # heart, head, life
    ((-40, 62), (-28, 64), (-12, 67), (2, 73), (12, 83)),
    ((42, 63), (28, 61), (10, 54), (-8, 45), (-26, 35)),
    ((42, 61), (28, 56), (15, 43), (8, 27), (7, 8)),
)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Smooth noise (rows, columns) of about unit spread, with features about `cell` pixels across."""
    coarse = rng.standard_normal([int(size / cell) + 3 for size in shape], np.float32)
    return 1.6 * cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma)


def _draw(layer: np.ndarray, points: np.ndarray, strength: float, width: int = 1) -> None:
    at = np.round((np.asarray(points) - _LOW) * _SCALE * 16).astype(np.int32)
    cv2.polylines(layer, [at], False, strength, width, shift=4)


def paint_skin(person: Person, number: int, rng: np.random.Generator, *, palm: bool) -> np.ndarray:
    """One side of the resting hand of a person with SKINS[number], seen from above: linear RGB, float32 (rows, columns, 3).
    Rows go towards the fingers."""
    back_colour, palm_colour = (np.float32(SKINS[number]) / 255) ** 2.2
    fair = 1 - number / (len(SKINS) - 1)
    red, crease, vein = np.zeros((3, *_SHAPE), np.float32)
    nails = []
    for chain in range(CHAINS):
        bones, radii = person.chain(chain)[:, :2], person.radii[chain]
        along = unit(bones[3] - bones[1])
        across = np.array([along[1], -along[0]])
        for bone in bones[3:] if palm else bones:
            _draw(red, [bone], 0.9, 26)
        web = bones[0] + 0.47 * (bones[1] - bones[0])  # where a finger leaves the palm
        for place, half in zip((*bones[1:3], web), radii[[1, 2, 0]][: 3 if palm and chain else 2]):
            for shift in np.linspace(-1.3, 1.3, 2) if palm else np.linspace(-3, 3, 6):
                t, bow = np.linspace(-1, 1, 7)[:, None], 0 if palm else 0.25 * shift
                half_line = half * (1.15 if palm else rng.uniform(0.5, 0.85))
                line = place + t * half_line * across + (shift - bow * t**2 + rng.normal(0, 0.2, (7, 1))) * along
                _draw(crease, line, rng.uniform(0.6, 0.9) if palm else rng.uniform(0.25, 0.65))
        # The thumb lies turned in the resting hand, and shows its nail aslant.
        aside, wide = (0.0, 0.8) if chain else (0.7, 0.66)
        root = bones[2] + 0.44 * (bones[3] - bones[2]) + across * radii[3] * aside
        nails.append((root, 0.6 * (bones[3] - bones[2]), across * radii[3] * wide))
    if palm:
        for knots in _PALM_LINES:
            knots = np.array(knots) * person.scale[0] + rng.normal(0, 1.5, (5, 2))
            _draw(crease, scipy.interpolate.make_interp_spline(range(5), knots)(np.linspace(0, 4, 40)), 1.0)
        for y in (2.5, -3.0, -9.0):  # the wrist
            _draw(crease, np.column_stack([np.linspace(-28, 28, 9), y + rng.normal(0, 0.6, 9)]), 0.5)
        for place in ((-24, 40), (22, 32), (0, 82), (-18, 78), (20, 84)):
            _draw(red, [place * person.scale[:2]], 0.5, 50)
    else:
        y = np.arange(-50.0, 80, 8)
        for x in (-14, -2, 10, 18):
            _draw(vein, np.column_stack([x + rng.normal(0, 2.5, len(y)).cumsum(), y]), 0.9, 4)

    rows = np.arange(_SHAPE[0])[:, None, None] / _SCALE + _LOW[1]
    inner_arm = 0.75 * smoothstep(8, -22, rows)  # nearly as dark as the back
    skin = back_colour + palm * (1 - inner_arm) * (palm_colour - back_colour)
    blotch = 0.6 * smooth_noise(rng, _SHAPE, 22) + 0.4 * smooth_noise(rng, _SHAPE, 9)
    for amount, tint in (
        (blotch * (0.7 + 0.5 * fair), (0.015, 0.055, 0.05)),
        (smooth_noise(rng, _SHAPE, 30), (0.03, 0.04, 0.05)),
        (smooth_noise(rng, _SHAPE, 3.2), (0.02, 0.02, 0.02)),
        (blur(red, 10) * (0.5 + 0.5 * fair), (0.03, 0.24, 0.22)),
        (blur(vein, 2.4) * (0.1 + 0.6 * fair), (0.26, 0.13, 0.07)),
        (np.clip(1.4 * blur(crease, 1.3) + 0.7 * blur(crease, 3), 0, 1), (0.42, 0.56, 0.60)),
    ):
        skin = skin * (1 - amount[..., None] * np.float32(tint))
    if not palm:
        tint = 0.3 * back_colour + 0.5 * palm_colour + 0.2 * np.array((0.92, 0.56, 0.51))
        for nail in nails:
            _paint_nail(skin, *nail, tint)
    return skin.clip(0.005, 0.95).astype(np.float32)


def _paint_nail(skin: np.ndarray, root: np.ndarray, length: np.ndarray, half: np.ndarray, tint: np.ndarray) -> None:
    """Paint a nail: plate, paler half-moon, white free edge, darker fold around it. root, length, half its width: in mm."""
    low = np.maximum((root + length / 2 - _LOW) * _SCALE - 40, 0).astype(int)
    rows, columns = np.mgrid[low[1] : low[1] + 80, low[0] : low[0] + 80]
    place = np.stack([columns, rows], -1) / _SCALE + _LOW - root
    y, x = place @ length / (length @ length), place @ half / (half @ half)
    edge = np.abs(x) ** 2.6 + np.abs((y - 0.52) / 0.52) ** 2.6  # a superellipse, square towards the tip
    plate = smoothstep(1.12, 0.88, edge)[..., None]
    fold = (np.exp(-(((edge - 1.18) / 0.30) ** 2)) * (y < 0.95))[..., None]
    pale = 0.06 * smoothstep(0.84, 0.94, y) + 0.03 * smoothstep(0.30, 0.12, y + 0.25 * x**2)
    block = skin[low[1] : low[1] + 80, low[0] : low[0] + 80]
    block += plate * (0.9 * (tint - block) + pale[..., None])
    block *= 1 - 0.42 * fold * (0.7, 1.0, 1.0)


def spread_within(values: np.ndarray, mask: np.ndarray, sigma: float) -> np.ndarray:
    """Blur values (H, W) over the mask alone; off the mask, the blur of the nearest hand pixels."""
    return blur(values * mask, sigma) / np.maximum(blur(mask.astype(np.float32), sigma), 1e-4)


def shade_real(geometry: Geometry, palm: np.ndarray, back: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The real look, float32 sRGB (H, W, 3) in [0, 1], carried on a few pixels past the hand. palm, back: of paint_skin."""
    box = bounding_box(geometry.mask, margin=12)  # all else is off the hand
    mask, depth, normals = geometry.mask[box], geometry.depth[box], geometry.normals

    def spread(values: np.ndarray, sigma: float) -> np.ndarray:
        image = np.zeros(mask.shape, np.float32)
        image[mask] = values
        return spread_within(image, mask, sigma)

    at = ((geometry.paint[:, :2] - _LOW) * _SCALE).astype(np.float32).T[:, None]
    # The forearm's far end repeats its near one, mirrored.
    palm, back = (cv2.remap(side, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)[0] for side in (palm, back))
    skin = palm + smoothstep(-0.3, 0.3, geometry.paint[:, 2:]) * (back - palm)

    light = unit(np.array([rng.uniform(-0.8, 0.8), rng.uniform(-1.1, -0.1), -rng.uniform(0.7, 1.2)]))
    warmth = rng.uniform(-1, 1)
    key = rng.uniform(0.75, 1.0) * np.array([1 + 0.06 * warmth, 1, 1 - 0.09 * warmth])
    sky = rng.uniform(0.28, 0.42) * np.array([1 - 0.03 * warmth, 1, 1 + 0.04 * warmth])
    angle = np.arange(8) * 2.4  # eight places of a round lamp
    lamp = np.column_stack([np.cos(angle), np.sin(angle)]) * np.sqrt(np.arange(8) + 0.5)[:, None] * 2.6
    lit = spread(lit_part(geometry, light, lamp), 1.6)[mask][:, None]
    around = np.ones_like(lit)
    for sigma, span in ((2.0, 9.0), (5.0, 22.0), (12.0, 46.0)):  # what lies behind its surroundings gets less light
        behind = (depth - spread_within(depth, mask, sigma))[mask][:, None]
        around *= 1 - 0.42 * np.clip((behind - 0.8) / span, 0, 1) ** 0.8
    around = around ** (0.75, 1.1, 1.2)
    # Light bleeds under the skin, red farthest, so shadows and folds turn warm.
    wrap = np.array([0.48, 0.32, 0.26])
    direct = np.clip(((normals @ light)[:, None] + wrap) / (1 + wrap), 0, 1) ** 1.15
    direct *= (1 - (1 - lit) * (0.74, 0.84, 0.87)) * (0.35 + 0.65 * around)
    upward = 0.72 - normals @ (0, 0.20, 0.12)
    light_in = key * direct + sky * upward[:, None] * around
    light_in = np.column_stack([spread(light_in[:, i], sigma)[mask] for i, sigma in enumerate((1.7, 1.0, 0.8))])
    glint = 0.04 * lit * highlight(geometry, light, power=18)[:, None]
    colour = 1.28 * (skin * light_in + glint * key)
    colour = colour * (1 + 0.10 * colour) / (1 + 0.30 * colour)  # a soft shoulder, as cameras have
    colour = np.clip(colour, 0, 1) ** (1 / 2.2)
    picture = np.zeros((SIDE, SIDE, 3), np.float32)
    picture[box] = np.dstack([spread(channel, 1.5) for channel in colour.T])
    picture[geometry.mask] = colour
    return picture


def record(hand: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put the hand before an uneven green screen and record it: spill, low resolution, noise, compression.

    hand: float32 sRGB (H, W, 3) in [0, 1], valid a little past mask (H, W). Returns uint8 RGB (H, W, 3).
    """
    shape, cover = mask.shape, mask.astype(np.float32)
    ys, xs = np.float32(np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j])
    light = 1 + rng.uniform(-0.14, 0.14) * xs + rng.uniform(-0.14, 0.14) * ys - 0.10 * (xs**2 + ys**2)
    light += 0.03 * smooth_noise(rng, shape, 85) + rng.uniform(0, 0.02) * smooth_noise(rng, shape, 20)
    drop = np.float32([[1, 0, rng.uniform(-14, 14)], [0, 1, rng.uniform(2, 14)]])
    shadow = blur(cv2.warpAffine(cover, drop, shape[::-1], borderMode=cv2.BORDER_REPLICATE), rng.uniform(7, 12))
    light *= 1 - rng.uniform(0.05, 0.22) * shadow
    screen = np.clip(np.float32(rng.uniform((0.16, 0.52, 0.20), (0.34, 0.68, 0.34))) * light[..., None], 0, 1)
    inner, cover = blur(cover, 3.0)[..., None], blur(cover, rng.uniform(0.6, 0.9))[..., None]
    hand = hand * (1 + (1 - inner) * np.float32((-0.06, 0.02, -0.07)))  # green light from the screen on the hand's rim
    picture = hand * cover + screen * (1 - cover)

    share = rng.uniform(0.60, 0.85)
    picture = cv2.resize(picture, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    picture = cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_LINEAR)
    picture *= (1 - rng.uniform(0.02, 0.10) * (xs**2 + ys**2))[..., None]
    picture *= (1 + rng.normal(0, 0.018, 3)) * rng.uniform(0.94, 1.05)
    # Noise: fine in brightness, coarse in colour.
    fine = 2.0 * blur(rng.standard_normal(shape, np.float32), 0.6)
    coarse = cv2.resize(rng.standard_normal((shape[0] // 3, shape[1] // 3, 3), np.float32), shape[::-1])
    picture += rng.uniform(0.006, 0.016) * (0.55 * fine[..., None] + 0.45 * coarse)
    picture += rng.uniform(0, 0.5) * (picture - blur(picture, 1.5))  # the camera's own sharpening, with its halo
    pixels = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
    _, packed = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(62, 88))])
    return cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1].copy()


def spoil_mask(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A raw mask as a chroma key leaves it, uint8 (H, W): ragged, holed, speckled, with stray blobs, grey borders."""
    inwards, outwards = (cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, 5) for side in (mask, ~mask))
    ragged = 0.56 * smooth_noise(rng, mask.shape, 4.3) + 0.34 * smooth_noise(rng, mask.shape, 10.7)
    raw = 255 * (inwards - outwards + ragged.clip(-3, 3) + rng.uniform(-0.4, 0.9) > 0).astype(np.uint8)
    for value, places in ((0, np.argwhere(inwards > 4)), (255, np.argwhere(outwards >= 0))):  # holes, stray blobs
        for y, x in places[rng.integers(len(places), size=rng.integers(5))].tolist():
            axes = rng.integers(1, 7 if value else 4, 2).tolist()
            cv2.ellipse(raw, (x, y), axes, rng.uniform(0, 180), 0, 360, value, -1)
    chance, rate = rng.random(mask.shape), rng.uniform(0.0005, 0.004)
    raw[chance < rate], raw[chance > 1 - rate] = 255, 0
    raw = blur(raw, rng.uniform(0.5, 0.9))
    raw[chance < rate / 4] = 255  # some of the speckle comes after the blur
    return raw
