"""How fast the rest is, on the CPU: FID and KID, reading training samples, and preprocess_masks.py.

Images are those of a small demo, drawn into a temporary folder. They are read from memory then: a disk slower than that
is a further cost of decoding a data set that is larger than the memory.
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch

from data.demo import ensure_demo
from data.frames import find_frames
from data.loader import stream_loader
from data.masks.realhands import find_real_frames
from data.masks.refine import RefineOptions
from data.masks.refine_tree import refine_tree
from data.unpaired import UnpairedHands
from util.benchmark.timing import alternate
from util.scores.distances import frechet_distance, kernel_distance

SAMPLES = 20  # read together, as single ones take as long as the clock's ticks
CPU = torch.device("cpu")


def distance_rows(images: int, dim: int) -> list[dict]:
    """The Frechet distance and the kernel distance between two sets of random features, (images, dim)."""
    real, fake = (np.abs(np.random.default_rng(seed).standard_normal((images, dim))) for seed in (0, 1))
    times = alternate(
        {
            "FID": lambda: frechet_distance(real, fake),
            "KID": lambda: kernel_distance(real, fake, subset_size=images // 10),
        },
        rounds=3,
        device=CPU,
    )
    return [_row(f"{name} of {images} x {dim} features", *seconds) for name, seconds in times.items()]


def loader_rows(*, crop_size: int, batch_size: int, rounds: int) -> list[dict]:
    """Training samples, read in this process."""
    with tempfile.TemporaryDirectory() as folder:
        stream = UnpairedHands(find_frames(dataroot=draw_demo(folder)), crop_size=crop_size, seed=0)
        batches = iter(stream_loader(stream, batch_size, num_workers=0))
        reading = {"decoded": lambda: [next(batches) for _ in range(SAMPLES)]}
        ((median, spread),) = alternate(reading, rounds, CPU).values()
    return [
        _row(f"{SAMPLES} batches", median, spread)
        | {"images_per_second": 2 * SAMPLES * batch_size / median, "ratio": 1.0}
    ]


def mask_rows(num_workers: int = 2) -> list[dict]:
    """Refining the raw masks of the demo, the start of the processes included."""
    with tempfile.TemporaryDirectory() as folder:
        root = draw_demo(folder) / "RealHands"
        frames = find_real_frames(root)
        refine = partial(refine_tree, root, frames, RefineOptions(), num_workers=num_workers, overwrite=False)
        ((seconds, _),) = alternate({"masks": refine}, 1, CPU).values()
    return [
        {
            "what": f"masks of {len(frames)} photographs, {num_workers} processes",
            "ms": 1000 * seconds,
            "images_per_second": len(frames) / seconds,
        }
    ]


def draw_demo(folder: str) -> Path:
    """A small demo below the folder; returns its root."""
    root = Path(folder, "demo")
    ensure_demo(root, frames_per_camera=2, frames_per_user=8)
    return root


def _row(what: str, seconds: float, processor: float) -> dict:
    return {"what": what, "ms": 1000 * seconds, "processor_ms": 1000 * processor}
