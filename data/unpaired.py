"""Training samples: a synthetic hand with an unrelated real one."""

import logging
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.frames import DOMAINS, Frame
from data.hands import Hand, read_hand
from data.transforms import flip, random_hand_crop
from util.images import ImageError, mask_to_tensor, to_tensor

log = logging.getLogger(__name__)

MAX_BAD_IN_A_ROW = 100

Crop = Callable[[Hand, int, np.random.Generator], Hand]
"""(hand, size, random) -> a training crop, size x size."""


class UnpairedHands(Dataset):
    """Sample k of an endless, reproducible stream of crops.

    Sample k is a pure function of (seed, k), so order and content do not depend on workers, ranks or resuming. Each
    domain is shuffled anew in each of its own passes and the two shuffles are independent: which real hand a synthetic
    one meets is chance, afresh every epoch. One epoch is as long as the larger domain.

    A sample is {"synthetic", "real"}: (3, size, size) in [-1, 1]; {"synthetic_mask", "real_mask"}: (1, size, size) in
    {0, 1}; {"synthetic_path", "real_path"}: str. An image that cannot be read is reported, once, and the next one of
    its shuffle takes its place.
    """

    def __init__(self, frames: dict[str, list[Frame]], *, crop_size: int, seed: int, background: str = "white",
                 flips: bool = True, crop: Crop = random_hand_crop) -> None:
        self.frames, self.crop_size, self.seed = frames, crop_size, seed
        self.background, self.flips, self.crop = background, flips, crop
        self.epoch_length = max(len(frames[domain]) for domain in DOMAINS)
        self._bad: set[str] = set()

    def __getitem__(self, k: int) -> dict[str, Tensor | str]:
        sample = {}
        for stream, domain in enumerate(DOMAINS):
            frame, hand = self._read(domain, stream, k)
            random = np.random.default_rng((self.seed, 2 + stream, k))
            hand = self.crop(hand, self.crop_size, random)
            if self.flips and random.random() < 0.5:
                hand = flip(hand)
            sample[domain] = to_tensor(hand.image)
            sample[f"{domain}_mask"] = mask_to_tensor(hand.mask)
            sample[f"{domain}_path"] = str(frame.image)
        return sample

    def _read(self, domain: str, stream: int, k: int) -> tuple[Frame, Hand]:
        frames = self.frames[domain]
        for attempt in range(min(len(frames), MAX_BAD_IN_A_ROW)):
            frame = frames[self._shuffled(stream, len(frames), k + attempt)]
            try:
                return frame, read_hand(frame, background=self.background)
            except ImageError as error:
                if frame.relative not in self._bad:
                    self._bad.add(frame.relative)
                    log.warning("left out: %s", error)
        raise ImageError(f"{attempt + 1} {domain} images in a row cannot be used; the last one is {frame.image}")

    def _shuffled(self, stream: int, count: int, k: int) -> int:
        """Place k of the endless concatenation of shuffles of range(count)."""
        round_, place = divmod(k, count)
        if getattr(self, "_shuffles", None) is None:
            self._shuffles = {}
        if self._shuffles.get(stream, (None,))[0] != round_:
            self._shuffles[stream] = (round_, np.random.default_rng((self.seed, stream, round_)).permutation(count))
        return int(self._shuffles[stream][1][place])


def collate(samples: list[dict]) -> dict:
    """Stack the tensors of samples along a new first dimension; paths become lists."""
    return {
        key: torch.stack([s[key] for s in samples]) if isinstance(samples[0][key], Tensor) else [s[key] for s in samples]
        for key in samples[0]
    }
