"""How well the outlines of two silhouettes agree: pure functions of bool masks (H, W), True on the hand."""

import cv2
import numpy as np

TOLERANCE = 2  # pixels by which a boundary may be off


def boundary_f(predicted: np.ndarray, true: np.ndarray, *, tolerance: float = TOLERANCE) -> float:
    """The boundary F-score, in [0, 1] (Martin et al. 2004; Csurka et al. 2013).

    Precision is the share of the predicted mask's boundary that lies within `tolerance` pixels (Euclidean) of the true
    one, recall the share of the true boundary within as much of the predicted; F is their harmonic mean. Unlike the
    area that IoU counts, it weighs a filled gap between two fingers by the gap's outline. 1 if neither mask has a
    boundary, 0 if one of them has none.
    """
    ours, theirs = boundary(predicted), boundary(true)
    if not ours.any() or not theirs.any():
        return float(ours.any() == theirs.any())
    precision, recall = _share_near(ours, theirs, tolerance), _share_near(theirs, ours, tolerance)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask: np.ndarray) -> np.ndarray:
    """The hand's pixels with a pixel off the hand above, below, left or right of them, bool (H, W).

    Pixels beyond the image are unknown, so an arm that the border cuts off has no boundary there.
    """
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inside = cv2.erode(mask.astype(np.uint8), cross, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    return mask & (inside == 0)


def _share_near(pixels: np.ndarray, others: np.ndarray, tolerance: float) -> float:
    """The share of True `pixels` that have a True pixel of `others` within `tolerance`."""
    distance = cv2.distanceTransform((~others).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float(np.mean(distance[pixels] <= tolerance + 1e-3))
