"""One frame, read: the image with its background whitened, and its mask."""

from typing import NamedTuple

import cv2
import numpy as np

from data.frames import Frame
from data.masks.ops import key_colour_mask
from data.masks.refine import RefineOptions, refine_mask
from util.images import ImageError, printable, read_grey, read_mask, read_rgb

BACKGROUNDS = ("white", "keep")
MIN_SIDE = 16  # pixels: less cannot go through a generator
MIN_KEYED = 0.01  # of an image's pixels must have the key colour for it to be a background
# Raw masks are cleaned as preprocess_masks.py would, but no frame is dropped here: that is its business.
_CLEANING = RefineOptions(min_area=0.0, max_area=1.0, max_contours=10**6)


class Hand(NamedTuple):
    """image: uint8 RGB (H, W, 3), white where there is no hand; mask: bool (H, W), True on the hand."""

    image: np.ndarray
    mask: np.ndarray


def read_hand(frame: Frame, *, background: str = "white") -> Hand:
    """Read a frame and its mask.

    background: "white" sets every pixel outside the mask to white, so that no model sees a key colour or a room;
    "keep" leaves the image as it is. Raises ImageError, naming the file, for a damaged image, a mask of another size,
    or a frame without a hand.
    """
    image = read_rgb(frame.image)
    if min(image.shape[:2]) < MIN_SIDE:
        raise ImageError(f"{printable(frame.image)}: {_size(image)} pixels; at least {MIN_SIDE} a side are needed")
    mask = _read_mask(frame, image)
    if mask.shape != image.shape[:2]:
        raise ImageError(f"{printable(frame.mask)}: a mask of {_size(mask)} for an image of {_size(image)}")
    if not mask.any():
        raise ImageError(f"{printable(frame.image)}: no hand in it (its mask is empty)")
    return Hand(whiten(image, mask) if background == "white" else image, mask)


def whiten(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3), bool (H, W) -> a copy of the image, white outside the mask."""
    return cv2.copyTo(image, mask.view(np.uint8), np.full(image.shape, 255, np.uint8))


def _read_mask(frame: Frame, image: np.ndarray) -> np.ndarray:
    if frame.mask_kind == "key":
        return key_colour_mask(image)
    if frame.mask_kind == "file":
        return read_mask(frame.mask)
    if frame.mask_kind == "raw":
        grey = read_grey(frame.mask)
        if grey.shape != image.shape[:2]:
            return grey > 127  # the caller names the mismatch
        refined, fault, *_ = refine_mask(grey, image, _CLEANING)
        if refined is None:
            raise ImageError(f"{printable(frame.mask)}: {fault}")
        return refined
    if frame.mask_kind == "auto":
        return key_or_whole(image)
    return np.ones(image.shape[:2], bool)


def key_or_whole(image: np.ndarray) -> np.ndarray:
    """bool (H, W): what is not SynthHands' key colour in an image (H, W, 3) that has it; else the whole image."""
    keyed = key_colour_mask(image)
    return keyed if keyed.mean() < 1 - MIN_KEYED else np.ones(image.shape[:2], bool)


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
