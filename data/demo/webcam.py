"""A cheap webcam before a green screen, and the raw masks that such recordings come with."""

import cv2
import numpy as np


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: float) -> np.ndarray:
    """Smooth noise about -1 to 1 with roughly cells features across the picture."""
    count = int(np.ceil(cells)) + 3
    small = rng.standard_normal((count, count)).astype(np.float32)
    return cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC) * 0.7


def _grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows (H, 1) and columns (1, W) from -1 to 1."""
    return np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None], np.linspace(-1, 1, shape[1], dtype=np.float32)[None]


def draw_screen(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An unevenly lit, creased green screen with the hand's soft shadow, float32 sRGB (H, W, 3) in [0, 1]."""
    shape = mask.shape
    base = np.array([rng.uniform(0.16, 0.34), rng.uniform(0.52, 0.68), rng.uniform(0.20, 0.34)], np.float32)
    ys, xs = _grid(shape)
    tilt = rng.uniform(-0.14, 0.14, 2)
    light = 1 + tilt[0] * xs + tilt[1] * ys - 0.10 * (xs**2 + ys**2) + 0.07 * _smooth_noise(rng, shape, 3)
    folds = cv2.warpAffine(
        _smooth_noise(rng, shape, 9),
        np.float32([[0.35, rng.uniform(-0.3, 0.3), 40], [0, 1, 0]]),
        shape[::-1],
        borderMode=cv2.BORDER_REFLECT,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    light = light + rng.uniform(0.0, 0.05) * folds
    drop = np.float32([[1, 0, rng.uniform(-14, 14)], [0, 1, rng.uniform(2, 14)]])
    shadow = cv2.warpAffine(mask.astype(np.float32), drop, shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    light = light * (1 - rng.uniform(0.05, 0.22) * cv2.GaussianBlur(shadow, (0, 0), rng.uniform(7, 12)))
    tint = 1 + 0.03 * _smooth_noise(rng, shape, 4)[..., None] * np.array([1, 0, -1], np.float32)
    return np.clip(base * light[..., None] * tint, 0, 1)


def record(hand: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put the hand before a screen and record it: optics, spill, low resolution, noise, compression.

    hand: float32 sRGB (H, W, 3) in [0, 1], valid a little past mask (H, W). Returns uint8 RGB (H, W, 3).
    """
    height, width = mask.shape
    screen = draw_screen(mask, rng)
    cover = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), rng.uniform(0.6, 0.9))[..., None]
    inner = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 3.0)[..., None]
    spill = (1 - inner) * cover * 0.35  # green light from the screen on the hand's rim
    hand = hand * (1 - spill) + hand * spill * np.array([0.82, 1.06, 0.80], np.float32)
    picture = hand * cover + screen * (1 - cover)

    share = rng.uniform(0.60, 0.85)
    small = cv2.resize(picture, (int(width * share), int(height * share)), interpolation=cv2.INTER_AREA)
    picture = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    ys, xs = _grid(mask.shape)
    picture = picture * (1 - rng.uniform(0.02, 0.10) * (xs**2 + ys**2))[..., None]
    balance = 1 + rng.normal(0, 0.018, 3)
    picture = picture * (balance * rng.uniform(0.94, 1.05)).astype(np.float32)
    # Noise: fine in brightness, coarse in colour.
    grain = rng.uniform(0.006, 0.016)
    fine = cv2.GaussianBlur(rng.standard_normal((height, width), np.float32), (0, 0), 0.6) * 2.0
    coarse = rng.standard_normal((height // 3 + 1, width // 3 + 1, 3), np.float32)
    coarse = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    picture = picture + grain * (0.55 * fine[..., None] + 0.45 * coarse)
    if rng.random() < 0.7:  # the camera's own sharpening, with its halo
        picture = picture + rng.uniform(0.2, 0.5) * (picture - cv2.GaussianBlur(picture, (0, 0), 1.5))
    pixels = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
    quality = int(rng.integers(62, 88))
    _, packed = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1].copy()


def spoil_mask(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A raw mask as a chroma key leaves it, uint8 (H, W): ragged, holed, speckled, with stray blobs, grey borders."""
    shape = mask.shape
    inwards, outwards = (cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, 5) for side in (mask, ~mask))
    signed = inwards - outwards
    ragged = 1.3 * _smooth_noise(rng, shape, 60) + 0.8 * _smooth_noise(rng, shape, 24)
    raw = signed + np.clip(ragged, -3, 3) + rng.uniform(-0.4, 0.9) > 0
    raw = np.where(raw, 255, 0).astype(np.uint8)
    height, width = shape
    inside = np.argwhere(signed > 4)
    for _ in range(int(rng.integers(0, 5))):
        if len(inside):
            y, x = inside[rng.integers(len(inside))]
            axes = tuple(int(a) for a in rng.integers(1, 4, 2))
            cv2.ellipse(raw, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 360, 0, -1)
    for _ in range(int(rng.integers(0, 5))):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = tuple(int(a) for a in rng.integers(1, 7, 2))
        cv2.ellipse(raw, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
    chance = rng.random(shape, np.float32)
    rate = rng.uniform(0.0005, 0.004)
    raw[chance < rate] = 255
    raw[chance > 1 - rate] = 0
    raw = cv2.GaussianBlur(raw, (0, 0), rng.uniform(0.5, 0.9))
    raw[chance < rate / 4] = 255  # some of the speckle comes after the blur
    return raw
