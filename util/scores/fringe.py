"""Fringe: is the outline of a hand coloured unlike the hand beside it?"""

import cv2
import numpy as np

from data.masks.ops import bounding_box
from util.scores.hand_pixels import distance_inside, lab, masked_blur

WIDTH = 2  # pixels, at every scale: the outermost two
CORE = 4  # pixels, at every scale: the colour beside the fringe is taken from here inwards
REACH = 4.0  # pixels: sigma of the mean of that colour
LEAST_WEIGHT = 0.02  # of the mean's window must lie in the core; thinner parts of the hand do not count


def fringe_chroma(image: np.ndarray, mask: np.ndarray) -> float | None:
    """How far the colour of one hand's outermost two pixels strays from the hand's own just inside, in a*b* units.

    The mean Euclidean distance in a*, b* between each pixel less than 2.5 pixels from the background and the Gaussian
    mean (sigma 4 pixels) of the hand's pixels 4 or more from it. 0 for a flat hand; about 4 for a clean cut-out of a
    shaded one; light and dark do not matter. image: uint8 RGB (H, W, 3); mask: bool (H, W). The image's border is no
    outline. None for a hand without an outline, or too thin to have an inside.
    """
    if not mask.any():
        return None
    box = bounding_box(mask, margin=WIDTH)
    mask = mask[box]
    distance = distance_inside(mask)
    core = distance >= CORE
    chroma = lab(image[box])[..., 1:]
    near = cv2.GaussianBlur(core.astype(np.float32), (0, 0), REACH, borderType=cv2.BORDER_CONSTANT) > LEAST_WEIGHT
    outermost = mask & (distance < WIDTH + 0.5) & near
    if not outermost.any():
        return None
    strays = chroma[outermost] - masked_blur(chroma, core, REACH)[outermost]
    return float(np.hypot(strays[:, 0], strays[:, 1]).mean())
