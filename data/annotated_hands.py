"""Hands with their masks and joints on random backgrounds, for util/studies/downstream.py.

A hand that is pasted by its own mask can also be found by the seam. So behind it lies a decoy: the outline of another
hand, pasted by the same code and filled with a background. Only skin tells the two apart. Then all is blurred,
brightened and made noisy together, as one photograph would be.

Every random choice is drawn from (seed, k) before the hand is looked at, so that item k of equally long sets has the
same background, decoy, placement, augmentation and noise.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from data.hands import Hand
from data.joints import N_JOINTS
from data.labelled_hands import HandsOnBackgrounds
from data.masks import bounding_box
from data.pasting import noisy, place_hand, place_points, random_placement
from util.images import mask_to_tensor, to_tensor

ZOOM = 0.8, 1.2  # of a hand in the picture, at random


class AnnotatedHand(NamedTuple):
    """The part of an image that holds a hand, as in Hand. joints: float64 (21, 2), x and y in its pixels. name: its file."""

    image: np.ndarray
    mask: np.ndarray
    joints: np.ndarray | None
    name: str


def cut_out(hand: Hand, *, name: str, joints: np.ndarray | None = None) -> AnnotatedHand:
    """A hand without what is around it. joints: (21, 2), in pixels of hand.image, move with it."""
    box = rows, columns = bounding_box(hand.mask)
    moved = None if joints is None else joints - (columns.start, rows.start)
    return AnnotatedHand(hand.image[box].copy(), hand.mask[box].copy(), moved, name)


def augmented(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colour, contrast, amplitude spectrum (three bands of it) and blur of a float32 (S, S, 3) in [0, 255], changed at random: what
    any training set would get, so that translation is not praised for what costs nothing."""
    coarse, middle = (cv2.GaussianBlur(picture, (0, 0), sigma) for sigma in (3.0, 1.0))
    strengths = np.exp(rng.uniform(-0.7, 0.7, 2)).astype(np.float32)
    picture = coarse + strengths[0] * (middle - coarse) + strengths[1] * (picture - middle)
    gains, contrast, light = rng.uniform(0.8, 1.2, 3), rng.uniform(0.7, 1.3), rng.uniform(-30, 30)
    picture = (picture * gains.astype(np.float32) - 128) * np.float32(contrast) + np.float32(128 + light)
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.2, 1.2)).clip(0, 255)


def photograph(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness, blur and noise over the whole of a float32 (S, S, 3) in [0, 255]; returns uint8."""
    gain, blur, noise = rng.uniform((0.85, 0.2, 0), (1.15, 0.8, 4))
    return noisy(cv2.GaussianBlur(picture * np.float32(gain), (0, 0), blur), noise, rng)


class AnnotatedHands(HandsOnBackgrounds):
    """Hands on backgrounds with their labels, in the order of HandsOnBackgrounds: {"image": (3, S, S) in [-1, 1], "mask":
    (1, S, S) in {0, 1}, "joints": float32 (21, 2) in pixels, "seen": bool (21,), whether it lies in the picture, "hand_path"}.
    """

    samples: Sequence[AnnotatedHand]

    def __getitem__(self, k: int) -> dict[str, Tensor | str]:
        rng, hand = self.draw(k)
        picture, filling = self.background(rng).astype(np.float32), self.background(rng)
        decoy = self.samples[rng.integers(len(self.samples))]
        aside, inside = (random_placement(rng, shift=shift, zoom=ZOOM) for shift in (0.35, 0.1))
        size = len(picture)

        _, opacity = place_hand(decoy.image, decoy.mask, size=size, placement=aside)
        picture += opacity[..., None] * (filling - picture)
        colours, opacity = place_hand(hand.image, hand.mask, size=size, placement=inside)
        picture += opacity[..., None] * (colours - picture)
        picture = augmented(picture, rng) if self.train else picture

        joints, seen = np.zeros((N_JOINTS, 2)), np.zeros(N_JOINTS, bool)
        if hand.joints is not None:
            joints = place_points(hand.joints, hand.mask, size=size, placement=inside)
            seen = ((joints > 0) & (joints < size)).all(-1)
        return {
            "image": to_tensor(photograph(picture, rng)),
            "mask": mask_to_tensor(opacity > 0.5),
            "joints": torch.from_numpy(joints).float(),
            "seen": torch.from_numpy(seen),
            "hand_path": hand.name,
        }
