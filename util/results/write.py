"""The files that test.py writes, for one run (results/<name>/<phase>/) and for several (results/compare/).

generated/<path of the source>.png    translations
synthetic/..., real/..., masks/...    the regions that were compared, and their masks
true_pairs/...                        with the demo, what the translations should look like
regions.json                          which part of its source each translation shows
metrics.json, hand_metrics.csv        the scores of the set, and of single images
grid.png, index.html, table.md        to look at
"""

import logging
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from data.crops import Box
from data.frames import Frame, annotation_files
from data.masks import SYNTHETIC_KEY
from data.samples import Region
from util.drawing import evenly, sheet, trimmed
from util.files import csv_text, printable, write_bytes, write_json
from util.images import read_mask, read_rgb, write_png
from util.results.pages import comparison_table, gallery, html_page, scores_table, table

log = logging.getLogger(__name__)


class Written(NamedTuple):
    """An image that was written: its file below the folder of its part, its frame, and the box that it shows of it."""

    name: PurePosixPath
    frame: Frame
    box: Box


@dataclass
class Tested:
    """One run's translations of one set of sources."""

    folder: Path
    domains: tuple[str, str]  # of the sources, of the target
    background: str | None = None  # what is written outside the hand; None: what the networks saw
    written: list[Written] = field(default_factory=list)  # the translations, below generated/
    target: list[Written] = field(default_factory=list)  # the hands of the target domain, below its folder
    metrics: dict[str, Any] = field(default_factory=dict)  # what metrics.json holds; empty for --input
    each: dict[str, list[float | None]] = field(default_factory=dict)  # {key of a metric: one for each translation}


def output_names(frames: list[Frame]) -> list[PurePosixPath]:
    """The file that each frame's result goes to: its relative path, as PNG; a.jpg.png beside a.png of a source a.png."""
    names = [PurePosixPath(frame.relative).with_suffix(".png") for frame in frames]
    whole = [PurePosixPath(f"{frame.relative}.png") for frame in frames]
    while True:  # a name that gets its suffix back may be another's: a.jpg.png
        count = Counter(names)
        if len(count) == len(names):
            return names
        names = [full if count[name] > 1 else name for name, full in zip(names, whole)]


def in_path_order(frames: list[Frame]) -> list[Frame]:
    """The frames in the order of their output files' paths, as torch-fidelity sorts a folder's."""
    order = dict(zip(map(str, output_names(frames)), frames))
    return [order[name] for name in sorted(order)]


def write_region(folder: Path, domain: str, name: PurePosixPath, region: Region) -> None:
    """Write a region and its mask."""
    write_png(folder / domain / name, region.image)
    write_png(folder / "masks" / domain / name, region.mask)


def compose(hand: np.ndarray, region: Region, background: str) -> np.ndarray:
    """Put a translated hand, uint8 (H, W, 3), over a --background: (H, W, 3), or (H, W, 4) with alpha; uint8, or uint16 for
    "keep" of a 16-bit source, whose pixels stay to the last bit. region: of the same size, with its source."""
    inside = region.mask[..., None]
    if background == "keep":
        source = region.source
        hand = hand.astype(np.uint16) * 257 if source.dtype == np.uint16 else hand
        return np.dstack([np.where(inside, hand, source[..., :3]), source[..., 3:]])
    ground = np.array(SYNTHETIC_KEY if background == "key" else (255, 255, 255), np.uint8)
    hand = np.where(inside, hand, ground)
    return np.dstack([hand, region.mask * np.uint8(255)]) if background == "transparent" else hand


def write_regions(folder: Path, written: Sequence[Written], below: str = "") -> None:
    """Write regions.json: {"file": below the folder, "source": the image it is of, "box": [x, y, width, height] in the
    source's pixels, as it is shown (turned by its orientation tag), "scale": pixels of the file a source's pixel}.

    A box may begin before its source and end behind it, where that is smaller than a crop. data.joints reads it.
    """
    entries = []
    for name, frame, box in written:
        corners = list(box) if frame.scale == 1 else [length / frame.scale for length in box]
        file, source = (PurePosixPath(below) / name).as_posix(), os.path.abspath(frame.image)
        entries.append({"file": file, "source": source, "box": corners, "scale": frame.scale})
    write_json(folder / "regions.json", entries)


def link_annotations(folder: Path, written: Sequence[Written]) -> None:
    """Link the annotation files beside each source beside its translation; copy where links cannot be."""
    count = 0
    for each in written:
        for file in annotation_files(each.frame.image):
            link = (folder / each.name).parent / file.name
            if link.exists() or link.is_symlink():
                log.warning("%s exists already: the annotation %s is not linked", link, file)
                continue
            try:
                os.symlink(file.resolve(), link)
            except OSError:
                shutil.copy2(file, link)
            count += 1
    log.info("%d annotation files linked beside them", count)


def samples(test: Tested, part: str, most: int = 6) -> tuple[list[np.ndarray], list[str]]:
    """Pictures of a part and their captions, evenly spread; all on the background that the networks saw."""
    written = test.target if part == test.domains[1] else test.written
    chosen = evenly(written, most)
    pictures = [read_rgb(test.folder / part / each.name) for each in chosen]
    if part == "generated" and test.background:
        source = test.domains[0]
        masks = [read_mask(test.folder / "masks" / source / each.name)[..., None] for each in chosen]
        pictures = [np.where(*each) for each in zip(masks, pictures, samples(test, source)[0])]
    return pictures, [each.frame.image.stem for each in chosen]


def write_grid(test: Tested) -> None:
    """grid.png like the paper's Fig. 1 and 4: sources, their translations and, below them, hands of the target domain."""
    source, target = test.domains
    sources, captions = samples(test, source)
    rows, below = [sources, samples(test, "generated")[0]], [captions, [""] * len(captions)]
    targets, captions = samples(test, target, len(sources))
    if len(targets) == len(sources):
        rows, below = [*rows, targets], [*below, captions]
    labels = [source, "translated", target][: len(rows)]
    write_png(test.folder / "grid.png", sheet(trimmed(rows), labels=labels, captions=below))


def write_scores(test: Tested) -> None:
    """Write metrics.json and, where single images were scored, hand_metrics.csv."""
    write_json(test.folder / "metrics.json", test.metrics)
    if test.each:
        values = [["" if value is None else round(value, 4) for value in row] for row in test.each.values()]
        rows = zip((each.name for each in test.written), *values)
        write_bytes(test.folder / "hand_metrics.csv", csv_text(("file", *test.each), rows).encode())


def write_page(folder: Path, tests: Mapping[str, Tested]) -> None:
    """Write index.html of one run or of several, which have translated the same images: scores, and every image."""
    first, alone = next(iter(tests.values())), len(tests) == 1
    domain = first.domains[0]
    parts = {domain: first.folder / domain}
    parts |= {"translated" if alone else name: test.folder / "generated" for name, test in tests.items()}
    parts |= {"mask": first.folder / "masks" / domain}
    if (first.folder / "true_pairs").is_dir():
        parts["true pair"] = first.folder / "true_pairs"
    roots = {label: quote(Path(os.path.relpath(part, folder)).as_posix()) for label, part in parts.items()}
    rows, singles = [], first.each if alone else {}
    for i, each in enumerate(first.written):
        file = quote(os.fsencode(each.name))
        scores = [f"{key} {values[i]:.3f}" for key, values in singles.items() if values[i] is not None]
        caption = f"{printable(each.name)}: {', '.join([*parts, *scores])}"
        rows.append((caption, {label: f"{root}/{file}" for label, root in roots.items()}))
    title = " | ".join(tests)
    text = [f"# {title}: {folder.name}"]
    measured = {name: test.metrics for name, test in tests.items() if "verdict" in test.metrics}
    text += [f"**{name}, step {found['step']:,}: {found['verdict']}**" for name, found in measured.items()]
    if measured:
        scores = scores_table(measured)
        text.append(table(scores[0], scores[1:]))
    write_bytes(folder / "index.html", html_page(title, "\n\n".join(text), gallery(rows)).encode())


def write_comparison(folder: Path, tests: dict[str, Tested]) -> None:
    """Write grid.png (Fig. 5: a row an input, a column a run), index.html and, with scores, table.md (Table I)."""
    for name in ("grid.png", "index.html", "table.md"):
        (folder / name).unlink(missing_ok=True)
    first, *others = tests.values()
    names = [each.name for each in first.written]
    if any([each.name for each in other.written] != names for other in others):
        log.warning("the runs could not read the same images; nothing is compared")
        return
    sources, captions = samples(first, first.domains[0])
    columns = [sources, *(samples(test, "generated")[0] for test in tests.values())]
    below = [[caption, *[""] * len(tests)] for caption in captions]
    pictures = trimmed(list(zip(*columns)))
    write_png(folder / "grid.png", sheet(pictures, columns=[first.domains[0], *tests], captions=below))
    write_page(folder, tests)
    if "n_generated" in first.metrics:
        text = comparison_table({name: test.metrics for name, test in tests.items()})
        write_bytes(folder / "table.md", text.encode())
    log.info("compared: look at %s", ", ".join(map(str, sorted(folder.glob("*.*")))))
