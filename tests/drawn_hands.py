"""Drawn photographs of hands before a green screen, their true masks, and raw masks as RealHands has them."""

import cv2
import numpy as np


def draw_hand(rng: np.random.Generator, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """A stand-in for a webcam's frame: (photograph uint8 (H, W, 3), true mask bool (H, W)). Five fingers, an arm."""
    unit = height / 480
    mask = np.zeros((height, width), np.uint8)
    x, y = rng.uniform(0.45, 0.55) * width, rng.uniform(0.55, 0.65) * height

    def limb(start: tuple[float, float], end: tuple[float, float], thickness: float) -> None:
        points = [(round(a), round(b)) for a, b in (start, end)]
        cv2.line(mask, *points, 1, max(1, round(thickness * unit)))

    limb((x, y), (x + rng.uniform(-30, 30) * unit, height), 85)
    cv2.ellipse(mask, (round(x), round(y)), (round(68 * unit), round(75 * unit)), 0, 0, 360, 1, -1)
    for angle, reach in zip((-65, -25, -8, 10, 28), (120, 190, 205, 190, 160)):
        turn = np.deg2rad(angle + rng.uniform(-5, 5))
        limb((x, y), (x + reach * unit * np.sin(turn), y - reach * unit * np.cos(turn)), 30)

    down = np.linspace(1.1, 0.8, height)[:, None, None]
    photograph = np.where(mask[..., None] > 0, np.array([190, 140, 115.0]), np.array([60, 150, 80.0])) * down
    photograph = cv2.GaussianBlur(photograph, (0, 0), 1.0) + rng.normal(0, 3, (height, width, 3))
    return np.clip(photograph, 0, 255).astype(np.uint8), mask > 0


def spoil(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """bool (H, W) -> bool (H, W): a raw mask of it, with a ragged outline, pin-holes, blobs and speckle."""
    height, width = mask.shape
    inside = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 3)
    distance = inside - cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, 3)
    ragged = cv2.GaussianBlur(rng.normal(size=mask.shape), (0, 0), 4)
    raw = (distance + 1.5 * ragged / ragged.std() > 0).astype(np.uint8)
    for value, places in ((0, np.argwhere(distance > 8)), (1, np.argwhere(distance < -8))):
        for y, x in places[rng.integers(len(places), size=6)]:
            axes = (int(rng.integers(2, 6)), int(rng.integers(2, 6)))
            cv2.ellipse(raw, (int(x), int(y)), axes, 0, 0, 360, value, -1)
    return (raw > 0) ^ (rng.random((height, width)) < 0.005)
