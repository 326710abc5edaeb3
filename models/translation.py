"""Translating many hands: read, batch, translate, and hand back as arrays."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.hands import Hand
from data.regions import HandRegions, readable, same_sized_batches, stack
from util.images import to_uint8

BOX_MARGIN = 4  # pixels around the hand
MIN_BOX = 64  # pixels; smaller hands take some background along

Translate = Callable[[Tensor, Tensor], Tensor]


class Translation(NamedTuple):
    """index: the frame's place in its list; source: the region it was made from; image: uint8 (H, W, 3); unmasked: the
    same before the mask composited it (see `translations`)."""

    index: int
    source: Hand
    image: np.ndarray
    unmasked: np.ndarray


def translations(
    translate: Translate,
    regions: HandRegions,
    *,
    hand_box: bool,
    device: torch.device,
    batch_size: int = 1,
    num_workers: int = 0,
    masked: bool = False,
) -> Iterator[Translation]:
    """Translate every region that can be read, in order; neighbours of one size are read together.

    translate: images (N, 3, H, W) in [-1, 1] and masks (N, 1, H, W) in {0, 1}, on the device -> images.
    masked: composite what `translate` returns by the mask, here, so that what the generator painted beside the hand
    can still be looked at (`unmasked`). With hand_box that is what it painted in the hand's box, around which the
    source stays: the generator is judged as it is used. A hand lengthened by more than the box's margin is cut off
    there, in use as in the score. Models without masks are used without the box unless asked; test.py --hand_box
    compares them under statistics like those that they were trained on.
    """
    hands = readable(regions, num_workers=num_workers)
    for indices, batch in same_sized_batches(hands, batch_size):
        unmasked = translate_hands(translate, batch, hand_box=hand_box, device=device)
        images = unmasked
        if masked:
            images = [np.where(hand.mask[..., None], image, hand.image) for image, hand in zip(unmasked, batch)]
        yield from map(Translation, indices, batch, images, unmasked)


def translate_hands(
    translate: Translate, hands: list[Hand], *, hand_box: bool, device: torch.device
) -> list[np.ndarray]:
    """Translate hands of one size. Returns uint8 images (H, W, 3).

    hand_box: translate each hand's bounding box alone and leave the rest as it is. Instance normalisation takes its
    statistics from all it sees, and a box is filled by its hand as a training crop is, unlike a 256 region or a whole
    frame. Where the statistics are the hand's anyway (models/networks/hand_norm.py) the box still saves time.
    """
    if not hand_box:
        return list(to_uint8(translate(*stack(hands, device))))
    images = []
    for hand in hands:
        box = hand_bounds(hand.mask)
        image = hand.image.copy()
        image[box] = to_uint8(translate(*stack([Hand(hand.image[box], hand.mask[box])], device)))[0]
        images.append(image)
    return images


def hand_bounds(mask: np.ndarray) -> tuple[slice, slice]:
    """The bounding box of a bool mask (H, W), with its margin and its least size, inside the image: (rows, columns)."""
    return tuple(_bounds(np.flatnonzero(mask.any(axis=axis)), mask.shape[1 - axis]) for axis in (1, 0))


def _bounds(where: np.ndarray, length: int) -> slice:
    if not len(where):
        return slice(0, length)
    low, high = int(where[0]) - BOX_MARGIN, int(where[-1]) + 1 + BOX_MARGIN
    missing = max(0, MIN_BOX - (high - low))
    low, high = low - missing // 2, high + missing - missing // 2
    shift = max(0, -low) - max(0, high - length)  # moved inside, if it fits
    return slice(max(0, low + shift), min(length, high + shift))
