"""The files that test.py writes for one model and one split: images, regions, scores, grid.

<folder>/generated/<path of the source>.png    translations
<folder>/synthetic/..., real/...               the regions that were compared
<folder>/masks/{synthetic,real}/...            their masks
<folder>/true_pairs/...                        with the demo, what the translations should look like
<folder>/regions.json                          which part of its source each translation shows
<folder>/metrics.json, grid.png, index.html
"""

import contextlib
import logging
import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from data.compose import compose
from data.frames import Frame, annotation_files
from data.regions import Box, HandRegions, readable
from models.translation import Translation
from util.drawing import sheet, spread
from util.files import write_json
from util.images import read_mask, read_rgb, write_png
from util.workers import progress

log = logging.getLogger(__name__)

GRID_COLUMNS = 6
WRITERS, WAITING = 2, 24  # threads that write, and images that may wait for them
REGIONS_FILE = "regions.json"


class Written(NamedTuple):
    """What was written of one frame: the image file, its mask's, and the box of the frame that they show."""

    frame: Frame
    image: Path
    mask: Path
    box: Box


def by_path(written: list[Written]) -> list[Written]:
    """In the order of the images' whole paths, as programs sort a folder's files."""
    return sorted(written, key=lambda each: str(each.image))


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
    folder: Path,
    domain: str,
    frames: list[Frame],
    translations: Iterable[Translation],
    *,
    background: str | None = None,
) -> tuple[list[Written], list[Written]]:
    """Write each translation, the region it was made from and its mask, and regions.json. Returns (generated, source).

    background: what translations are written over (data.compose), for regions that were read with their sources; None:
    the background that the networks saw.
    """
    names = output_names(frames)
    generated, source = [], []
    with background_writer() as write:
        for each in progress(translations, total=len(frames), desc="translating"):
            name, frame, region = names[each.index], frames[each.index], each.source
            image, original, mask = (folder / part / name for part in ("generated", domain, f"masks/{domain}"))
            written = compose(each.image, region, background) if background else each.image
            for path, pixels in ((image, written), (original, region.image), (mask, region.mask)):
                write(path, pixels)
            generated.append(Written(frame, image, mask, region.box))
            source.append(Written(frame, original, mask, region.box))
    write_json(folder / REGIONS_FILE, region_entries(folder, generated))
    return generated, source


def region_entries(folder: Path, written: list[Written]) -> list[dict]:
    """The entries of regions.json: {"file": below the folder, "source": the image it is of, "box": [x, y, width, height] in
    the source's pixels, as it is shown (turned by its orientation tag), "scale": pixels of the file a source's pixel}.

    A box may begin before its source and end behind it, where that is smaller than a crop. data.joints reads it.
    """
    entries = []
    for frame, image, _, box in written:
        corners = list(box) if frame.scale == 1 else [length / frame.scale for length in box]
        file = image.relative_to(folder).as_posix()
        source = os.path.abspath(frame.image)
        entries.append({"file": file, "source": source, "box": corners, "scale": frame.scale})
    return entries


def write_regions(folder: Path, domain: str, regions: HandRegions, *, num_workers: int = 0) -> list[Written]:
    """Write the regions of the target domain, their masks, and <domain>/regions.json."""
    names, written = output_names(regions.frames), []
    hands = readable(regions, num_workers=num_workers)
    with background_writer() as write:
        for index, hand in progress(hands, total=len(regions), desc=f"writing {domain} images"):
            image, mask = folder / domain / names[index], folder / "masks" / domain / names[index]
            write(image, hand.image)
            write(mask, hand.mask)
            written.append(Written(regions.frames[index], image, mask, hand.box))
    write_json(folder / domain / REGIONS_FILE, region_entries(folder / domain, written))
    return written


@contextlib.contextmanager
def background_writer() -> Iterator[Callable[[Path, np.ndarray], None]]:
    """A function that writes PNGs as write_png does, in background threads and a bounded number at a time.

    All are written when the block ends. Arrays must not be changed after they were given.
    """
    pending: deque[Future] = deque()
    with ThreadPoolExecutor(WRITERS) as pool:

        def write(path: Path, image: np.ndarray) -> None:
            pending.append(pool.submit(write_png, path, image))
            if len(pending) > WAITING:
                pending.popleft().result()

        yield write
        for each in pending:
            each.result()


def as_seen(generated: list[Written], source: list[Written]) -> Iterator[np.ndarray]:
    """Translations over the background that the networks saw, as they are scored, from files with another background."""
    for translated, original in zip(generated, source):
        yield np.where(read_mask(original.mask)[..., None], read_rgb(translated.image), read_rgb(original.image))


def link_annotations(generated: list[Written]) -> int:
    """Link the annotation files beside each source beside its translation; copy where links cannot be. Returns how many."""
    count = 0
    for each in generated:
        for file in annotation_files(each.frame.image):
            link = each.image.parent / file.name
            if link.exists() or link.is_symlink():
                log.warning("%s exists already: the annotation %s is not linked", link, file)
                continue
            try:
                os.symlink(file.resolve(), link)
            except OSError:
                shutil.copy2(file, link)
            count += 1
    return count


def write_grid(
    folder: Path,
    generated: list[Written],
    source: list[Written],
    target: list[Written] | None,
    *,
    domains: tuple[str, str],
    background: str | None = None,
) -> Path:
    """grid.png like the paper's Fig. 1 and 4: sources, their translations and, below them, hands of the target domain.

    domains: (of the sources, of the target). background: as in write_translations; all rows show what the networks saw.
    """
    columns = min(GRID_COLUMNS, len(source))
    rows = {domains[0]: source, "translated": generated}
    if target and len(target) >= columns:
        rows[domains[1]] = target
    shown = {label: [row[place] for place in spread(len(row), columns)] for label, row in rows.items()}
    captions = [["" if label == "translated" else each.image.stem for each in row] for label, row in shown.items()]
    pictures = {label: [read_rgb(each.image) for each in row] for label, row in shown.items()}
    if background:
        pictures["translated"] = list(as_seen(shown["translated"], shown[domains[0]]))
    write_png(folder / "grid.png", sheet(list(pictures.values()), labels=list(shown), captions=captions))
    return folder / "grid.png"
