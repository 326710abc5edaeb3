"""How fast preprocess_masks.py is.

It writes photographs and raw masks of a drawn hand on a noisy green screen as PNG into a temporary folder, refines them
with the defaults, and counts images a second, from the first file read to the last mask and the report written, the
start of the processes included.
"""

import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from data.masks.realhands import KEPT, find_real_frames
from data.masks.refine import RefineOptions
from data.masks.refine_tree import refine_chunk, refine_tree
from util.images import write_png


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


def write_tree(root: Path, n_images: int, width: int, height: int) -> None:
    """Write n_images frames in RealHands' layout. Drawing is slow, so ten are drawn and linked again and again."""
    rng = np.random.default_rng(0)
    for i in range(n_images):
        image = root / f"user{i % 2}" / "color" / f"{i:06d}_color.png"
        mask = root / f"user{i % 2}" / "mask" / f"{i:06d}_mask.png"
        if i < 10:
            photograph, true_mask = draw_hand(rng, width, height)
            write_png(image, photograph)
            write_png(mask, spoil(true_mask, rng))
        else:
            first = f"{i % 10:06d}"
            for path, ending in ((image, "color"), (mask, "mask")):
                os.link(path.parent / f"{first}_{ending}.png", path)


def measure(*, n_images: int = 300, width: int = 640, height: int = 480, num_workers: int = 2) -> list[dict]:
    """Rows {"what": str, "value": float, "unit": str}: images a second, processor time an image, images kept."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_tree(root, n_images, width, height)
        frames = find_real_frames(root)
        start = time.perf_counter()
        outcome = refine_tree(root, frames, RefineOptions(), num_workers=num_workers, overwrite=False)
        seconds = time.perf_counter() - start
        some = [(frame.name, frame) for frame in find_real_frames(root)[:100]]
        start = time.process_time()
        refine_chunk(some, RefineOptions())
        cpu_seconds = (time.process_time() - start) / len(some)
    n_kept = sum(row.verdict == KEPT for row in outcome.rows.values())
    return [
        {"what": f"masks, {num_workers} processes", "value": n_images / seconds, "unit": "images/s"},
        {"what": "masks, processor time", "value": 1000 * cpu_seconds, "unit": "ms"},
        {"what": "masks, kept", "value": n_kept, "unit": "images"},
    ]
