"""How fast training samples are made, decoding and from packed hands.

It writes drawn hands as 640x480 PNG files into a temporary folder, key-coloured renders and noisy photographs with
clean masks in the published layouts, packs them, and draws the same samples both ways, by turns, through the loader of
train.py. A sample is two images and their masks. Files are read from memory here: a disk slower than that is a further
cost of decoding a data set that is larger than the memory, and of one that is packed the less so, as packs are smaller.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from data.frames import find_frames
from data.loader import stream_loader
from data.masks.ops import SYNTHETIC_KEY
from data.packs.build import open_packs
from data.packs.format import REGIONS_FILE
from data.unpaired import UnpairedHands
from util.benchmark.masks import draw_hand
from util.images import write_png


def measure(
    *,
    n_images: int = 60,
    n_samples: int = 120,
    n_runs: int = 5,
    width: int = 640,
    height: int = 480,
    crop_size: int = 128,
    batch_size: int = 1,
    num_workers: int = 0,
) -> list[dict]:
    """Rows {"what": str, "value": float, "unit": str}: images a second both ways, their ratio, ms a sample, size.

    n_images a domain are drawn; each of n_runs draws n_samples samples of crop_size both ways, by turns; medians are
    returned. Wall time, but for the rows that say processor time, which other work on the machine does not change; those
    are of the main process, so they tell all only without workers.
    """
    wall: dict[str, list[float]] = {"decoding": [], "packed": []}
    processor: dict[str, list[float]] = {"decoding": [], "packed": []}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "hands")
        write_tree(root, n_images, width, height)
        frames = find_frames(dataroot=root)
        start = time.perf_counter()
        packs = open_packs(
            frames,
            cache=True,
            cache_dir=Path(folder, "packs"),
            crop_size=crop_size,
            background="white",
            n_samples=0,
            num_workers=max(1, num_workers),
        )
        pack_seconds = time.perf_counter() - start
        n_frames = sum(map(len, frames.values()))
        packed_bytes = sum((pack.folder / REGIONS_FILE).stat().st_size for pack in packs.values())
        file_bytes = sum(frame.image.stat().st_size for found in frames.values() for frame in found)

        for run in range(n_runs):
            for way, used in (("decoding", None), ("packed", packs)):
                stream = UnpairedHands(frames, crop_size=crop_size, seed=run, packs=used)
                seconds, cpu_seconds = _draw(stream, n_samples, batch_size, num_workers)
                wall[way].append(seconds / n_samples)
                processor[way].append(cpu_seconds / n_samples)

    rows = []
    for way in wall:
        rows.append(_row(f"loader, {way}: images a second", 2 / statistics.median(wall[way]), "images/s"))
        rows.append(_row(f"loader, {way}: a sample", 1000 * statistics.median(wall[way]), "ms"))
        if not num_workers:
            cpu_ms = 1000 * statistics.median(processor[way])
            rows.append(_row(f"loader, {way}: a sample, processor time", cpu_ms, "ms"))
    ratios = {"": wall} | ({", processor time": processor} if not num_workers else {})
    for name, times in ratios.items():
        by_run = [slow / fast for slow, fast in zip(times["decoding"], times["packed"])]
        rows.append(_row(f"loader, packed over decoding{name}", statistics.median(by_run), "times"))
    rows.append(_row("packing, once", n_frames / pack_seconds, "images/s"))
    rows.append(_row("packed size an image", packed_bytes / n_frames / 1e3, "kB"))
    rows.append(_row("image file size", file_bytes / n_frames / 1e3, "kB"))
    return rows


def _row(what: str, value: float, unit: str) -> dict:
    return {"what": what, "value": float(f"{value:.4g}"), "unit": unit}


def _draw(stream: UnpairedHands, n_samples: int, batch_size: int, num_workers: int) -> tuple[float, float]:
    """(wall, processor) seconds to draw that many samples, after some to warm up."""
    batches = iter(stream_loader(stream, batch_size, num_workers=num_workers))
    for _ in range(4 + 4 * num_workers):  # the batches that workers fetch ahead count as warming up, too
        next(batches)
    start, cpu_start = time.perf_counter(), time.process_time()
    for _ in range(0, n_samples, batch_size):
        next(batches)
    return time.perf_counter() - start, time.process_time() - cpu_start


def write_tree(root: Path, n_images: int, width: int, height: int) -> None:
    """n_images drawn hands a domain: renders on the key colour, and photographs with noise and with clean masks."""
    rng = np.random.default_rng(0)
    camera, user = (
        root / "SynthHands_Release" / "male_noobject" / "seq01" / "cam01" / "01",
        root / "RealHands" / "user01",
    )
    for i in range(n_images):
        image, mask = draw_hand(rng, width, height)
        render = np.where(mask[..., None], image, np.uint8(SYNTHETIC_KEY))
        write_png(camera / f"{i:08d}_color.png", render)
        image, mask = draw_hand(rng, width, height)
        write_png(user / "color" / f"{i:05d}_color.png", image)
        write_png(user / "mask_refined" / f"{i:05d}_mask.png", mask)
