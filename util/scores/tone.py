"""Tone: do hands differ from one another in colour as those of the photographs do, or have all got one skin?"""

import numpy as np

from data.masks.ops import bounding_box
from util.scores.hand_pixels import lab

CHANNELS = ("L", "a", "b")


def mean_colour(image: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """The mean L*, a*, b* of one hand: float64 (3,). image: uint8 RGB (H, W, 3); mask: bool (H, W). None if empty."""
    if not mask.any():
        return None
    box = bounding_box(mask)
    return lab(image[box])[mask[box]].mean(axis=0, dtype=np.float64)


def tone_spread(colours: np.ndarray) -> np.ndarray:
    """Mean colours of N hands, (N, 3) -> their standard deviation over the hands, float64 (3,)."""
    return np.asarray(colours, np.float64).std(axis=0)
