"""Training samples: a synthetic hand with an unrelated real one."""

import logging
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.crops import flip, random_hand_crop
from data.frames import DOMAINS, Domains, Frame
from data.hands import Hand, read_hand
from util.files import printable, write_bytes
from util.images import ImageError, mask_to_tensor, to_tensor

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

    def __init__(
        self,
        frames: Domains,
        *,
        crop_size: int,
        seed: int,
        background: str = "white",
        flips: bool = True,
        crop: Crop = random_hand_crop,
    ) -> None:
        self.frames, self.crop_size, self.seed = frames, crop_size, seed
        self.background, self.flips, self.crop, self._invalid = background, flips, crop, set()

    def __getitem__(self, k: int) -> dict[str, Tensor | str | dict]:
        sample = {"skipped": {}}
        for stream, domain in enumerate(DOMAINS):
            random = np.random.default_rng((self.seed, 2 + stream, k))
            frame, hand = self._draw(domain, k, sample["skipped"])
            hand = self.crop(hand, self.crop_size, random)
            if self.flips and random.random() < 0.5:
                hand = flip(hand)
            sample[domain] = to_tensor(hand.image)
            sample[f"{domain}_mask"] = mask_to_tensor(hand.mask)
            sample[f"{domain}_path"] = str(frame.image)
        return sample

    def files(self, k: int) -> list[Path]:
        """The image files that sample k is drawn from, if all can be used."""
        return [self._frame(domain, k).image for domain in DOMAINS]

    def _frame(self, domain: str, place: int) -> Frame:
        frames = self.frames[domain]
        return frames[shuffled_index(place, len(frames), (self.seed, DOMAINS.index(domain)))]

    def _draw(self, domain: str, k: int, skipped: dict[str, str]) -> tuple[Frame, Hand]:
        """The first frame from place k of the shuffle on that can be read."""
        for attempt in range(min(len(self.frames[domain]), MAX_TRIES)):
            frame = self._frame(domain, k + attempt)
            try:
                if frame not in self._invalid:
                    return frame, read_hand(frame, background=self.background)
            except ImageError as error:
                self._invalid.add(frame)
                skipped[frame.relative] = str(error)
        raise ImageError(
            f"{attempt + 1} {domain} images in a row cannot be used (the last one: {printable(frame.image)}); check --dataroot"
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


def collate(samples: list[dict]) -> dict:
    """Stack the tensors of samples along a new first dimension; all else becomes lists."""
    lists = {key: [sample[key] for sample in samples] for key in samples[0]}
    return {key: torch.stack(values) if isinstance(values[0], Tensor) else values for key, values in lists.items()}
