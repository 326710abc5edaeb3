"""Silhouettes, bool (H, W), True on the hand: how well two outlines agree, and what SilNet sees."""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from data.hands import Hand
from data.samples import stack
from models.translation import TranslatedHand

Segment = Callable[[Tensor], Tensor]
"""Images (N, 3, H, W) in [-1, 1] -> the probability of hand, (N, 1, H, W)."""

TOLERANCE = 2  # pixels by which a boundary may be off
GAP = 16  # pixels (scaled): gaps between fingers are narrower
LEAST_GAPS = 100  # pixels (scaled by area) of a hand's gaps, below which it has none


def boundary_f(predicted: np.ndarray, true: np.ndarray, *, tolerance: float = TOLERANCE) -> float:
    """The boundary F-score, in [0, 1] (Martin et al. 2004; Csurka et al. 2013): the harmonic mean of the shares of each
    mask's boundary within `tolerance` pixels of the other's. Unlike IoU, it weighs a filled gap between two fingers by
    the gap's outline. 1 if neither mask has a boundary, 0 if one of them has none."""

    def share_near(pixels: np.ndarray, others: np.ndarray) -> float:
        distance = cv2.distanceTransform((~others).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return float(np.mean(distance[pixels] <= tolerance + 1e-3))

    ours, theirs = boundary(predicted), boundary(true)
    if not ours.any() or not theirs.any():
        return float(ours.any() == theirs.any())
    precision, recall = share_near(ours, theirs), share_near(theirs, ours)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask: np.ndarray) -> np.ndarray:
    """The hand's pixels with a pixel off the hand above, below, left or right of them, not beyond the image: bool (H, W)."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inside = cv2.erode(mask.astype(np.uint8), cross, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    return mask & (inside == 0)


def gaps_filled(silhouette: np.ndarray, mask: np.ndarray, *, scale: float = 1.0) -> float | None:
    """The share of the gaps between fingers that lies in the silhouette, 0 to 1; None for a hand without gaps.

    silhouette, mask: bool (H, W). Gaps are what a closing by a disk of GAP pixels (times scale) adds to the mask.
    """
    size = round(GAP * scale)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size + 1, size + 1))
    closed = cv2.morphologyEx(np.pad(mask, size).astype(np.uint8), cv2.MORPH_CLOSE, disk)[size:-size, size:-size]
    gaps = (closed > 0) & ~mask
    return float(silhouette[gaps].mean()) if gaps.sum() >= LEAST_GAPS * scale**2 else None


def silhouettes(segment: Segment, images: list[np.ndarray], device: torch.device) -> list[np.ndarray]:
    """The silhouettes that SilNet sees in uint8 images (H, W, 3) of one size."""
    batch, _ = stack([Hand(image, np.zeros(image.shape[:2], bool)) for image in images], device)
    return list((segment(batch)[:, 0] > 0.5).cpu().numpy())


def shapes(segment: Segment | None, each: TranslatedHand, device: torch.device) -> list[np.ndarray | None]:
    """What SilNet sees in a generator's output and in its source; [None, None] without SilNet, or without a mask.

    The output is taken before it is composited by the mask, as a composite always has the right outline.
    """
    if not segment or each.source.mask.all():
        return [None, None]
    return silhouettes(segment, [each.unmasked, each.source.image], device)
