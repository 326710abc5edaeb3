"""Translating hands, uint8 in and uint8 out: a hand's box is cut out, painted by a generator, put back, and composited."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from data.hands import Hand
from data.samples import HandRegions, Region, same_sized_batches, stack
from models.hgan import generate
from util.images import to_uint8
from util.runtime import Amp
from util.workers import in_threads

BOX_MARGIN = 2  # pixels around the hand
MIN_BOX = 64  # pixels; the box of a smaller hand includes more background
AT_ONCE = 4  # batches that a CPU translates at a time
LARGE = 1024 * 1024  # pixels: images of more are translated one after another


@dataclass(frozen=True)
class TranslatedHand:
    """A hand, translated."""

    index: int  # the frame's place in its list
    source: Region
    image: np.ndarray  # uint8 (H, W, 3), composited by the mask where the model has masks
    unmasked: np.ndarray  # the same before compositing


@contextlib.contextmanager
def _untuned_convolutions() -> Iterator[None]:
    """Without cuDNN's benchmark, which times all algorithms for each new shape; nearly every box is one."""
    tuned, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = tuned


@dataclass(frozen=True)
class HandTranslator:
    """Translates hands with a generator.

    generate: images (N, 3, H, W) in [-1, 1] and masks (N, 1, H, W) in {0, 1} -> the generator's images, not composited.
    masked: outside the hand, translations equal their sources. crop_to_hand: the generator sees only each hand's bounding
    box, which the hand fills as it fills a training crop; instance normalisation takes its statistics from the whole input.
    A hand that the generator enlarges beyond the box's margin is cut off.
    """

    generate: Callable[[Tensor, Tensor], Tensor]
    device: torch.device
    masked: bool
    crop_to_hand: bool

    @classmethod
    def of(
        cls, net: nn.Module, options: Any, *, tone: Callable | None, amp: Amp, device: torch.device, crop_to_hand: bool
    ) -> "HandTranslator":
        """With a generator that was trained with these options. tone: what models.hgan.tone_of gives."""
        how = {name: getattr(options, name) for name in ("mask", "extend_colors", "mean_of_views")} | {"tone": tone}
        return cls(partial(generate, net, amp=amp, **how), device, masked=options.mask, crop_to_hand=crop_to_hand)

    def images(self, hands: Sequence[Hand]) -> list[np.ndarray]:
        """Translate hands of one size. Returns uint8 images (H, W, 3)."""
        return [each.image for each in self._translate(range(len(hands)), hands)]

    def stream(self, regions: HandRegions, *, batch_size: int = 1, num_workers: int = 0) -> Iterator[TranslatedHand]:
        """Translate every region that can be read, in order; neighbours of one size are read together.

        A CPU translates several batches at a time, each with its share of PyTorch's threads, as one hand is too little
        work for all of them, but large images one after another, to save memory.
        """
        threads = torch.get_num_threads()
        at_once = min(AT_ONCE, threads) if self.device.type == "cpu" and threads > 1 else 0
        alone = threading.Lock()

        def share_threads() -> None:
            torch.get_num_threads()  # in a new thread, the first call sets the process's number
            torch.set_num_threads(threads // at_once)

        def translate(batch: tuple[list[int], list[Hand]]) -> list[TranslatedHand]:
            indices, hands = batch
            large = len(hands) * hands[0].mask.size > LARGE
            with alone if large else contextlib.nullcontext():
                return self._translate(indices, hands)

        batches = same_sized_batches(regions.readable(num_workers=num_workers), batch_size)
        try:
            for translations in in_threads(translate, batches, count=at_once, start=share_threads):
                yield from translations
        finally:
            torch.set_num_threads(threads)  # share_threads has changed it for threads to come

    @_untuned_convolutions()
    def _translate(self, indices: Sequence[int], hands: Sequence[Hand]) -> list[TranslatedHand]:
        painted = map(self._generate_box, hands) if self.crop_to_hand else self._generate(hands)
        return [
            TranslatedHand(index, hand, composite_hand(image, hand) if self.masked else image, image)
            for index, hand, image in zip(indices, hands, painted)
        ]

    def _generate_box(self, hand: Hand) -> np.ndarray:
        """Translate the hand's box in its exact size. Boxes rounded up to common sizes could be batched, but a translation
        would change by up to 170 grey levels at its outline, as padding, strides and statistics would differ."""
        box = hand_bounds(hand.mask)
        image = hand.image.copy()
        (image[box],) = self._generate([Hand(hand.image[box], hand.mask[box])])
        return image

    def _generate(self, hands: Sequence[Hand]) -> np.ndarray:
        return to_uint8(self.generate(*stack(hands, self.device)))


def composite_hand(painted: np.ndarray, hand: Hand) -> np.ndarray:
    """uint8 (H, W, 3): `painted` inside the hand's mask, and exactly the hand's image outside it."""
    return cv2.copyTo(painted, hand.mask.view(np.uint8), hand.image.copy())


def hand_bounds(mask: np.ndarray) -> tuple[slice, slice]:
    """The bounding box of a bool mask (H, W), with its margin and its least size, inside the image: (rows, columns)."""
    sides = (side_bounds(torch.from_numpy(mask.any(axis=axis))) for axis in (1, 0))
    return tuple(slice(int(start), int(start + length)) for start, length in sides)


def side_bounds(hand: Tensor) -> tuple[Tensor, Tensor]:
    """A side of that box as tensors, start and length, so that it can be exported. hand: bool (L,), where the hand lies."""
    there, whole = hand.to(torch.int64), hand.shape[0]
    first, last = there.argmax(), whole - 1 - there.flip(0).argmax()
    least = last - first + 1 + 2 * BOX_MARGIN
    length = least.clamp(min=MIN_BOX)
    start = first - BOX_MARGIN - (length - least) // 2
    start = start.clamp(max=whole - length).clamp(min=0)  # moved inside, if it fits
    return start, (start + length).clamp(max=whole) - start
