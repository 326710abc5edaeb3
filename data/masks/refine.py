"""preprocess_masks.py: a photograph and its raw mask give a refined mask or a reason to drop the frame."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from data.masks import ops as masks
from data.masks.realhands import KEPT, REPORT_NAME, RealFrame, Verdict, read_report, refined_path, report_key
from data.masks.values import Ranges, read_levels
from util.drawing import draw_outline, sheet
from util.drawing import fit as fit_picture
from util.errors import UsageError
from util.files import LOCK_FILE, csv_text, locked, printable, read_json, strict, write_bytes, write_json
from util.images import ImageError, Picture, read_mask, read_picture, write_png
from util.workers import in_processes, progress

OPTIONS_NAME = "masks_options.json"
PREVIEW_NAME = "masks_preview.png"
MARGIN = 24  # pixels around the hand in which its surroundings' colour is measured
PIECE = 0.01  # of the largest component: smaller ones are blobs, larger ones may be a finger that a fault cut off
CUT = 6  # pixels that such a cut may be wide
FEW = 16  # frames for which no processes are started, which takes seconds
COLUMNS, SIDE = 5, 320  # of the preview: pictures a row, pixels of a picture's longer side
RAW_COLOUR, REFINED_COLOUR = (255, 40, 40), (0, 90, 255)


@dataclass(frozen=True, kw_only=True)
class RefineOptions:
    """The steps' parameters; the flags of preprocess_masks.py of the same names explain them.

    The paper's steps are median, largest component, closing and erosion. It does not give their sizes: these are the least
    that remove speckle, join cracks and take a pixel off the border. Limits of area and contours are the released code's.
    """

    median: int = 5
    threshold: int = 0
    close: int = 3
    erode: int = 3
    snap: int = 8
    max_hole: float = 0.008
    min_area: float = 0.05
    max_area: float = 0.50
    max_contours: int = 60
    mask_values: Ranges | None = None
    fallback: bool = True
    key_low: tuple[int, int, int] = masks.GREEN_LOW
    key_high: tuple[int, int, int] = masks.GREEN_HIGH


def refine_mask(grey: np.ndarray, rgb: np.ndarray | None, options: RefineOptions) -> tuple[np.ndarray | None, Verdict]:
    """Refine one mask: (bool (H, W), or None where it is not plausible; verdict).

    grey: uint8 (H, W), a raw mask. rgb: uint8 (H, W, 3), its photograph, or None to do without.
    """
    before = masks.binarise(grey, options.threshold)
    filtered = cv2.medianBlur(grey, options.median) if options.median > 1 else grey
    mask = masks.binarise(filtered, options.threshold)
    if mask.all() or not mask.any():
        return None, Verdict("all hand" if mask.all() else "no hand", "mask", float(before.mean()))
    contours = masks.count_contours(mask)
    verdict = Verdict(KEPT, "mask", float(before.mean()), contours=contours)
    if contours > options.max_contours:
        return None, replace(verdict, verdict=f"{contours} contours, more than {options.max_contours}")
    mask = masks.large_components(mask, PIECE)

    # All that follows happens around the hand.
    window = masks.bounding_box(mask, MARGIN)
    refined = np.zeros_like(mask)
    refined[window] = _refine_hand(mask[window], None if rgb is None else rgb[window], options)

    area = float(refined.mean())
    if options.min_area <= area <= options.max_area:
        return refined, replace(verdict, area_after=area, change=1.0 - masks.iou(before, refined))
    limit = f"less than {options.min_area:.1%}" if area < options.min_area else f"more than {options.max_area:.1%}"
    return None, replace(verdict, verdict=f"hand covers {area:.1%} of the frame, {limit}")


def _refine_hand(mask: np.ndarray, rgb: np.ndarray | None, options: RefineOptions) -> np.ndarray:
    """The steps from the largest component on."""
    main = masks.largest_component(mask)
    likeness = masks.hand_likeness(rgb, main) if options.snap and rgb is not None else None
    mask = main if likeness is None else masks.rejoin(main, mask & ~main, likeness, CUT)
    holes = masks.genuine_holes(mask, options.max_hole, likeness)
    mask = masks.fill_holes(mask)[0] & ~holes
    if likeness is not None:
        snapped = masks.snap_to_edges(mask, likeness, options.snap)
        # A narrow hole may be lost to the filter, and a glint near the outline may become one.
        labels, areas = masks.label_holes(mask)
        still_open = np.bincount(labels[~snapped], minlength=len(areas)) > 0
        snapped &= still_open[labels] | ~holes
        mask, holes = masks.fill_holes(masks.largest_component(snapped), holes)
    mask = masks.close_gaps(mask, options.close, keep=holes)
    return masks.largest_component(masks.erode(mask, options.erode)) if options.erode else mask


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
        keyed = masks.chroma_key_mask(rgb, options.key_low, options.key_high)
        mask, from_key = refine_mask(keyed.view(np.uint8) * 255, rgb, options)
        if mask is not None:
            return mask, replace(from_key, source=f"chroma key, {faults}")
        faults += f"; chroma key: {from_key.verdict}"
    return None, replace(verdict, verdict=faults)


def read_raw_mask(path: Path | None, picture: Picture, values: Ranges | None) -> tuple[np.ndarray | None, str]:
    """Read a raw mask for a photograph: (uint8 (H, W) of its size or None, remark or fault).

    A mask of the same proportions is scaled to fit; any other is of no use. values: see data.masks.values.
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
        refined_path(frame).unlink(missing_ok=True)
    else:
        write_png(refined_path(frame), refined)
    return verdict


# ------------------------------------------------------------------ all frames


def refine_tree(
    root: Path, frames: list[RealFrame], options: RefineOptions, *, num_workers: int, overwrite: bool
) -> tuple[dict[str, Verdict], int]:
    """Refine every frame that is not done yet, and write the report: {report_key: Verdict}, and how many were done before.

    A frame is done if its refined mask is newer than its sources, or not of this program's making. The report is written at
    the end, even of an interrupted run. Raises UsageError where the masks there were made with other options (unless
    overwrite), and where another run is at work on the tree.
    """
    with locked(root / LOCK_FILE):
        _store_options(root / OPTIONS_NAME, options, overwrite=overwrite)
        for folder in {refined_path(frame).parent for frame in frames}:
            for part in folder.glob(".part-*"):  # of a run that was killed
                part.unlink(missing_ok=True)
        rows, done = read_report(root), set()
        for frame in frames:
            key = report_key(frame, root)
            if overwrite:
                refined_path(frame).unlink(missing_ok=True)  # so that an interrupted run can go on without --overwrite
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
                rows[report_key(frame, root)] = verdict
        finally:
            lines = [_line(key, rows[key]) for frame in frames if (key := report_key(frame, root)) in rows]
            write_bytes(root / REPORT_NAME, csv_text(["file", *Verdict.__dataclass_fields__], lines).encode())
    return read_report(root), len(done)


def _store_options(file: Path, options: RefineOptions, *, overwrite: bool) -> None:
    """Store the options of the masks beside them. Raises UsageError if others are there, unless overwrite."""
    wanted = strict(asdict(options))
    before = wanted if overwrite else read_json(file) or wanted
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


def write_preview(root: Path, frames: list[RealFrame], rows: dict[str, Verdict]) -> bool:
    """Draw masks_preview.png in the root from the kept frames; False, and no file, if there are none."""
    changes = {frame: row.change for frame in frames if (row := rows[report_key(frame, root)]).verdict == KEPT}
    kept = sorted(changes, key=changes.get, reverse=True)
    (root / PREVIEW_NAME).unlink(missing_ok=True)
    if kept:
        n = min(COLUMNS, len(kept))
        middle = (len(kept) - n) // 2
        groups = [kept[:n], kept[middle : middle + n], kept[-n:]]
        picture = sheet(
            [[_picture(frame) for frame in group] for group in groups],
            labels=["largest changes", "median changes", "smallest changes"],
            captions=[[f"{frame.user}/{frame.name}  {changes[frame]:.3f}" for frame in group] for group in groups],
            title="raw masks in red, refined masks in blue",
            side=SIDE,
        )
        write_png(root / PREVIEW_NAME, picture)
    return bool(kept)


def _picture(frame: RealFrame) -> np.ndarray:
    """The photograph, of SIDE pixels or less a side, with both outlines."""
    photograph = read_picture(frame.image)
    raw, _ = read_raw_mask(frame.mask, photograph, None)
    height, width = (max(1, round(side * SIDE / max(photograph.stored))) for side in photograph.rgb.shape[:2])
    picture = fit_picture(photograph.rgb, height, width)
    if raw is not None:
        draw_outline(picture, masks.binarise(raw), RAW_COLOUR)
    draw_outline(picture, read_mask(refined_path(frame)), REFINED_COLOUR)
    return picture
