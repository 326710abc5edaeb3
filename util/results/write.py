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
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from data.crops import Box
from data.frames import Frame, annotation_files
from data.samples import Region
from util.drawing import sheet
from util.files import csv_text, write_bytes, write_json
from util.images import write_png
from util.results.pages import gallery
from util.results.tables import comparison_table, score_rows
from util.scores.metrics import METRICS

log = logging.getLogger(__name__)


class Written(NamedTuple):
    """An image that was written: its file below the folder of its part, its frame, and the box that it shows of it."""

    name: PurePosixPath
    frame: Frame
    box: Box


@dataclass
class Tested:
    """One run's translations of one set of sources."""

    name: str
    folder: Path
    domains: tuple[str, str]  # of the sources, of the target
    written: list[Written] = field(default_factory=list)  # the translations, below generated/
    samples: list[tuple] = field(default_factory=list)  # of grid.png: (caption, source, translation)
    target: list[tuple] = field(default_factory=list)  # of grid.png: (caption, hand of the target domain)
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


def is_shown(index: int, places: deque[int]) -> bool:
    """Whether a grid shows frame `index`: one of the places, or the next that could be read in the place of one."""
    if not places or index < places[0]:
        return False
    places.popleft()
    return True


def write_grid(test: Tested) -> Path:
    """grid.png like the paper's Fig. 1 and 4: sources, their translations and, below them, hands of the target domain."""
    captions, *rows = zip(*test.samples)
    captions, labels = [captions, [""] * len(captions)], [test.domains[0], "translated"]
    if len(test.target) == len(test.samples):
        below, hands = zip(*test.target)
        rows, labels, captions = [*rows, hands], [*labels, test.domains[1]], [*captions, below]
    write_png(test.folder / "grid.png", sheet(rows, labels=labels, captions=captions))
    return test.folder / "grid.png"


def write_scores(test: Tested) -> None:
    """Write metrics.json and, where single images were scored, hand_metrics.csv."""
    write_json(test.folder / "metrics.json", test.metrics)
    if test.each:
        values = [["" if value is None else round(value, 4) for value in row] for row in test.each.values()]
        rows = zip((each.name for each in test.written), *values)
        write_bytes(test.folder / "hand_metrics.csv", csv_text(("file", *test.each), rows).encode())


def write_page(folder: Path, tests: Mapping[str, Tested], options: Mapping[str, object] | None = None) -> Path:
    """Write index.html of one run or of several, which have translated the same images. options: test.py's flags."""
    first, alone = next(iter(tests.values())), len(tests) == 1
    domain = first.domains[0]
    parts = [(domain, first, domain)]
    parts += [("translated" if alone else name, test, "generated") for name, test in tests.items()]
    if any(each.frame.mask_kind != "none" for each in first.written):
        parts.append(("mask", first, f"masks/{domain}"))
    if (first.folder / "true_pairs").is_dir():
        parts.append(("true pair", first, "true_pairs"))
    labels = {metric.key: metric.label for metric in METRICS if metric.better in ("higher", "lower")}
    labels["distance"] = "distance to the real mean"
    scores = {
        labels[key] + ("" if alone else f" of {name}"): values
        for name, test in tests.items()
        for key, values in test.each.items()
        if key in labels
    }
    verdicts = {name: test.metrics["verdict"] for name, test in tests.items() if test.metrics.get("verdict")}
    step = f", step {first.metrics['step']:,}" if "step" in first.metrics else ""
    text = gallery(
        f"{first.name}{step}: {folder.name}" if alone else f"{' | '.join(tests)}: compared",
        verdicts=[said if alone else f"{name}: {said}" for name, said in verdicts.items()],
        columns=[(label, Path(os.path.relpath(test.folder / part, folder)).as_posix()) for label, test, part in parts],
        names=[each.name for each in first.written],
        scores=scores,
        tables={"scores" if alone else name: score_rows(test.metrics) for name, test in tests.items()},
        options={key: value for key, value in sorted((options or {}).items()) if key not in ("explicit", "name")},
        notes=[] if alone else [f"{len(first.written)} images that every run has translated and none was trained on."],
    )
    write_bytes(folder / "index.html", text.encode())
    return folder / "index.html"


def write_comparison(folder: Path, tests: dict[str, Tested]) -> None:
    """Write grid.png (Fig. 5: a row an input, a column a run), index.html and, with scores, table.md (Table I)."""
    for name in ("grid.png", "index.html", "table.md"):
        (folder / name).unlink(missing_ok=True)
    first, *others = tests.values()
    names = [each.name for each in first.written]
    if any([each.name for each in other.written] != names for other in others):
        log.warning("the runs could not read the same images; nothing is compared")
        return
    rows = [[each[0][1], *(sample[2] for sample in each)] for each in zip(*(test.samples for test in tests.values()))]
    captions = [[caption, *[""] * len(tests)] for caption, *_ in first.samples]
    write_png(folder / "grid.png", sheet(rows, columns=[first.domains[0], *tests], captions=captions))
    write_page(folder, tests)
    scored = {name: test.metrics for name, test in tests.items() if "n_generated" in test.metrics}
    if scored.keys() == tests.keys():
        write_bytes(folder / "table.md", comparison_table(scored).encode())
    log.info("compared: look at %s", ", ".join(map(str, sorted(folder.glob("*.*")))))
