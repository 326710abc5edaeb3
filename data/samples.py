"""Samples: for training, a synthetic hand with an unrelated real one; for evaluation, each hand once and in order."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.crops import Box, centred_box, cut, random_hand_crop, window
from data.frames import DOMAINS, Domains, Frame
from data.hands import Hand, read_hand, read_source
from util.files import write_bytes
from util.images import ImageError, mask_to_tensor, of_disk, to_tensor
from util.workers import in_threads

log = logging.getLogger(__name__)

SKIPPED_FILE = "skipped.txt"
MAX_TRIES = 1000  # frames looked at for one sample

Crop = Callable[[Hand, int, np.random.Generator], Hand]
"""(hand, size, random) -> a training crop, size x size."""


@lru_cache(maxsize=8)
def _permutation(count: int, seed: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).permutation(count)


def shuffled_index(k: int, count: int, seed: tuple[int, ...]) -> int:
    """Place k of the endless concatenation of shuffles of range(count)."""
    return int(_permutation(count, (*seed, k // count))[k % count])


class UnpairedHands(Dataset):
    """Sample k of an endless, reproducible stream of crops.

    Sample k is a pure function of (seed, k), so it does not depend on workers, ranks or resuming. Each domain is shuffled
    anew in each of its own passes, independently of the other.

    A sample is {"synthetic", "real"}: (3, size, size) in [-1, 1]; {"synthetic_mask", "real_mask"}: (1, size, size) in
    {0, 1}; {"synthetic_path", "real_path"}: str; "skipped": {relative path: reason} of the unusable frames it met, which
    are replaced by the next in the shuffle.
    """

    def __init__(self, frames: Domains, *, crop_size: int, seed: int, crop: Crop = random_hand_crop) -> None:
        self.frames, self.crop_size, self.seed, self.crop = frames, crop_size, seed, crop
        self._invalid: dict[Frame, str] = {}  # and why

    def __getitem__(self, k: int) -> dict[str, Tensor | str | dict]:
        sample = {"skipped": {}}
        for stream, domain in enumerate(DOMAINS):
            random = np.random.default_rng((self.seed, 2 + stream, k))
            frame, hand = self._draw(domain, k, sample["skipped"])
            hand = self.crop(hand, self.crop_size, random)
            sample[domain] = to_tensor(hand.image)
            sample[f"{domain}_mask"] = mask_to_tensor(hand.mask)
            sample[f"{domain}_path"] = str(frame.image)
        return sample

    def _draw(self, domain: str, k: int, skipped: dict[str, str]) -> tuple[Frame, Hand]:
        """The first frame from place k of the shuffle on that can be read."""
        frames = self.frames[domain]
        for attempt in range(min(len(frames), MAX_TRIES)):
            frame = frames[shuffled_index(k + attempt, len(frames), (self.seed, DOMAINS.index(domain)))]
            if frame not in self._invalid:
                try:
                    return frame, read_hand(frame)
                except ImageError as error:
                    reason = skipped[frame.relative] = str(error)
                    if of_disk(error):  # it may be read later
                        continue
                    self._invalid[frame] = reason
            reason = self._invalid[frame]
        raise ImageError(
            f"{attempt + 1} {domain} images in a row cannot be used (the last one: {reason}); check --dataroot"
        )


def report_skipped(batches: Iterator[dict], folder: Path | None) -> Iterator[dict]:
    """The batches without "skipped"; each unusable file is named once, and listed in the folder's SKIPPED_FILE."""
    reasons = {}
    for batch in batches:
        met = {name: reason for each in batch.pop("skipped") for name, reason in each.items()}
        for name in met.keys() - reasons.keys():
            reasons[name] = met[name]
            log.warning("skipped: %s (%d so far, see %s)", met[name], len(reasons), SKIPPED_FILE)
            if folder:
                write_bytes(folder / SKIPPED_FILE, "".join(f"{each}\n" for each in reasons.values()).encode())
        yield batch


# ------------------------------------------------------------------ evaluation

TEST_CROP = 256  # pixels: the paper's size for validation and test (section IV.A)


class Region(NamedTuple):
    """A part of a frame. image, mask: as in Hand; box: where it lies in the frame as read; origin: where the mask is
    from; source: the file's own pixels (H, W, 3 or 4)."""

    image: np.ndarray
    mask: np.ndarray
    box: Box
    origin: str
    source: np.ndarray


class HandRegions(Dataset):
    """Region i is of frame i. In place of a frame that cannot be read stands the ImageError that says why.

    crop: side of the square around the hand's centre; None: the whole frame.
    skipped: {index: reason} of those that `readable` met so far; origins: how many masks came from where.
    """

    def __init__(self, frames: list[Frame], *, crop: int | None = TEST_CROP) -> None:
        self.frames, self.crop = frames, crop
        self.skipped: dict[int, str] = {}
        self.origins: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Region | ImageError:
        try:
            source = read_source(self.frames[index])
        except ImageError as error:
            return error
        hand, pixels = source.hand(), source.pixels
        height, width = hand.mask.shape
        box = centred_box(hand.mask, self.crop, self.crop) if self.crop else (0, 0, width, height)
        white = [np.iinfo(pixels.dtype).max] * 3 + [0] * (pixels.shape[2] - 3)  # transparent, beyond the image
        return Region(*cut(hand, box), box, source.origin, window(pixels, box, beyond=white))

    def readable(self, *, num_workers: int = 0) -> Iterator[tuple[int, Region]]:
        """(index, region) of each region that can be read, in order, by threads; the others are skipped, with one warning each."""
        self.origins.clear()
        for index, region in enumerate(in_threads(self.__getitem__, range(len(self)), count=num_workers)):
            if not isinstance(region, ImageError):
                self.origins[region.origin] += 1
                yield index, region
            elif index not in self.skipped:
                self.skipped[index] = str(region)
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
