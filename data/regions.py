"""Evaluation samples: the region around each hand, or the whole frame, each frame once and in order."""

import logging
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Dataset

from data.frames import Frame
from data.hands import Hand, read_hand
from data.loader import ordered_items
from data.transforms import centred_hand_crop
from util.errors import UsageError
from util.images import ImageError

log = logging.getLogger(__name__)

TEST_CROP = 256  # pixels: the paper's size for validation and test (section IV.A)


class HandRegions(Dataset):
    """Region i is frame i's Hand: image uint8 (H, W, 3), mask bool (H, W).

    crop: side of the square around the hand's centre; None for the whole frame, of whatever size. In place of a frame
    that cannot be read stands the ImageError that says why.

    left_out: {index: reason} of those that `readable` met so far. strict: one of them is an error there.
    """

    def __init__(
        self, frames: list[Frame], *, crop: int | None = TEST_CROP, background: str = "white", strict: bool = False
    ) -> None:
        self.frames, self.crop, self.background, self.strict = frames, crop, background, strict
        self.left_out: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Hand | ImageError:
        try:
            hand = read_hand(self.frames[index], background=self.background)
        except ImageError as error:
            return error
        return centred_hand_crop(hand, self.crop) if self.crop else hand


class ReadableImages:
    """The images of the regions that can be read, as uint8 (H, W, 3); iterate as often as needed."""

    def __init__(self, regions: HandRegions, *, num_workers: int = 0) -> None:
        self.regions, self.num_workers = regions, num_workers

    def __iter__(self) -> Iterator[np.ndarray]:
        for _, hand in readable(self.regions, num_workers=self.num_workers):
            yield hand.image


def readable(regions: HandRegions, *, num_workers: int = 0) -> Iterator[tuple[int, Hand]]:
    """(index, hand) of each region that can be read, in order; the others are named in warnings, once each.

    Raises UsageError for the first of them if the regions are strict.
    """
    loader = ordered_items(regions, num_workers=num_workers)
    for index, hand in enumerate(loader):
        if not isinstance(hand, ImageError):
            yield index, hand
        elif regions.strict:
            raise UsageError(f"{hand} (--no-strict leaves such images out)")
        elif index not in regions.left_out:
            regions.left_out[index] = str(hand)
            log.warning("left out: %s", hand)


def same_sized_batches(hands: Iterator[tuple[int, Hand]], batch_size: int) -> Iterator[tuple[list[int], list[Hand]]]:
    """Consecutive hands of one size, up to batch_size together."""
    indices: list[int] = []
    batch: list[Hand] = []
    for index, hand in hands:
        if batch and (len(batch) == batch_size or hand.image.shape != batch[0].image.shape):
            yield indices, batch
            indices, batch = [], []
        indices.append(index)
        batch.append(hand)
    if batch:
        yield indices, batch


def stack(hands: list[Hand], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Hands of one size -> images (N, 3, H, W) in [-1, 1] and masks (N, 1, H, W) in {0, 1}, on the device."""
    images = torch.from_numpy(np.stack([hand.image for hand in hands])).to(device)
    masks = torch.from_numpy(np.stack([hand.mask for hand in hands])).to(device)
    return images.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0), masks[:, None].float()
