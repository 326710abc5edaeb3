"""Depth maps beside colour images, cut like the regions that are translated."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from data.frames import annotation_prefix
from data.transforms import hand_centre, window, window_start

NO_DEPTH = 32000  # from here on a value says that there is no hand; SynthHands writes 32001
LEAST_OVERLAP = 0.85  # of the depth map's hand and the colour image's, as IoU, for them to show one view


def read_depth(image: Path) -> np.ndarray | None:
    """The <prefix>_depth.png beside a colour image: uint16 (H, W) in mm; None where there is none of that kind."""
    path = image.with_name(f"{annotation_prefix(image)}_depth.png")
    depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    return depth if depth is not None and depth.dtype == np.uint16 and depth.ndim == 2 else None


def has_depth(depth: np.ndarray) -> np.ndarray:
    """uint16 (H, W) -> bool (H, W), True where the depth is known."""
    return (depth > 0) & (depth < NO_DEPTH)


def region_depth(image: Path, mask: np.ndarray, box: Sequence[int] | None = None) -> np.ndarray | None:
    """The depth map of a region of a colour image: uint16 like `mask`, bool (H, W), the region's hand; 0 where unknown.

    box: x, y, width, height of the region in the image, which it may reach beyond (default: about the depth map's hand,
    as regions are cut about the image's). None where there is no depth map, or where its hand is not the region's:
    SynthHands' own depth camera stands beside the colour camera, so that its pixels are others.
    """
    depth = read_depth(image)
    if depth is None:
        return None
    height, width = mask.shape
    if box is None:
        y, x = hand_centre(has_depth(depth))
        box = window_start(x, depth.shape[1], width), window_start(y, depth.shape[0], height), width, height
    region = window(depth, box[1], box[0], height, width, beyond=0)
    region[~has_depth(region)] = 0
    hand = region > 0
    return region if (hand & mask).sum() >= LEAST_OVERLAP * (hand | mask).sum() else None
