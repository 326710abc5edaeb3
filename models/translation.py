"""Translating hands, uint8 in and uint8 out, as validation, test.py, studies and the Python interface do.

A hand's box is cut out, painted by a generator, put back, and composited by the mask.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from data.hands import Hand
from data.regions import HandRegions, Region, readable, same_sized_batches, stack
from models import GENERATOR
from models.hgan import HGAN, translate
from models.tiles import WHOLE, paint_in_tiles
from util.images import to_uint8
from util.workers import in_threads

BOX_MARGIN = 4  # pixels around the hand
AT_ONCE = 4  # batches that a CPU translates at a time
MIN_BOX = 64  # pixels; the box of a smaller hand includes more background

Paint = Callable[[Tensor, Tensor], Tensor]
"""Images (N, 3, H, W) in [-1, 1] and masks (N, 1, H, W) in {0, 1} -> a generator's images, not composited."""


@dataclass(frozen=True)
class Translation:
    """One translated hand.

    index: the frame's place in its list. source: the region it was made from. image: uint8 (H, W, 3), composited by
    the mask where the model has masks. unmasked: the same before compositing.
    """

    index: int
    source: Region
    image: np.ndarray
    unmasked: np.ndarray


@dataclass(frozen=True)
class HandTranslator:
    """Translates hands with a generator.

    masked: outside the hand, translations equal their sources. crop_to_hand: the generator sees only each hand's bounding box.
    Instance normalisation takes its statistics from the whole input, and the hand fills its box as it fills a training
    crop, unlike a 256 region or a whole frame. A hand that the generator enlarges beyond the box's margin is cut off.
    """

    paint: Paint
    device: torch.device
    masked: bool
    crop_to_hand: bool

    def translate(self, hands: Sequence[Hand]) -> list[Translation]:
        """Translate hands of one size; `index` is the place in the list.

        Boxes are translated one by one in their exact sizes. Boxes rounded up to common sizes could be batched, but a
        translation would change by up to 170 grey levels at its outline, as padding, strides and statistics would differ.
        """
        with _untuned_convolutions():
            return self._translate(hands)

    def _translate(self, hands: Sequence[Hand]) -> list[Translation]:
        if self.crop_to_hand:
            painted = [self._paint_box(hand) for hand in hands]
        else:
            painted = list(to_uint8(self._paint(list(hands))))
        return [
            Translation(index, hand, composite(image, hand) if self.masked else image, image)
            for index, (hand, image) in enumerate(zip(hands, painted))
        ]

    def images(self, hands: Sequence[Hand]) -> list[np.ndarray]:
        """Translate hands of one size. Returns uint8 images (H, W, 3)."""
        return [each.image for each in self.translate(hands)]

    def stream(self, regions: HandRegions, *, batch_size: int = 1, num_workers: int = 0) -> Iterator[Translation]:
        """Translate every region that can be read, in order; neighbours of one size are read together.

        A CPU translates several batches at a time, each with its share of PyTorch's threads, as one hand is too little
        work for all of them. Large images are translated one after another, to save memory.
        """
        batches = same_sized_batches(readable(regions, num_workers=num_workers), batch_size)
        threads = torch.get_num_threads()
        if self.device.type != "cpu" or threads == 1:
            for indices, hands in batches:
                yield from _numbered(indices, self.translate(hands))
            return
        count = min(AT_ONCE, threads)
        alone = threading.Lock()

        def share_threads() -> None:
            torch.get_num_threads()  # in a new thread, the first call sets the process's number
            torch.set_num_threads(threads // count)

        def translate(batch: tuple[list[int], list[Hand]]) -> list[Translation]:
            indices, hands = batch
            large = len(hands) * hands[0].mask.size > WHOLE // AT_ONCE
            with alone if large else contextlib.nullcontext():
                return _numbered(indices, self._translate(hands))

        try:
            for translations in in_threads(translate, batches, count=count, start=share_threads):
                yield from translations
        finally:
            torch.set_num_threads(threads)  # share_threads has changed it for threads to come

    def _paint_box(self, hand: Hand) -> np.ndarray:
        box = hand_bounds(hand.mask)
        image = hand.image.copy()
        image[box] = to_uint8(self._paint([Hand(hand.image[box], hand.mask[box])]))[0]
        return image

    def _paint(self, hands: list[Hand]) -> Tensor:
        images, masks = stack(hands, self.device)
        if hands[0].mask.size <= WHOLE:
            return self.paint(images, masks)
        return paint_in_tiles(self.paint, images, masks)


def translator_of(model: HGAN, *, direction: str = "StoR", crop_to_hand: bool) -> HandTranslator:
    """A HandTranslator of a generator in training, averaged with --ema."""
    net, objective = model.averages[GENERATOR[direction]].module, model.objective

    def paint(images: Tensor, masks: Tensor) -> Tensor:
        return translate(net, images, masks, model.amp, extend_colors=objective.extend_colors, masked=False)

    return HandTranslator(paint, model.device, masked=objective.mask, crop_to_hand=crop_to_hand)


def _numbered(indices: list[int], translations: list[Translation]) -> list[Translation]:
    return [replace(each, index=index) for index, each in zip(indices, translations)]


def composite(painted: np.ndarray, hand: Hand) -> np.ndarray:
    """uint8 (H, W, 3): `painted` inside the hand's mask, and exactly the hand's image outside it."""
    return cv2.copyTo(painted, hand.mask.view(np.uint8), hand.image.copy())


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


@contextlib.contextmanager
def _untuned_convolutions() -> Iterator[None]:
    """A context without cuDNN's benchmark, which times all algorithms for each new shape; nearly every box is one."""
    tuned = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = tuned
