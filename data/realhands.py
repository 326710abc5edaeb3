"""RealHands on disk: photographs, raw masks, and what preprocess_masks.py adds: refined masks and masks_report.csv.

A user's folder may have any name and lie at any depth; a color/ folder makes it one.
"""

import contextlib
import csv
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from data import masks
from data.listing import REFINED_MASKS, MaskFolders, folders_below, images_below, normal
from data.mask_values import Ranges, read_levels
from data.masks import KEPT, RefineOptions, Verdict, refine_mask
from util.drawing import draw_outline, evenly, sheet
from util.drawing import fit as fit_picture
from util.errors import UsageError
from util.files import LOCK_FILE, csv_text, locked, printable, read_json, strict, write_bytes, write_json
from util.images import ImageError, Picture, read_mask, read_picture, write_png
from util.workers import in_processes, progress

COLOUR_FOLDER = "color"
MASK_FOLDERS = ("mask", "masks")
REFINED_FOLDER = "mask_refined"
REPORT_NAME = "masks_report.csv"
OPTIONS_NAME = "masks_options.json"
PREVIEW_NAME = "masks_preview.png"
FEW = 16  # frames for which no processes are started, which takes seconds
COLUMNS, ROWS, SIDE = 5, 3, 320  # of the preview: pictures a row, rows, pixels of a picture's longer side
RAW_COLOUR, REFINED_COLOUR = (255, 40, 40), (0, 90, 255)

EXPECTED_TREE = """\
<root>/<user>/color/<name>_color.png        photographs (<name>.png, .jpg and .jpeg are read too)
<root>/<user>/mask/<name>_mask.png          raw masks (mask/ or masks/; <name>.png, .jpg, .jpeg)"""


@dataclass(frozen=True)
class RealFrame:
    """One photograph, its raw and its refined mask. user: the user's folder below the root; name: the file's stem without
    "_color". (user, name) is unique within a root. target: where the refined mask lies, or would lie. key: its name in
    masks_report.csv, the photograph's path below the root, printable."""

    image: Path
    mask: Path | None
    refined: Path | None
    user: str
    name: str
    target: Path
    key: str


def find_real_frames(root: Path, masks: Path | None = None) -> list[RealFrame]:
    """All photographs below the root, sorted by user and name; an unreadable or missing folder counts as empty.

    masks: a folder whose masks go before all others (--masks). Of several photographs of one name the one with "_color"
    counts, then PNG before JPEG.
    """

    def rank(path: Path) -> tuple:
        return _name(path) != path.stem, path.suffix.lower() == ".png", path.name

    folders = MaskFolders(root, masks, of_colour=MASK_FOLDERS)
    frames = []
    for folder, subfolders, _ in folders_below(root):
        if COLOUR_FOLDER in subfolders:
            user = Path(folder)
            paths = [path for path in images_below(user / COLOUR_FOLDER) if path.parent == user / COLOUR_FOLDER]
            photographs = {_name(path): path for path in sorted(paths, key=rank)}  # the last of a name counts
            refined = {path.name: path for path in images_below(user / REFINED_FOLDER)}
            for name, image in photographs.items():
                mask, label = folders.find(image), user.relative_to(root).as_posix()
                target, key = user / REFINED_FOLDER / f"{name}_mask.png", printable(image.relative_to(root).as_posix())
                frames.append(RealFrame(image, mask and mask.path, refined.get(target.name), label, name, target, key))
            # A user's own folders hold files, no further users.
            subfolders[:] = sorted({*subfolders} - {COLOUR_FOLDER, REFINED_FOLDER, *MASK_FOLDERS})
    return sorted(frames, key=lambda frame: (frame.user, frame.name))


def find_folder_frames(images: Path, masks: Path) -> tuple[list[RealFrame], Path]:
    """All images below any folder, sorted by path, with their masks below another; and the folder of their refined masks,
    <images>_masks_refined/ beside them, where data.listing finds them."""
    folders, root, frames = MaskFolders(images, masks), images.with_name(f"{images.name}{REFINED_MASKS}"), {}
    for image in (path for path in images_below(images) if not normal(path.name).endswith("_mask")):
        relative, mask = image.relative_to(images), folders.given(image)
        target = root / relative.with_suffix(".png")
        where = relative.parent.as_posix(), image.stem, target, printable(relative.as_posix())
        frames[target] = RealFrame(image, mask and mask.path, target if target.exists() else None, *where)
    return [frames[target] for target in sorted(frames)], root


def _name(photograph: Path) -> str:
    return re.sub("(?<=.)_color$", "", photograph.stem, flags=re.IGNORECASE)


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
    rgb = picture.rgb
    grey, remark = read_raw_mask(frame.mask, picture, options.mask_values)
    mask, verdict = (None, Verdict(remark, "mask")) if grey is None else refine_mask(grey, rgb, options)
    if mask is not None:
        return mask, replace(verdict, source=f"mask, {remark}" if remark else "mask")
    faults = f"mask: {verdict.verdict}"
    if options.fallback:
        keyed = masks.chroma_key_mask(rgb)
        mask, from_key = refine_mask(keyed.view(np.uint8) * 255, rgb, options)
        if mask is not None:
            return mask, replace(from_key, source=f"chroma key, {faults}")
        faults += f"; chroma key: {from_key.verdict}"
    return None, replace(verdict, verdict=faults)


def read_raw_mask(path: Path | None, picture: Picture, values: Ranges | None) -> tuple[np.ndarray | None, str]:
    """Read a raw mask for a photograph: (uint8 (H, W) of its size or None, remark or fault).

    A mask of the same proportions is scaled to fit; any other is of no use. values: see data.mask_values.
    """
    if path is None:
        return None, "missing"
    size = picture.pixels.shape[:2]
    try:
        grey = read_levels(path, picture, values, raw=True)
    except ImageError as error:
        return None, _reason(error, path)
    height, width = grey.shape
    if (height, width) == size:
        return grey, ""
    # Proportions within what rounding to whole pixels can do.
    if abs(height * size[1] - width * size[0]) > max(size) and abs(height / width * size[1] / size[0] - 1) > 0.01:
        return None, f"{width}x{height}, photograph {size[1]}x{size[0]}"
    return cv2.resize(grey, size[::-1], interpolation=cv2.INTER_LINEAR), f"scaled from {width}x{height}"


def _reason(error: Exception, path: Path) -> str:
    """The error's message on one line, without the path; the report names the file."""
    return " ".join(str(error).removeprefix(f"{printable(path)}: ").split())[:200]


def refine_frame(frame: RealFrame, options: RefineOptions) -> Verdict:
    """Write mask_refined/<name>_mask.png, or remove it if the frame is dropped."""
    refined, verdict = judge_frame(frame, options)
    if refined is None:
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
        rows, done = read_report(root), set()
        for frame in frames:
            key = frame.key
            if overwrite:
                frame.target.unlink(missing_ok=True)  # so that an interrupted run can go on without --overwrite
            elif frame.refined and (key not in rows or _is_newer(frame)):
                done.add(frame)
                if key not in rows or rows[key].verdict != KEPT:
                    rows[key] = Verdict(KEPT, "refined mask found")
        todo = [frame for frame in frames if frame not in done]
        verdicts = in_processes(
            refine_frame,
            ((frame, options) for frame in todo),
            count=num_workers if len(todo) > FEW else 0,
            name=lambda task: printable(task[0].image),
        )
        try:
            for frame, verdict in zip(todo, progress(verdicts, total=len(todo), unit="mask", desc="refining")):
                rows[frame.key] = verdict
        finally:
            lines = [_line(frame.key, rows[frame.key]) for frame in frames if frame.key in rows]
            write_bytes(root / REPORT_NAME, csv_text(["file", *Verdict.__dataclass_fields__], lines).encode())
    return read_report(root), len(done)


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
    made = frame.refined.stat()
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
        captions = [[f"{each.user}/{each.name}  {changes[each]:.3f}" for each in row] for row in rows_shown]
        title = "raw masks in red, refined masks in blue, from the largest change to the smallest"
        pictures = [[_picture(each) for each in row] for row in rows_shown]
        write_png(root / PREVIEW_NAME, sheet(pictures, captions=captions, title=title, side=SIDE))


def _picture(frame: RealFrame) -> np.ndarray:
    """The photograph, of SIDE pixels or less a side, with both outlines."""
    photograph = read_picture(frame.image)
    raw, _ = read_raw_mask(frame.mask, photograph, None)
    height, width = (max(1, round(side * SIDE / max(photograph.stored))) for side in photograph.rgb.shape[:2])
    picture = fit_picture(photograph.rgb, height, width)
    if raw is not None:
        draw_outline(picture, masks.binarise(raw), RAW_COLOUR)
    draw_outline(picture, read_mask(frame.target), REFINED_COLOUR)
    return picture
