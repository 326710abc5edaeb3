"""Translating many frames: read, batch, translate, and hand back as arrays."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.hands import Hand
from data.regions import HandRegions, readable, same_sized_batches, stack
from util.images import to_uint8


class Translation(NamedTuple):
    """index: the frame's place in its list; source: the region it was made from; image: uint8 (H, W, 3)."""

    index: int
    source: Hand
    image: np.ndarray


def translations(
    translate: Callable[[Tensor, Tensor], Tensor],
    regions: HandRegions,
    *,
    device: torch.device,
    batch_size: int = 1,
    num_workers: int = 0,
) -> Iterator[Translation]:
    """Translate every region that can be read, in order; neighbours of one size go together.

    translate: images (N, 3, H, W) in [-1, 1] and masks (N, 1, H, W) in {0, 1}, on the device -> images.
    """
    hands = readable(regions, num_workers=num_workers)
    for indices, batch in same_sized_batches(hands, batch_size):
        translated = to_uint8(translate(*stack(batch, device)))
        for index, hand, image in zip(indices, batch, translated):
            yield Translation(index, hand, image)
