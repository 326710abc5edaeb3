"""Texture: how strong the skin's relief is at three sizes, so that neither a blur nor blotches pass for skin."""

import numpy as np

from data.masks.ops import bounding_box
from util.scores.hand_pixels import distance_inside, lab, masked_blur

BANDS = (6, 12, 24)  # pixels (scaled): periods at which the three bands of L* are most sensitive
MARGIN = 8.0  # pixels (scaled) inside the outline, where neither its shading nor a fringe reaches
MIN_PIXELS = 200  # (scaled by area): a hand with fewer pixels inside the margin is not measured
# A difference of Gaussians of sigmas s and 2 s passes a sine of period 2 pi s sqrt(3 / (2 ln 4)) best: 6.54 s.
SIGMA_OF_PERIOD = 1 / (2 * np.pi * np.sqrt(1.5 / np.log(4)))
ROBUST_STD = 1.4826  # times the median absolute value: the standard deviation, if it is normal


def band_strengths(image: np.ndarray, mask: np.ndarray, *, scale: float = 1.0) -> np.ndarray | None:
    """The strength of L* bands around 6, 12 and 24 pixels (times scale) inside one hand: float64 (3,), in L*.

    image: uint8 RGB (H, W, 3); mask: bool (H, W), True on the hand. Strength is the robust standard deviation (1.4826
    times the median absolute value), so that it measures the relief of the skin and not the few sharp outlines of fingers,
    which are structure. None for a hand too small to have an inside.
    """
    if not mask.any():
        return None
    box = bounding_box(mask, margin=1)
    mask = mask[box]
    inside = distance_inside(mask) > MARGIN * scale
    if inside.sum() < MIN_PIXELS * scale**2:
        return None
    lightness = lab(image[box])[..., 0]
    strengths = []
    for period in BANDS:
        sigma = period * scale * SIGMA_OF_PERIOD
        band = masked_blur(lightness, mask, sigma) - masked_blur(lightness, mask, 2 * sigma)
        strengths.append(ROBUST_STD * float(np.median(np.abs(band[inside]))))
    return np.array(strengths)
