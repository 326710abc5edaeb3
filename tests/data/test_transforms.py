"""Crops and flips treat image and mask alike."""

import numpy as np

from data.crops import centred_hand_crop, flip, random_hand_crop
from data.hands import Hand


def test_random_crops_are_centred_on_the_hand():
    mask = np.zeros((200, 200), bool)
    mask[60:140, 60:140] = True
    image = np.full((200, 200, 3), 255, np.uint8)
    image[mask] = 10
    random = np.random.default_rng(0)
    for _ in range(50):
        crop = random_hand_crop(Hand(image, mask), 64, random)
        assert crop.image.shape == (64, 64, 3) and crop.mask.shape == (64, 64)
        assert crop.mask[32, 32]
        assert np.array_equal(crop.mask, (crop.image == 10).all(-1))  # image and mask went through together


def test_small_and_bordering_hands_are_cropped_inside_the_image():
    image = np.zeros((50, 300, 3), np.uint8)
    mask = np.zeros((50, 300), bool)
    mask[2, 298] = True  # vanishes under erosion; at the border; image lower than the crop
    crop = random_hand_crop(Hand(image, mask), 128, np.random.default_rng(0))
    assert crop.mask.sum() == 1
    assert (crop.image[:39] == 255).all() and (crop.image[39:89] == 0).all()


def test_centred_crop():
    mask = np.zeros((480, 640), bool)
    mask[100:200, 300:420] = True
    crop = centred_hand_crop(Hand(np.zeros((480, 640, 3), np.uint8), mask), 256)
    rows, columns = (np.flatnonzero(crop.mask.any(axis=axis)) for axis in (1, 0))
    assert (rows[0], rows[-1]) == (78, 177) and (columns[0], columns[-1]) == (68, 187)


def test_flip_mirrors_both():
    hand = Hand(np.arange(12, dtype=np.uint8).reshape(2, 2, 3), np.array([[True, False], [False, False]]))
    mirrored = flip(hand)
    assert mirrored.mask.tolist() == [[False, True], [False, False]]
    assert mirrored.image[0, 1].tolist() == [0, 1, 2]
