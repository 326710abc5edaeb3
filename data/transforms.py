"""Crops and flips: pure functions that treat an image and its mask alike."""

import cv2
import numpy as np

from data.hands import Hand


def random_hand_crop(hand: Hand, size: int, random: np.random.Generator) -> Hand:
    """A size x size crop centred on a random pixel of the eroded hand mask (paper section IV.A).

    Erosion keeps centres off the outline. Near the border the window is moved inside the image rather than filled up;
    an image smaller than the crop is padded with white.
    """
    centres = crop_centres(hand.mask)
    y, x = divmod(int(centres[random.integers(len(centres))]), hand.mask.shape[1])
    return crop_around(hand, y, x, size)


def crop_centres(mask: np.ndarray) -> np.ndarray:
    """bool (H, W) -> int (n,), rising: flat positions of the eroded mask's pixels, or the mask's where none is left."""
    inner = cv2.erode(mask.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    return np.flatnonzero(inner if inner.any() else mask)


def centred_hand_crop(hand: Hand, size: int) -> Hand:
    """A size x size crop centred on the hand's bounding box: the paper's 256x256 for validation and test."""
    return crop_around(hand, *hand_centre(hand.mask), size)


def hand_centre(mask: np.ndarray) -> tuple[int, int]:
    """(y, x) of the middle of a mask's bounding box; of the image (H, W) where the mask is empty."""
    x, y, width, height = cv2.boundingRect((mask if mask.any() else np.ones_like(mask)).astype(np.uint8))
    return y + height // 2, x + width // 2


def crop_around(hand: Hand, y: int, x: int, size: int) -> Hand:
    """The size x size window whose centre is nearest to (y, x) inside the image; padded where the image is smaller."""
    height, width = hand.mask.shape
    place = window_start(y, height, size), window_start(x, width, size), size, size
    return Hand(window(hand.image, *place, beyond=255), window(hand.mask, *place, beyond=False))


def window_start(centre: int, side: int, size: int) -> int:
    """Where a window of `size` pixels about `centre` begins along a side; it is kept inside.

    Negative where the side is shorter than the window: that many pixels lie before the image.
    """
    if side < size:
        return -((size - side) // 2)
    return min(max(centre - size // 2, 0), side - size)


def window(pixels: np.ndarray, top: int, left: int, height: int, width: int, *, beyond: object) -> np.ndarray:
    """A window (height, width, ...) of pixels (H, W, ...); `beyond` where it reaches beyond them, one value or one a channel."""
    part = np.full((height, width, *pixels.shape[2:]), beyond, pixels.dtype)
    y, x = max(0, top), max(0, left)
    inside = pixels[y : max(0, top + height), x : max(0, left + width)]
    part[y - top : y - top + inside.shape[0], x - left : x - left + inside.shape[1]] = inside
    return part


def flip(hand: Hand) -> Hand:
    """Mirror left and right."""
    # A view, [:, ::-1], would be copied pixel by pixel later on, many times more slowly.
    return Hand(cv2.flip(hand.image, 1), cv2.flip(hand.mask.view(np.uint8), 1).view(bool))
