"""One frame of preprocess_masks.py: a photograph and its raw mask give a refined mask or a reason to drop the frame."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from data.masks import ops as masks
from data.masks.realhands import KEPT, RealFrame, refined_path
from data.masks.values import Ranges, fit, read_levels
from util.files import printable
from util.images import ImageError, Picture, read_picture, write_png

MARGIN = 24  # pixels around the hand in which its surroundings' colour is measured
PIECE = 0.01  # of the largest component: smaller ones are blobs, larger ones may be a finger that a fault cut off
CUT = 6  # pixels that such a cut may be wide


@dataclass(frozen=True, kw_only=True)
class RefineOptions:
    """The steps' parameters; the flags of preprocess_masks.py of the same names.

    Median, largest component, closing and erosion are the paper's steps, whose sizes it does not give: the least that
    removes speckle, joins cracks and takes a pixel off the border. The limits of area and contours are the released
    code's. Kernel sizes in pixels, odd, 0 = step off. max_hole is a fraction of the hand, min_area and max_area are
    fractions of the frame. threshold 0 is Otsu's. snap is the radius of the window in which the outline follows the
    photograph. mask_values: which values of a mask file are hand (data.masks.values).
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


@dataclass(frozen=True)
class Verdict:
    """What became of one mask.

    verdict: "kept", or what is wrong with it. source: "mask" or "chroma key", and why the mask was not used or how
    it was adapted. area_before, area_after: the binarised source's and the refined mask's fraction of the frame; 0
    where there is none. contours: outlines after the median filter, holes included. change: 1 - IoU of the two masks.
    """

    verdict: str
    source: str
    area_before: float = 0.0
    area_after: float = 0.0
    contours: int = 0
    change: float = 0.0


def refine_mask(grey: np.ndarray, rgb: np.ndarray | None, options: RefineOptions) -> tuple[np.ndarray | None, Verdict]:
    """Refine one mask: (bool (H, W), or None where it is not plausible; verdict).

    grey: uint8 (H, W), a raw mask, in whatever state. rgb: uint8 (H, W, 3), its photograph, or None to do without.
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
    """bool (h, w), uint8 (h, w, 3) or None -> bool (h, w): the steps from the largest component on."""
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


def refine_frame(frame: RealFrame, options: RefineOptions) -> Verdict:
    """Read a frame, refine its mask, write mask_refined/<name>_mask.png or, if the frame is dropped, remove it.

    A mask that is missing, damaged or not plausible is replaced by the chroma key of the photograph. Whatever is wrong
    with the files is told in the verdict; only a failure to write raises (OSError).
    """
    try:
        refined, verdict = judge_frame(frame, options)
    except (ImageError, cv2.error, MemoryError, ValueError) as error:
        refined, verdict = None, Verdict(f"failed: {_reason(error, frame.image)}", "")
    output = refined_path(frame)
    if refined is None:
        output.unlink(missing_ok=True)
    else:
        write_png(output, refined)
    return verdict


def judge_frame(frame: RealFrame, options: RefineOptions) -> tuple[np.ndarray | None, Verdict]:
    """As refine_frame, but writes nothing: (bool (H, W) or None, verdict)."""
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

    A mask of another size but the same proportions is a scaled one, and is scaled to fit; one that fits the photograph
    as it lies in the file is turned along with it; any other is of no use. values: see data.masks.values.
    """
    if path is None:
        return None, "missing"
    size = picture.pixels.shape[:2]
    try:
        grey = fit(read_levels(path, values, raw=True), size, picture.stored, picture.orientation)
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
