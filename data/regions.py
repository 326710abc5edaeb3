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

from data.frames import Frame
from data.hands import Hand, read_source, seen
from data.loader import ordered_items
from data.transforms import crop_around, hand_centre, window, window_start
from util.errors import UsageError
from util.images import ImageError

log = logging.getLogger(__name__)

TEST_CROP = 256  # pixels: the paper's size for validation and test (section IV.A)


class Box(NamedTuple):
    """A region of an image, in its own pixels as it was read: left, top, width, height. It may begin before the image
    and end behind it where that is smaller."""

    x: int
    y: int
    width: int
    height: int


class Region(NamedTuple):
    """A part of a frame. image, mask: as in Hand; box: where it lies in the frame as read; origin: where the mask is
    from; source: the file's own pixels (H, W, 3 or 4), alpha and 16 bits included, where they were asked for."""

    image: np.ndarray
    mask: np.ndarray
    box: Box
    origin: str
    source: np.ndarray | None = None


class HandRegions(Dataset):
    """Region i is of frame i: its image uint8 (H, W, 3), its mask bool (H, W), and where it lies.

    crop: side of the square around the hand's centre; None for the whole frame, of whatever size. keep_source: with
    the file's own pixels. In place of a frame that cannot be read stands the ImageError that says why.

    left_out: {index: reason} of those that `readable` met so far; origins: how many masks came from where. strict: a
    frame that cannot be read is an error there.
    """

    def __init__(
        self,
        frames: list[Frame],
        *,
        crop: int | None = TEST_CROP,
        background: str = "white",
        strict: bool = False,
        keep_source: bool = False,
    ) -> None:
        self.frames, self.crop, self.background, self.strict = frames, crop, background, strict
        self.keep_source = keep_source
        self.left_out: dict[int, str] = {}
        self.origins: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Region | ImageError:
        try:
            source = read_source(self.frames[index])
        except ImageError as error:
            return error
        hand = seen(source, self.background)
        height, width = hand.mask.shape
        box = Box(0, 0, width, height)
        pixels = source.pixels if self.keep_source else None
        if self.crop:
            y, x = hand_centre(hand.mask)
            box = Box(window_start(x, width, self.crop), window_start(y, height, self.crop), self.crop, self.crop)
            hand = crop_around(hand, y, x, self.crop)
            if pixels is not None:  # white, and transparent, beyond the image
                white = [np.iinfo(pixels.dtype).max] * 3 + [0] * (pixels.shape[2] - 3)
                pixels = window(pixels, box.y, box.x, box.height, box.width, beyond=white)
        return Region(hand.image, hand.mask, box, source.origin, pixels)

    def files(self, index: int) -> list[Path]:
        """The image file of region `index`."""
        return [self.frames[index].image]


def readable(regions: HandRegions, *, num_workers: int = 0) -> Iterator[tuple[int, Region]]:
    """(index, region) of each region that can be read, in order; the others are named in warnings, once each.

    Raises UsageError for the first of them if the regions are strict.
    """
    regions.origins.clear()
    for index, hand in enumerate(ordered_items(regions, num_workers=num_workers)):
        if not isinstance(hand, ImageError):
            regions.origins[hand.origin] += 1
            yield index, hand
        elif regions.strict:
            raise UsageError(f"{hand} (--no-strict leaves such images out)")
        elif index not in regions.left_out:
            regions.left_out[index] = str(hand)
            log.warning("left out: %s", hand)


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
