"""One frame, read: the image as the networks see it, its mask, and where the mask is from."""

from typing import NamedTuple

import cv2
import numpy as np

from data.frames import Frame
from data.listing import ALPHA, KEY, WHOLE
from data.mask_values import read_levels
from data.masks import SYNTHETIC_KEY, RefineOptions, refine_mask
from util.files import printable
from util.images import ImageError, Picture, read_picture, to_bytes

MIN_SIDE = 16  # pixels: less cannot go through a generator
MIN_KEYED = 0.01  # of an image's pixels must have the key colour for it to be a background
# Raw masks are cleaned as by preprocess_masks.py without its limits and its chroma key; one that is empty or full is refused.
_CLEANING = RefineOptions(min_area=0.0, max_area=1.0, max_contours=10**6)


class Hand(NamedTuple):
    image: np.ndarray  # uint8 RGB (H, W, 3)
    mask: np.ndarray  # bool (H, W), True on the hand


class Source(NamedTuple):
    """A frame's file."""

    pixels: np.ndarray  # uint8 or uint16 (H, W, 3 or 4), as they are
    mask: np.ndarray
    origin: str  # of the mask

    def hand(self) -> Hand:
        """As the networks are shown it, white outside the mask."""
        return Hand(whiten(np.ascontiguousarray(to_bytes(self.pixels[..., :3])), self.mask), self.mask)


def read_hand(frame: Frame) -> Hand:
    """Read a frame as the networks are shown it. Raises ImageError; see `read_source`."""
    return read_source(frame).hand()


def read_source(frame: Frame) -> Source:
    """Read a frame's file and its mask, scaled by frame.scale.

    Raises ImageError, naming the file, where image or mask is damaged, does not fit, or does not tell the hand.
    """
    picture = read_picture(frame.image)
    mask, origin = _read_mask(frame, picture)
    if mask.shape != picture.pixels.shape[:2]:
        sizes = "{1}x{0} for an image of {3}x{2}".format(*mask.shape, *picture.pixels.shape[:2])
        raise ImageError(f"{printable(frame.mask)}: a mask of {sizes}")
    source = _scaled(Source(picture.pixels, mask, origin), frame.scale)
    height, width = source.mask.shape
    if min(height, width) < MIN_SIDE:
        raise ImageError(f"{printable(frame.image)}: {width}x{height} pixels; at least {MIN_SIDE} a side are needed")
    if not source.mask.any():
        raise ImageError(f"{printable(frame.image)}: no hand in it (its mask is empty)")
    return source


def whiten(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3), bool (H, W) -> a copy of the image, white outside the mask."""
    return cv2.copyTo(image, mask.view(np.uint8), np.full(image.shape, 255, np.uint8))


def key_or_whole(rgb: np.ndarray) -> np.ndarray:
    """bool (H, W): what is not SynthHands' key colour in an image (H, W, 3) that has it; else the whole image."""
    mask = cv2.inRange(rgb, SYNTHETIC_KEY, SYNTHETIC_KEY) == 0
    return mask if mask.mean() <= 1 - MIN_KEYED else np.ones_like(mask)


def _read_mask(frame: Frame, picture: Picture) -> tuple[np.ndarray, str]:
    """(mask, origin) by the rule of docs/data.md."""
    if frame.mask:
        levels = read_levels(frame.mask, picture, frame.mask_values, raw=frame.raw)
        if not frame.raw or levels.shape != picture.pixels.shape[:2]:  # the caller names the mismatch
            return levels > 127, frame.mask_origin
        refined, verdict = refine_mask(levels, picture.rgb, _CLEANING)
        if refined is None:
            raise ImageError(f"{printable(frame.mask)}: {verdict.verdict}")
        return refined, frame.mask_origin
    if frame.mask_origin != WHOLE:
        alpha = picture.alpha
        if alpha is not None and alpha.min() <= 127 < alpha.max():
            return alpha > 127, ALPHA
        if not (mask := key_or_whole(picture.rgb)).all():
            return mask, KEY
        if frame.mask_origin == KEY:
            raise ImageError(
                f"{printable(frame.image)}: it does not have the key colour (14, 255, 14), so that its mask is not known; "
                "was it saved as JPEG or resized? Masks may lie beside it (<name>_mask.png) or in --masks DIR"
            )
    return np.ones(picture.pixels.shape[:2], bool), WHOLE


def _scaled(source: Source, scale: float) -> Source:
    """The source, scaled. The hand and what is around it are averaged by themselves, so that their colours do not mix."""
    if scale == 1:
        return source
    height, width = source.mask.shape
    size = max(1, round(width * scale)), max(1, round(height * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    weight = source.mask.astype(np.float32)
    share = cv2.resize(weight, size, interpolation=interpolation)
    mask = share >= 0.5

    def average(weight: np.ndarray, total: np.ndarray) -> np.ndarray:
        weighted = cv2.resize(source.pixels.astype(np.float32) * weight[..., None], size, interpolation=interpolation)
        return weighted / np.maximum(total, 1e-6)[..., None]

    pixels = np.where(mask[..., None], average(weight, share), average(1 - weight, 1 - share))
    limit = np.iinfo(source.pixels.dtype).max
    return Source(np.clip(np.rint(pixels), 0, limit).astype(source.pixels.dtype), mask, source.origin)
