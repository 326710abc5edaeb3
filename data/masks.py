"""Hand masks: pure functions array -> array.

A mask is bool (H, W), True on the hand; rgb is uint8 (H, W, 3). A hole is a set of background pixels, joined by their edges,
that does not reach the frame's border; the hand's pixels are joined by edges or corners. Kernel sizes are in pixels, odd,
and 0 turns a step off.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from data.mask_values import Ranges

SYNTHETIC_KEY = (14, 255, 14)  # SynthHands' background, RGB
GREEN_LOW, GREEN_HIGH = (30, 30, 40), (90, 255, 255)  # RealHands' green screen, OpenCV HSV (released code)

# Edge snapping, chosen on rendered hands with exact masks, put on backgrounds of both kinds, and on photographs.
SNAP_WINDOW = 8  # pixels: radius of the window in which the outline follows the photograph's edges
SNAP_SHIFT = 3  # pixels by which the outline may move
SNAP_STEEPNESS = 6.0  # of the logistic curve that flattens shading within the hand and within the background
SNAP_RIDGE = 0.01  # the guided filter's regulariser, on a guide in [0, 1]
SNAP_INERTIA = 0.08  # weight of the raw outline: per pixel of distance from it, against a filter output in [0, 1]
SNAP_LEVEL = 0.52  # of the filter output, above which is hand
MANY = 4000  # of a side's pixels, evenly spaced, tell its colours
SNAP_SEPARATION = 3.0  # colours nearer than this many standard deviations say nothing about the outline


def chroma_key_mask(rgb: np.ndarray) -> np.ndarray:
    """Every pixel outside the range of the green screen's colour, ends included."""
    return cv2.inRange(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV), GREEN_LOW, GREEN_HIGH) == 0


def binarise(grey: np.ndarray) -> np.ndarray:
    """uint8 (H, W) -> mask: brighter than Otsu's threshold. A single value is all hand above middle grey, else none."""
    low, high, *_ = cv2.minMaxLoc(grey)
    if low == high:
        return np.full(grey.shape, low > 127)
    chosen, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return grey > chosen


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The connected component of most pixels; an empty mask stays empty."""
    labels, areas = components(mask)
    return (labels == areas.argmax()) & mask


def count_contours(mask: np.ndarray) -> int:
    """The number of outlines, outer ones and holes: high for a mask torn into pieces."""
    # OpenCV leaves the frame's outermost pixels out unless there is something beyond them.
    padded = cv2.copyMakeBorder(_bytes(mask), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    contours, _ = cv2.findContours(padded, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    return len(contours)


def fill_holes(mask: np.ndarray, below: float) -> tuple[np.ndarray, np.ndarray]:
    """(filled, holes): the mask without holes of fewer than `below` pixels, and a mask of those that stay."""
    # Within a rim of background, all of it that reaches the frame's border is one component, the first.
    labels, areas = components(np.pad(~mask, 1, constant_values=True), connectivity=4)
    labels = labels[1:-1, 1:-1]
    holes = (areas >= below)[labels] & (labels > 1)
    return mask | ((labels > 1) & ~holes), holes


def close_gaps(mask: np.ndarray, size: int, keep: np.ndarray | None = None) -> np.ndarray:
    """Morphological closing by a disc; pixels in the mask `keep` stay background."""
    if size < 2:
        return mask.copy()
    # Continued beyond the frame, so that a strip of background along its edge is not taken for a gap.
    padded = cv2.copyMakeBorder(_bytes(mask), size, size, size, size, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, _disc(size))[size:-size, size:-size] > 0
    return closed if keep is None else closed & ~(keep & ~mask)


def erode(mask: np.ndarray, size: int) -> np.ndarray:
    """Erosion by a disc of that diameter; an arm that leaves the frame is not cut there."""
    return cv2.erode(_bytes(mask), _disc(size)) > 0 if size > 1 else mask.copy()


def hand_likeness(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """How much each pixel looks like the hand, float32 (H, W) in [0, 1]: Fisher's linear discriminant between the colours just
    inside and just outside the outline, through a logistic curve. None where the two cannot be told apart."""
    distance = signed_distance(mask)
    inner, outer = rgb[(distance > 2) & (distance < 12)], rgb[(distance < -2) & (distance > -16)]
    inner, outer = (some[:: max(1, len(some) // MANY)].astype(np.float64) for some in (inner, outer))
    if min(len(inner), len(outer)) < 50:
        return None
    scatter = np.cov(inner.T) + np.cov(outer.T) + 4.0 * np.eye(3)  # no colour is certain to 2 levels of 255
    towards_hand = np.linalg.solve(scatter, inner.mean(0) - outer.mean(0))
    gap = (inner.mean(0) - outer.mean(0)) @ towards_hand  # in units of the summed variance
    if np.sqrt(2 * gap) < SNAP_SEPARATION:
        return None
    slope = SNAP_STEEPNESS * towards_hand / gap
    shift = (inner.mean(0) + outer.mean(0)) / 2 @ slope
    exponent = cv2.transform(rgb.astype(np.float32), np.append(-slope, shift)[None])
    return 1 / (1 + cv2.exp(np.minimum(exponent, 80)))


def snap_to_edges(mask: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """The outline moved to the photograph's own edge, by SNAP_SHIFT pixels at most: a guided filter (He, Sun and Tang 2010)
    regresses the mask on its likeness in windows. The mask as it is, where the photograph does not tell."""
    likeness, window = hand_likeness(rgb, mask), (2 * SNAP_WINDOW + 1,) * 2
    if likeness is None:
        return mask

    def mean(image: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(image, cv2.CV_32F, window, borderType=cv2.BORDER_REFLECT)

    target = mask.astype(np.float32)
    guide_mean, target_mean = mean(likeness), mean(target)
    covariance = mean(likeness * target) - guide_mean * target_mean
    variance = mean(likeness * likeness) - guide_mean * guide_mean
    slope = covariance / (variance + SNAP_RIDGE)
    filtered = mean(slope) * likeness + mean(target_mean - slope * guide_mean)
    distance = signed_distance(mask)
    hand = filtered + SNAP_INERTIA * np.clip(distance, -4, 4) > SNAP_LEVEL
    return (hand & (distance > -SNAP_SHIFT - 0.5)) | (distance > SNAP_SHIFT + 0.5)


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """float32 (H, W): pixels to the nearest pixel of the other kind, positive on the hand."""
    inside = cv2.distanceTransform(_bytes(mask), cv2.DIST_L2, 3)
    return inside - cv2.distanceTransform(_bytes(~mask), cv2.DIST_L2, 3)


def bounding_box(mask: np.ndarray, margin: int = 0) -> tuple[slice, slice]:
    """(rows, columns) of the bounding box of a mask that is not empty, with a margin, inside the image."""
    x, y, width, height = cv2.boundingRect(_bytes(mask))
    return slice(max(0, y - margin), y + height + margin), slice(max(0, x - margin), x + width + margin)


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two masks; 1.0 for two empty ones."""
    union = int(np.count_nonzero(first | second))
    return int(np.count_nonzero(first & second)) / union if union else 1.0


def components(mask: np.ndarray, *, connectivity: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """(labels, areas): int32 (H, W), 0 off the mask and i on its component i; int64 (n + 1,), [0] is 0."""
    count, labels = cv2.connectedComponents(_bytes(mask), connectivity=connectivity)
    areas = np.bincount(labels.ravel(), minlength=count)  # much quicker than OpenCV's statistics
    areas[0] = 0
    return labels, areas


def _bytes(mask: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(mask).view(np.uint8)


def _disc(size: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


# ------------------------------------------------------------------ refinement

KEPT = "kept"


@dataclass(frozen=True, kw_only=True)
class RefineOptions:
    """The steps' parameters; the flags of preprocess_masks.py of the same names explain them.

    The paper's steps are median, largest component, closing and erosion (section IV.B). It does not give their sizes: these are the least
    that remove speckle, join cracks and take a pixel off the border. Limits of area and contours are the released code's.
    """

    median: int = 5
    close: int = 3
    erode: int = 3
    snap: bool = True
    max_hole: float = 0.008
    min_area: float = 0.05
    max_area: float = 0.50
    max_contours: int = 60
    mask_values: Ranges | None = None
    fallback: bool = True
    paper: bool = False  # the paper's four steps alone


@dataclass(frozen=True)
class Verdict:
    """What became of one mask: a row of masks_report.csv.

    verdict: "kept", or what is wrong with it. source: "mask" or "chroma key", with a remark. area_before, area_after: of the
    raw and of the refined mask, as fractions of the frame. contours: after the median filter. change: 1 - IoU of the two.
    """

    verdict: str
    source: str
    area_before: float = 0.0
    area_after: float = 0.0
    contours: int = 0
    change: float = 0.0


def refine_mask(grey: np.ndarray, rgb: np.ndarray, options: RefineOptions) -> tuple[np.ndarray | None, Verdict]:
    """Refine a raw mask, uint8 (H, W), of a photograph: (bool (H, W), or None where it is not plausible; verdict)."""
    before = binarise(grey)
    mask = binarise(cv2.medianBlur(grey, options.median)) if options.median > 1 else before
    if mask.all() or not mask.any():
        return None, Verdict("all hand" if mask.all() else "no hand", "mask", float(before.mean()))
    contours = count_contours(mask)
    verdict = Verdict(KEPT, "mask", float(before.mean()), contours=contours)
    if contours > options.max_contours and not options.paper:
        return None, replace(verdict, verdict=f"{contours} contours, more than {options.max_contours}")
    mask = largest_component(mask)
    if options.paper:
        refined = erode(close_gaps(mask, options.close), options.erode)
    else:
        least = options.max_hole * np.count_nonzero(mask)
        mask, holes = fill_holes(mask, least)
        if options.snap:
            mask, holes = fill_holes(largest_component(snap_to_edges(mask, rgb)), least)
        refined = largest_component(erode(close_gaps(mask, options.close, keep=holes), options.erode))
    area = float(refined.mean())
    if options.paper or options.min_area <= area <= options.max_area:
        return refined, replace(verdict, area_after=area, change=1.0 - iou(before, refined))
    limit = f"less than {options.min_area:.1%}" if area < options.min_area else f"more than {options.max_area:.1%}"
    return None, replace(verdict, verdict=f"hand covers {area:.1%} of the frame, {limit}")
