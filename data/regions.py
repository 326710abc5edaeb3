"""Evaluation samples: the region around each hand, or the whole frame, each frame once and in order."""

import logging
from collections import Counter
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from data.crops import Box, centred_box, cut, window
from data.frames import Frame
from data.hands import Hand, read_source
from data.loader import ordered_items
from data.masks.ops import SYNTHETIC_KEY
from util.images import ImageError

log = logging.getLogger(__name__)

TEST_CROP = 256  # pixels: the paper's size for validation and test (section IV.A)


class Region(NamedTuple):
    """A part of a frame. image, mask: as in Hand; box: where it lies in the frame as read; origin: where the mask is
    from; source: the file's own pixels (H, W, 3 or 4), where they were asked for."""

    image: np.ndarray
    mask: np.ndarray
    box: Box
    origin: str
    source: np.ndarray | None = None


class HandRegions(Dataset):
    """Region i is of frame i. In place of a frame that cannot be read stands the ImageError that says why.

    crop: side of the square around the hand's centre; None: the whole frame. keep_source: with the file's own pixels.
    skipped: {index: reason} of those that `readable` met so far; origins: how many masks came from where.
    """

    def __init__(
        self, frames: list[Frame], *, crop: int | None = TEST_CROP, background: str = "white", keep_source: bool = False
    ) -> None:
        self.frames, self.crop, self.background, self.keep_source = frames, crop, background, keep_source
        self.skipped: dict[int, str] = {}
        self.origins: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Region | ImageError:
        try:
            source = read_source(self.frames[index])
        except ImageError as error:
            return error
        hand, pixels = source.hand(self.background), source.pixels
        height, width = hand.mask.shape
        box = centred_box(hand.mask, self.crop, self.crop) if self.crop else (0, 0, width, height)
        if self.crop:
            white = [np.iinfo(pixels.dtype).max] * 3 + [0] * (pixels.shape[2] - 3)  # transparent, beyond the image
            hand, pixels = cut(hand, box), window(pixels, box, beyond=white)
        return Region(hand.image, hand.mask, box, source.origin, pixels if self.keep_source else None)

    def files(self, index: int) -> list[Path]:
        """The image file of region `index`."""
        return [self.frames[index].image]


def readable(regions: HandRegions, *, num_workers: int = 0) -> Iterator[tuple[int, Region]]:
    """(index, region) of each region that can be read, in order; the others are skipped, with one warning each."""
    regions.origins.clear()
    for index, region in enumerate(ordered_items(regions, num_workers=num_workers)):
        if not isinstance(region, ImageError):
            regions.origins[region.origin] += 1
            yield index, region
        elif index not in regions.skipped:
            regions.skipped[index] = str(region)
            log.warning("skipped: %s", region)


def same_sized_batches(hands: Iterator[tuple[int, Hand]], batch_size: int) -> Iterator[tuple[list[int], list[Hand]]]:
    """Consecutive hands of one size, up to batch_size together."""
    for _, alike in groupby(hands, key=lambda each: each[1].image.shape):
        while batch := list(islice(alike, batch_size)):
            yield [index for index, _ in batch], [hand for _, hand in batch]


def stack(hands: list[Hand], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Hands of one size -> images (N, 3, H, W) in [-1, 1] and masks (N, 1, H, W) in {0, 1}, on the device."""
    images = torch.from_numpy(np.stack([hand.image for hand in hands])).to(device)
    masks = torch.from_numpy(np.stack([hand.mask for hand in hands])).to(device)
    return images.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0), masks[:, None].float()


def compose(hand: np.ndarray, region: Region, background: str) -> np.ndarray:
    """Put a translated hand, uint8 (H, W, 3), over a background: uint8, or uint16 for "keep" of a 16-bit source,
    (H, W, 3), or (H, W, 4) with alpha.

    region: of the same size, with its source. background: "keep" (the source's own pixels, to the last bit), "white",
    "key" (SynthHands' key colour) or "transparent" (RGBA, nothing but the hand).
    """
    inside = region.mask[..., None]
    if background == "keep":
        source = region.source
        hand = hand.astype(np.uint16) * 257 if source.dtype == np.uint16 else hand
        return np.dstack([np.where(inside, hand, source[..., :3]), source[..., 3:]])
    ground = np.array(SYNTHETIC_KEY if background == "key" else (255, 255, 255), np.uint8)
    hand = np.where(inside, hand, ground)
    return np.dstack([hand, region.mask * np.uint8(255)]) if background == "transparent" else hand
