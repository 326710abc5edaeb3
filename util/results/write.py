"""What test.py writes of one model and one split: images, scores, figure.

<folder>/generated/<path of the source>.png    translations
<folder>/synthetic/..., real/...               the regions that were compared
<folder>/masks/{synthetic,real}/...            their masks
<folder>/true_pairs/...                        with the demo, what the translations should look like
<folder>/regions.json                          which part of its source each translation shows
<folder>/metrics.json, grid.png
"""

import logging
import os
import shutil
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import cv2
import numpy as np

from data.compose import compose
from data.demo import true_pair
from data.frames import Frame, annotation_files
from data.hands import Hand, whiten
from data.regions import TEST_CROP, Box, HandRegions, readable
from data.transforms import centred_hand_crop
from models.features.registry import FeatureNet
from models.translation import Translation
from util.images import read_mask, read_rgb, tile, write_png
from util.progress import progress
from util.scores.evaluate import ImageFiles, cached_features, extract_features, patch_crops, score
from util.scores.image_metrics import psnr, ssim
from util.strict_json import write_json

log = logging.getLogger(__name__)

GRID_COLUMNS = 8
REGIONS_FILE = "regions.json"


class Written(NamedTuple):
    """The frames that could be read, the image file written for each, the file of its mask, and the box of the frame
    that they show, in the same order."""

    frames: list[Frame]
    images: list[Path]
    masks: list[Path]
    boxes: list[Box]

    def add(self, frame: Frame, image: Path, mask: Path, box: Box) -> None:
        """Append one."""
        self.frames.append(frame)
        self.images.append(image)
        self.masks.append(mask)
        self.boxes.append(box)


def output_names(frames: list[Frame]) -> list[PurePosixPath]:
    """The file that each frame's result goes to: its relative path, as PNG; no two of them the same.

    Where two sources differ in nothing but their suffix, the suffix stays in the name: a.jpg.png.
    """
    names = [PurePosixPath(frame.relative).with_suffix(".png") for frame in frames]
    whole = [PurePosixPath(f"{frame.relative}.png") for frame in frames]
    while True:  # a name that gets its suffix back may be another's: a.jpg.png
        count = Counter(names)
        if len(count) == len(names):
            return names
        names = [full if count[name] > 1 else name for name, full in zip(names, whole)]


def write_translations(
    folder: Path, domain: str, frames: list[Frame], found: Iterable[Translation], *, background: str | None = None
) -> tuple[Written, Written]:
    """Write each translation, the region it was made from and its mask, and regions.json. Returns (generated, source).

    background: what translations are written over (data.compose), whatever the networks were shown, where regions were
    read with their sources; None: that.
    """
    names = output_names(frames)
    generated, source = Written([], [], [], []), Written([], [], [], [])
    with BackgroundWriter() as writer:
        for each in progress(found, total=len(frames), desc="translating"):
            name, frame, region = names[each.index], frames[each.index], each.source
            image, original, mask = (folder / part / name for part in ("generated", domain, f"masks/{domain}"))
            written = compose(each.image, region, background) if background else each.image
            for path, pixels in ((image, written), (original, region.image), (mask, region.mask)):
                writer.write(path, pixels)
            generated.add(frame, image, mask, region.box)
            source.add(frame, original, mask, region.box)
    write_json(folder / REGIONS_FILE, region_entries(folder, generated))
    return generated, source


def region_entries(folder: Path, written: Written) -> list[dict]:
    """What regions.json says: {"file": below the folder, "source": the image it is of, "box": [x, y, width, height] in
    the source's pixels, as it is shown (turned by its orientation tag), "scale": pixels of the file a source's pixel}.

    A box may begin before its source and end behind it, where that is smaller than a crop. data.joints reads it.
    """
    entries = []
    for frame, image, box in zip(written.frames, written.images, written.boxes):
        corners = list(box) if frame.scale == 1 else [length / frame.scale for length in box]
        file = image.relative_to(folder).as_posix()
        source = os.path.abspath(frame.image)
        entries.append({"file": file, "source": source, "box": corners, "scale": frame.scale})
    return entries


def write_regions(folder: Path, domain: str, regions: HandRegions, *, num_workers: int = 0) -> Written:
    """Write the regions, and their masks, of a domain that is only compared with; their boxes: <domain>/regions.json."""
    names = output_names(regions.frames)
    written = Written([], [], [], [])
    found = readable(regions, num_workers=num_workers)
    with BackgroundWriter() as writer:
        for index, hand in progress(found, total=len(regions), desc=f"writing {domain} images"):
            image, mask = folder / domain / names[index], folder / "masks" / domain / names[index]
            writer.write(image, hand.image)
            writer.write(mask, hand.mask)
            written.add(regions.frames[index], image, mask, hand.box)
    write_json(folder / domain / REGIONS_FILE, region_entries(folder / domain, written))
    return written


class BackgroundWriter:
    """Writes PNGs in threads beside what makes them, a bounded number at a time; all are written when the block ends.

    An error of a write is raised by a later one, or at the end of the block.
    """

    THREADS, WAITING = 2, 24

    def __enter__(self) -> "BackgroundWriter":
        self._pool, self._pending = ThreadPoolExecutor(self.THREADS), deque()
        return self

    def write(self, path: Path, image: np.ndarray) -> None:
        """Write one as util.images.write_png does. The array must not be changed afterwards."""
        self._pending.append(self._pool.submit(write_png, path, image))
        if len(self._pending) > self.WAITING:
            self._pending.popleft().result()

    def __exit__(self, kind, error, trace) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)
        if kind is None:
            for each in self._pending:
                each.result()


def as_seen(generated: Written, source: Written) -> Iterator[np.ndarray]:
    """Translations whose files have a background of their own, over what the networks saw: as they are scored."""
    for made, original, mask in zip(generated.images, source.images, generated.masks):
        yield np.where(read_mask(mask)[..., None], read_rgb(made), read_rgb(original))


def link_annotations(generated: Written) -> int:
    """Link the annotation files beside each source beside its translation; copy where links cannot be. Returns how many."""
    count = 0
    for frame, image in zip(generated.frames, generated.images):
        for file in annotation_files(frame.image):
            link = image.parent / file.name
            if link.exists() or link.is_symlink():
                log.warning("%s is in the way: the annotation %s is not linked", link, file)
                continue
            try:
                os.symlink(file.resolve(), link)
            except OSError:
                shutil.copy2(file, link)
            count += 1
    return count


def measure(
    target: Written,
    generated: Written,
    source: Written,
    net: FeatureNet,
    *,
    cache_dir: Path,
    kid_subset_size: int | None,
    kid_subsets: int,
    on_own_background: bool = False,
) -> dict:
    """metrics.json's scores: translations against the target domain, and under "baseline" the untranslated sources.

    on_own_background: the translations' files have another background than the regions that they are compared with.
    """

    def features(written: Written, label: str, *, cached: bool) -> tuple[np.ndarray, np.ndarray]:
        """Of whole regions, and of the 128 crops inside the hand."""
        files = ImageFiles(written.images)
        if written is generated and on_own_background:
            files = list(as_seen(generated, source))
        patches = list(patch_crops(files, (read_mask(path) for path in written.masks)))
        if not cached:
            return extract_features(files, net, progress=label), extract_features(
                patches, net, progress=f"{label} patches"
            )
        return (
            cached_features(files, net, cache_dir, progress=label),
            cached_features(patches, net, cache_dir, progress=f"{label} patches"),
        )

    def compare(whole: np.ndarray, patch: np.ndarray) -> dict:
        kid = {"kid_subset_size": kid_subset_size, "kid_subsets": kid_subsets}
        scores = score(real, whole, net, **kid)
        inside = score(real_patch, patch, net, **kid)
        scores[f"{net.metric}_patch"] = inside[net.metric]
        scores[f"{net.metric}_patch_ci"] = inside[f"{net.metric}_ci"]
        scores["floor_patch"] = inside["floor"]
        return scores

    real, real_patch = features(target, "target", cached=True)
    result = compare(*features(generated, "generated", cached=False))
    result["baseline"] = compare(*features(source, "untranslated", cached=True))
    return result


def measure_true_pairs(folder: Path, generated: Written, source: Written, *, crop: int | None) -> dict:
    """With the demo: mean PSNR (dB) and SSIM, on the hand, between each translation and its true real-look render.

    "baseline" has the same for the untranslated sources.
    """
    values: dict[str, list[float]] = {"psnr": [], "ssim": [], "baseline_psnr": [], "baseline_ssim": []}
    triples = zip(generated.frames, generated.images, source.images)
    for frame, made, original in progress(triples, total=len(generated.frames), desc="true pairs", unit="pair"):
        picture, mask = true_pair(frame.relative)
        truth = Hand(whiten(picture, mask), mask)
        if crop:
            truth = centred_hand_crop(truth, crop)
        write_png(folder / "true_pairs" / made.relative_to(folder / "generated"), truth.image)
        for prefix, other in (("", read_rgb(made)), ("baseline_", read_rgb(original))):
            values[f"{prefix}psnr"].append(psnr(other, truth.image, truth.mask))
            values[f"{prefix}ssim"].append(ssim(other, truth.image, truth.mask))
    means = {key: float(np.mean(value)) for key, value in values.items()}
    return {
        "psnr": means["psnr"],
        "ssim": means["ssim"],
        "baseline": {"psnr": means["baseline_psnr"], "ssim": means["baseline_ssim"]},
    }


def write_grid(folder: Path, generated: Written, source: Written, *, labels: tuple[str, str]) -> Path:
    """grid.png like the paper's Fig. 1 and 4: sources in the top row, their translations below."""
    places = np.linspace(0, len(source.images) - 1, min(GRID_COLUMNS, len(source.images))).round().astype(int)
    rows = [[square(read_rgb(written.images[place])) for place in places] for written in (source, generated)]
    write_png(folder / "grid.png", tile(rows, labels=list(labels)))
    return folder / "grid.png"


def square(image: np.ndarray, side: int = TEST_CROP) -> np.ndarray:
    """The image, scaled to fit a white square of the side, centred."""
    scale = side / max(image.shape[:2])
    if scale != 1:
        size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    sheet = np.full((side, side, 3), 255, np.uint8)
    top, left = ((side - length) // 2 for length in image.shape[:2])
    sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
    return sheet


def write_metrics(folder: Path, metrics: dict) -> None:
    """Write metrics.json."""
    write_json(folder / "metrics.json", metrics)
