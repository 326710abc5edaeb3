"""Hands with their masks and joints on random backgrounds, for the downstream study. Nothing is trained or scored here
(util/studies/downstream.py), and these hands have no class (labelled_hands.py).

A hand that is pasted by its own mask can also be found by the seam. So behind it lies a decoy: the outline of another
hand, pasted by the same code and filled with a background. Only skin tells the two apart. Then all is blurred,
brightened and made noisy together, as one photograph would be.

Every random choice is drawn from (seed, k) before the hand is looked at, so that item k of equally long sets has the
same background, decoy, motion, augmentation and noise.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from data.hands import Hand
from data.joints import N_JOINTS
from data.labelled_hands import PARTS, HandsOnBackgrounds
from data.pasting import Background, Placement, noisy, open_backgrounds, place_hand, place_points, random_placement
from util.images import mask_to_tensor, to_tensor

CANVAS = 1.5  # side of a prepared hand's canvas over the picture's: what is turned and moved into view is there
ZOOM, TURN = (0.8, 1.2), 30  # of a hand in the picture, at random; TURN in degrees to either side
PHOTOGRAPHS = {"train": 400, "test": 100}  # backgrounds drawn of each part; training mirrors them, too


class AnnotatedHand(NamedTuple):
    """cutout: uint8 (C, C, 4), RGB times opacity, and opacity. joints: float64 (21, 2), x and y in its pixels. name: its file."""

    cutout: np.ndarray
    joints: np.ndarray | None
    name: str


def cut_out(hand: Hand, *, size: int, name: str, joints: np.ndarray | None = None) -> AnnotatedHand:
    """Prepare a hand for pictures of size x size. joints: (21, 2), in pixels of hand.image, move with it."""
    side, placement = round(CANVAS * size), Placement(zoom=1 / CANVAS)
    colours, opacity = place_hand(hand.image, hand.mask, size=side, placement=placement)
    layers = np.dstack([colours * opacity[..., None], 255 * opacity])
    placed = None if joints is None else place_points(joints, hand.mask, size=side, placement=placement)
    return AnnotatedHand(np.rint(layers).astype(np.uint8), placed, name)


def motion_matrix(motion: Placement, *, canvas: int, size: int) -> np.ndarray:
    """The affine map (2, 3) from a cutout's pixels to the picture's, centre to centre; pixel centres lie at +0.5."""
    angle = math.radians(motion.turn)
    turn = motion.zoom * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    if motion.mirror:
        turn[:, 0] *= -1
    target = size * np.array([0.5 + motion.right, 0.5 + motion.down])
    return np.column_stack([turn, target - turn @ np.full(2, canvas / 2)])


def move(cutout: np.ndarray, matrix: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A cutout in its place: RGB times opacity, float32 (size, size, 3), and opacity in [0, 1], (size, size, 1)."""
    linear, offset = matrix[:, :2], matrix[:, 2]
    # OpenCV counts from pixel centres: shift by half a pixel before, and back after.
    centred = np.column_stack([linear, offset + linear @ np.full(2, 0.5) - 0.5])
    moved = cv2.warpAffine(cutout, centred, (size, size), flags=cv2.INTER_LINEAR).astype(np.float32)
    return moved[..., :3], moved[..., 3:] / 255


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


def background_bank(root: str | None, *, size: int, part: str, seed: int) -> Background:
    """As open_backgrounds, but drawn beforehand, so that it costs no training time; parts share no photograph and no room."""
    source = open_backgrounds(root, size=size, part=part)
    rng = np.random.default_rng((seed, PARTS.index(part)))
    return partial(one_of, np.stack([source(rng) for _ in range(PHOTOGRAPHS[part])]))


def one_of(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of the pictures, uint8 (N, S, S, 3), mirrored or not."""
    picture = pictures[rng.integers(len(pictures))]
    return picture[:, ::-1] if rng.random() < 0.5 else picture


class AnnotatedHands(HandsOnBackgrounds):
    """Hands on backgrounds with their labels, in the order of HandsOnBackgrounds: {"image": (3, S, S) in [-1, 1], "mask":
    (1, S, S) in {0, 1}, "joints": float32 (21, 2) in pixels, "seen": bool (21,), whether it lies in the picture, "hand_path"}.
    """

    samples: Sequence[AnnotatedHand]

    def __getitem__(self, k: int) -> dict[str, Tensor | str]:
        rng, hand = self.draw(k)
        picture, filling = self.background(rng).astype(np.float32), self.background(rng)
        size, canvas = len(picture), len(hand.cutout)
        decoy = self.samples[rng.integers(len(self.samples))]
        decoy_motion, hand_motion = (
            motion_matrix(random_placement(rng, shift=shift, zoom=ZOOM, turn=TURN), canvas=canvas, size=size)
            for shift in (0.35, 0.1)
        )

        _, opacity = move(decoy.cutout, decoy_motion, size)
        picture += opacity * (filling - picture)
        colours, opacity = move(hand.cutout, hand_motion, size)
        picture = colours + (1 - opacity) * picture
        picture = augmented(picture, rng) if self.train else picture

        joints, seen = np.zeros((N_JOINTS, 2)), np.zeros(N_JOINTS, bool)
        if hand.joints is not None:
            joints = hand.joints @ hand_motion[:, :2].T + hand_motion[:, 2]
            seen = ((joints > 0) & (joints < size)).all(-1)
        return {
            "image": to_tensor(photograph(picture, rng)),
            "mask": mask_to_tensor(opacity[..., 0] > 0.5),
            "joints": torch.from_numpy(joints).float(),
            "seen": torch.from_numpy(seen),
            "hand_path": hand.name,
        }

    def files(self, k: int) -> list[str]:
        """The file of item k's hand."""
        return [self.draw(k)[1].name]
