"""Shared parts of the rulers: a hand's colours, distances from its outline, and blurs that stop there.

Lengths are in pixels of a 256 region. `scale` converts them: 1 for frames of 256 pixels or more, 0.5 for frames of 128
(`ruler_scale`).
"""

from collections.abc import Iterable

import cv2
import numpy as np

from data.masks.ops import bounding_box

REGION = 256  # pixels: the region of the paper's validation and test


def ruler_scale(masks: Iterable[np.ndarray]) -> float:
    """The scale of a set of regions, by the masks, bool (H, W), of all their hands: photographs' and renders'.

    0.5 where every hand lies within 64 pixels of its region's middle, as in frames of 128 pixels, which are padded to
    regions of 256; else 1. Larger frames are cut to 256 pixels, never resized, so their pixels are those of a region.
    """
    return 0.5 if all(_reach(mask) <= REGION / 4 for mask in masks) else 1.0


def _reach(mask: np.ndarray) -> float:
    """How far the hand reaches from the middle of the image, along a row or a column."""
    if not mask.any():
        return 0.0
    sides = zip(bounding_box(mask), mask.shape)
    return max(max(length / 2 - side.start, side.stop - length / 2) for side, length in sides)


def lab(image: np.ndarray) -> np.ndarray:
    """uint8 RGB (H, W, 3) -> CIE L*a*b* (D65) float32 (H, W, 3); L* in [0, 100], a* and b* about -100 to 100."""
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def distance_inside(mask: np.ndarray) -> np.ndarray:
    """How far each pixel of a bool mask (H, W) lies from the nearest pixel off the hand: float32, 0 off the hand.

    The border of the image is no outline. A mask of the whole image has no outline: every distance is infinite.
    """
    if mask.all():
        return np.full(mask.shape, np.inf, np.float32)
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def masked_blur(values: np.ndarray, mask: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian means of float32 (H, W) or (H, W, C) over the pixels of the mask alone; 0 where none is near."""
    weights = mask.astype(np.float32)
    if values.ndim == 3:
        weights = np.repeat(weights[..., None], values.shape[2], axis=2)
    sums, shares = (
        cv2.GaussianBlur(each, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT) for each in (values * weights, weights)
    )
    return sums / np.maximum(shares, 1e-6)
