"""RealHands on disk: photographs, raw masks, and what preprocess_masks.py adds: refined masks and masks_report.csv.

A user's folder may have any name and lie at any depth; a color/ folder makes it one.
"""

import contextlib
import csv
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data import masks
from data.listing import COLOUR_FOLDER, REFINED_FOLDER, REFINED_MASKS, MaskFolders, images_below, normal
from data.mask_values import read_levels
from data.masks import KEPT, RefineOptions, Verdict, refine_mask
from util.drawing import draw_outline, evenly, fit_picture, sheet
from util.errors import UsageError
from util.files import LOCK_FILE, csv_text, locked, printable, read_json, strict, write_bytes, write_json
from util.images import ImageError, Picture, read_mask, read_picture, write_png
from util.workers import in_processes, progress

REPORT_NAME = "masks_report.csv"
OPTIONS_NAME = "masks_options.json"
PREVIEW_NAME = "masks_preview.png"
FEW = 16  # frames for which no processes are started, which takes seconds
COLUMNS, ROWS, SIDE = 5, 3, 320  # of the preview: pictures a row, rows, pixels of a picture's longer side
RAW_COLOUR, REFINED_COLOUR = (255, 40, 40), (0, 90, 255)


class RealFrame(NamedTuple):
    """One photograph and its raw mask. target: where the refined mask lies, or would lie. key: its name in
    masks_report.csv, the photograph's path below the root, printable."""

    image: Path
    mask: Path | None
    target: Path
    key: str


def photographs(root: Path) -> list[tuple[str, str, Path]]:
    """(user's folder below the root, name without suffix and _color, file) of all photographs in folders color/, sorted.

    Of several photographs of one name the one with "_color" counts, then PNG before JPEG.
    """
    found = {}
    for path in images_below(root):
        if path.parent.name == COLOUR_FOLDER:
            name = re.sub("(?<=.)_color$", "", path.stem, flags=re.IGNORECASE)
            rank = name != path.stem, path.suffix.lower() == ".png", path.name
            user = path.parent.parent.relative_to(root).as_posix()
            found[user, name] = max(found.get((user, name), (rank, path)), (rank, path))
    return [(*which, path) for which, (_, path) in sorted(found.items())]


def find_real_frames(root: Path, masks: Path | None = None) -> list[RealFrame]:
    """All photographs below the root, sorted by user and name. masks: a folder whose masks go before all others (--masks)."""
    folders, frames = MaskFolders(root, masks, refined=False), []
    for _, name, image in photographs(root):
        mask, target = folders.find(image), image.parent.with_name(REFINED_FOLDER) / f"{name}_mask.png"
        frames.append(RealFrame(image, mask and mask.path, target, printable(image.relative_to(root).as_posix())))
    return frames


def find_folder_frames(images: Path, masks: Path) -> tuple[list[RealFrame], Path]:
    """All images below any folder, sorted by path, with their masks below another; and the folder of their refined masks,
    <images>_masks_refined/ beside them, where data.listing finds them."""
    folders, root, frames = MaskFolders(images, masks), images.with_name(f"{images.name}{REFINED_MASKS}"), {}
    for image in (path for path in images_below(images) if not normal(path.name).endswith("_mask")):
        relative, mask = image.relative_to(images), folders.given(image)
        target = root / relative.with_suffix(".png")
        frames[target] = RealFrame(image, mask and mask.path, target, printable(relative.as_posix()))
    return [frames[target] for target in sorted(frames)], root


def read_report(root: Path) -> dict[str, Verdict]:
    """{a frame's key: Verdict} of masks_report.csv in the root; {} where there is none that can be read."""
    with contextlib.suppress(OSError, ValueError, csv.Error):
        with open(root / REPORT_NAME, encoding="utf-8", newline="") as file:
            _, *lines = csv.reader(file)
        return {
            key: Verdict(verdict, source, float(before), float(after), int(contours), float(change))
            for key, verdict, source, before, after, contours, change in lines
        }
    return {}


# ------------------------------------------------------------------ one frame


def judge_frame(frame: RealFrame, options: RefineOptions) -> tuple[np.ndarray | None, Verdict]:
    """Read a frame and refine its mask: (bool (H, W) or None, verdict, which says what is wrong with the files).

    A mask that is missing, damaged or not plausible is replaced by the chroma key of the photograph.
    """
    try:
        picture = read_picture(frame.image)
    except ImageError as error:
        return None, Verdict(f"photograph unreadable: {_reason(error, frame.image)}", "")
    mask, verdict = refine_file(frame.mask, picture, options)
    if mask is not None:
        return mask, verdict
    faults = f"mask: {verdict.verdict}"
    if options.fallback:
        keyed = masks.chroma_key_mask(picture.rgb)
        mask, from_key = refine_mask(keyed.view(np.uint8) * 255, picture.rgb, options)
        if mask is not None:
            return mask, replace(from_key, source=f"chroma key, {faults}")
        faults += f"; chroma key: {from_key.verdict}"
    return None, replace(verdict, verdict=faults)


def refine_file(path: Path | None, picture: Picture, options: RefineOptions) -> tuple[np.ndarray | None, Verdict]:
    """As refine_mask, of a photograph's raw mask on disk; the verdict says what is wrong with the file, too."""
    if path is None:
        return None, Verdict("missing", "mask")
    try:
        grey = read_levels(path, picture, options.mask_values, raw=True)
    except ImageError as error:
        return None, Verdict(_reason(error, path), "mask")
    (height, width), (tall, wide) = grey.shape, picture.pixels.shape[:2]
    if (height, width) != (tall, wide):
        return None, Verdict(f"{width}x{height}, photograph {wide}x{tall}", "mask")
    return refine_mask(grey, picture.rgb, options)


def _reason(error: Exception, path: Path) -> str:
    """The error's message on one line, without the path; the report names the file."""
    return " ".join(str(error).removeprefix(f"{printable(path)}: ").split())[:200]


def refine_frame(frame: RealFrame, options: RefineOptions) -> Verdict:
    """Write mask_refined/<name>_mask.png, or remove it if the frame is dropped."""
    refined, verdict = judge_frame(frame, options)
    if refined is None:
        frame.target.parent.mkdir(parents=True, exist_ok=True)  # an empty folder tells that all were dropped
        frame.target.unlink(missing_ok=True)
    else:
        write_png(frame.target, refined)
    return verdict


# ------------------------------------------------------------------ all frames


def refine_tree(
    root: Path, frames: list[RealFrame], options: RefineOptions, *, num_workers: int, overwrite: bool
) -> tuple[dict[str, Verdict], int]:
    """Refine every frame that is not done yet, and write the report: {key: Verdict}, and how many were done before.

    A frame is done if its refined mask is newer than its sources, or not of this program's making. The report is written at
    the end, even of an interrupted run. Raises UsageError where the masks there were made with other options (unless
    overwrite), and where another run is at work on the tree.
    """
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / LOCK_FILE):
        _store_options(root / OPTIONS_NAME, options, overwrite=overwrite)
        for folder in {frame.target.parent for frame in frames}:
            for part in folder.glob(".part-*"):  # of a run that was killed
                part.unlink(missing_ok=True)
        rows, todo = read_report(root), []
        for frame in frames:
            before = rows.get(frame.key)
            if overwrite:
                frame.target.unlink(missing_ok=True)  # so that an interrupted run can go on without --overwrite
            elif frame.target.exists() and (not before or _is_newer(frame)):
                if not before or before.verdict != KEPT:
                    rows[frame.key] = Verdict(KEPT, "refined mask found")
                continue
            todo.append(frame)
        tasks = ((frame, options) for frame in todo)
        verdicts = in_processes(refine_frame, tasks, count=num_workers if len(todo) > FEW else 0)
        try:
            for frame, verdict in zip(todo, progress(verdicts, total=len(todo), unit="mask", desc="refining")):
                rows[frame.key] = verdict
        finally:
            lines = [_line(frame.key, rows[frame.key]) for frame in frames if frame.key in rows]
            write_bytes(root / REPORT_NAME, csv_text(["file", *Verdict.__dataclass_fields__], lines).encode())
    return read_report(root), len(frames) - len(todo)


def _store_options(file: Path, options: RefineOptions, *, overwrite: bool) -> None:
    """Store the options of the masks beside them. Raises UsageError if others are there, unless overwrite."""
    wanted = strict(asdict(options))
    before = strict(asdict(RefineOptions())) | (wanted if overwrite else read_json(file) or wanted)
    if changes := [
        f"--{name} {before.get(name)} (now {now})" for name, now in wanted.items() if before.get(name) != now
    ]:
        raise UsageError(
            f"the masks under {file.parent} were refined with {', '.join(changes)}; pass --overwrite to redo them all, or "
            "the same options as then"
        )
    write_json(file, wanted)


def _is_newer(frame: RealFrame) -> bool:
    """Whether the refined mask is whole, and newer than its sources."""
    made = frame.target.stat()
    return made.st_size > 0 and made.st_mtime_ns >= max(p.stat().st_mtime_ns for p in (frame.image, frame.mask) if p)


def _line(key: str, verdict: Verdict) -> list:
    return [key, *(f"{value:.6f}" if isinstance(value, float) else value for value in vars(verdict).values())]


def write_preview(root: Path, frames: list[RealFrame], rows: dict[str, Verdict]) -> None:
    """Draw masks_preview.png in the root, kept frames from the most changed to the least; no file, if none is."""
    changes = {frame: row.change for frame in frames if (row := rows[frame.key]).verdict == KEPT}
    kept = sorted(changes, key=changes.get, reverse=True)
    (root / PREVIEW_NAME).unlink(missing_ok=True)
    if kept:
        shown = evenly(kept, COLUMNS * ROWS)
        rows_shown = [shown[place : place + COLUMNS] for place in range(0, len(shown), COLUMNS)]
        captions = [[f"{each.key}  {changes[each]:.3f}" for each in row] for row in rows_shown]
        title = "raw masks in red, refined masks in blue, from the largest change to the smallest"
        pictures = [[_picture(each) for each in row] for row in rows_shown]
        write_png(root / PREVIEW_NAME, sheet(pictures, captions=captions, title=title, side=SIDE))


def _picture(frame: RealFrame) -> np.ndarray:
    """The photograph, of SIDE pixels or less a side, with both outlines."""
    photograph = read_picture(frame.image)
    height, width = (max(1, round(side * SIDE / max(photograph.stored))) for side in photograph.rgb.shape[:2])
    picture = fit_picture(photograph.rgb, height, width)
    if frame.mask:
        with contextlib.suppress(ImageError):
            draw_outline(picture, masks.binarise(read_levels(frame.mask, photograph, raw=True)), RAW_COLOUR)
    draw_outline(picture, read_mask(frame.target), REFINED_COLOUR)
    return picture
