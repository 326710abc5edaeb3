"""Training samples: a synthetic hand with an unrelated real one."""

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.crops import flip, random_hand_crop
from data.frames import DOMAINS, Domains, Frame
from data.hands import Hand, read_hand
from util.files import printable
from util.images import ImageError, mask_to_tensor, to_tensor

MAX_TRIES = 1000  # frames looked at for one sample

Crop = Callable[[Hand, int, np.random.Generator], Hand]
"""(hand, size, random) -> a training crop, size x size."""


class Shuffled:
    """Random access to the endless concatenation of shuffles of range(count): place k is a function of (seed, k)."""

    def __init__(self, count: int, *, seed: tuple[int, ...]) -> None:
        self.count, self.seed = count, seed
        self._round, self._order = -1, np.empty(0, np.int64)

    def __getitem__(self, k: int) -> int:
        round_, place = divmod(k, self.count)
        if self._round != round_:
            self._round = round_
            self._order = np.random.default_rng((*self.seed, round_)).permutation(self.count)
        return int(self._order[place])


class UnpairedHands(Dataset):
    """Sample k of an endless, reproducible stream of crops.

    Sample k is a pure function of (seed, k), so it does not depend on workers, ranks or resuming. Each domain is shuffled
    anew in each of its own passes, independently of the other: which real hand a synthetic one meets is chance. One epoch
    is as long as the larger domain.

    A sample is {"synthetic", "real"}: (3, size, size) in [-1, 1]; {"synthetic_mask", "real_mask"}: (1, size, size) in
    {0, 1}; {"synthetic_path", "real_path"}: str; "skipped": {relative path: reason} of the unusable frames it met. Unusable
    frames are replaced by the next in the shuffle, those in `invalid` without being read.
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
        invalid: Collection[Frame] = (),
    ) -> None:
        self.frames, self.crop_size, self.seed = frames, crop_size, seed
        self.background, self.flips, self.crop, self._invalid = background, flips, crop, set(invalid)
        self._order = {
            domain: Shuffled(len(frames[domain]), seed=(seed, stream)) for stream, domain in enumerate(DOMAINS)
        }

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
        return [self.frames[domain][self._order[domain][k]].image for domain in DOMAINS]

    def _draw(self, domain: str, k: int, skipped: dict[str, str]) -> tuple[Frame, Hand]:
        """The first frame from place k of the shuffle on that can be read."""
        frames = self.frames[domain]
        for attempt in range(min(len(frames), MAX_TRIES)):
            frame = frames[self._order[domain][k + attempt]]
            try:
                if frame not in self._invalid:
                    return frame, read_hand(frame, background=self.background)
            except ImageError as error:
                self._invalid.add(frame)
                skipped[frame.relative] = str(error)
        raise ImageError(
            f"{attempt + 1} {domain} images in a row cannot be used (the last one: {printable(frame.image)}); check --dataroot"
        )


def collate(samples: list[dict]) -> dict:
    """Stack the tensors of samples along a new first dimension; all else becomes lists."""
    return {
        key: torch.stack([s[key] for s in samples])
        if isinstance(samples[0][key], Tensor)
        else [s[key] for s in samples]
        for key in samples[0]
    }
