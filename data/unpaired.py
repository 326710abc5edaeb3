"""Training samples: a synthetic hand with an unrelated real one."""

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.frames import DOMAINS, Domains, Frame
from data.hands import Hand, read_hand
from data.shuffled import Shuffled
from data.transforms import flip, random_hand_crop
from util.files import printable
from util.images import ImageError, mask_to_tensor, to_tensor

MAX_TRIES = 1000  # frames looked at for one sample

Crop = Callable[[Hand, int, np.random.Generator], Hand]
"""(hand, size, random) -> a training crop, size x size."""


class UnpairedHands(Dataset):
    """Sample k of an endless, reproducible stream of crops.

    Sample k is a pure function of (seed, k), so order and content do not depend on workers, ranks or resuming. Each
    domain is shuffled anew in each of its own passes and the two shuffles are independent: which real hand a synthetic
    one meets is chance, afresh every epoch. One epoch is as long as the larger domain.

    A sample is {"synthetic", "real"}: (3, size, size) in [-1, 1]; {"synthetic_mask", "real_mask"}: (1, size, size) in
    {0, 1}; {"synthetic_path", "real_path"}: str; "left_out": what was met that cannot be used, and why, as {relative
    path: reason}. The next one of its shuffle takes the place of a frame that cannot be used, be it one of `bad` (which
    data.scan found; it is not touched) or one that turns out so: the sample is the same either way.
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
        bad: Collection[Frame] = (),
    ) -> None:
        self.frames, self.crop_size, self.seed = frames, crop_size, seed
        self.background, self.flips, self.crop = background, flips, crop
        self._bad = set(bad)
        self._order = {
            domain: Shuffled(len(frames[domain]), seed=(seed, stream)) for stream, domain in enumerate(DOMAINS)
        }

    def __getitem__(self, k: int) -> dict[str, Tensor | str]:
        sample = {"left_out": {}}
        for stream, domain in enumerate(DOMAINS):
            random = np.random.default_rng((self.seed, 2 + stream, k))
            frame, hand = self._draw(domain, k, random, sample["left_out"])
            if self.flips and random.random() < 0.5:
                hand = flip(hand)
            sample[domain] = to_tensor(hand.image)
            sample[f"{domain}_mask"] = mask_to_tensor(hand.mask)
            sample[f"{domain}_path"] = str(frame.image)
        return sample

    def files(self, k: int) -> list[Path]:
        """The image files that sample k is drawn from, if all can be used."""
        return [self.frames[domain][self._order[domain][k]].image for domain in DOMAINS]

    def _draw(self, domain: str, k: int, random: np.random.Generator, left_out: dict[str, str]) -> tuple[Frame, Hand]:
        """The frame of sample k and a crop of it; frames that turn out unusable are passed over and told in left_out."""
        frames = self.frames[domain]
        for attempt in range(min(len(frames), MAX_TRIES)):
            frame = frames[self._order[domain][k + attempt]]
            try:
                if frame not in self._bad:
                    return frame, self._crop(domain, frame, random)
            except ImageError as error:
                self._bad.add(frame)
                left_out[frame.relative] = str(error)
        raise ImageError(
            f"{attempt + 1} {domain} images in a row cannot be used (the last one: {printable(frame.image)}); check --dataroot"
        )

    def _crop(self, domain: str, frame: Frame, random: np.random.Generator) -> Hand:
        return self.crop(read_hand(frame, background=self.background), self.crop_size, random)


def collate(samples: list[dict]) -> dict:
    """Stack the tensors of samples along a new first dimension; all else becomes lists."""
    return {
        key: torch.stack([s[key] for s in samples])
        if isinstance(samples[0][key], Tensor)
        else [s[key] for s in samples]
        for key in samples[0]
    }
