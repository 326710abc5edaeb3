"""Crops and flips treat image and mask alike."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data.crops import box_around, centred_hand_crop, cut, flip, random_hand_crop
from data.hands import Hand
from models.translation import hand_bounds

SIDES = st.integers(1, 40)


@st.composite
def hands(draw) -> Hand:
    """An image whose red channel marks the mask, so that what goes through together can be told."""
    mask = draw(hnp.arrays(bool, (draw(SIDES), draw(SIDES)), elements=st.booleans(), fill=st.just(False)))
    image = np.full((*mask.shape, 3), 255, np.uint8)
    image[mask] = (10, 20, 30)
    return Hand(image, mask)


@given(hands(), st.integers(1, 50), st.integers(0, 2**32), st.integers(-5, 45), st.integers(-5, 45))
@settings(max_examples=150, deadline=None)
def test_crops_have_their_size_and_keep_image_and_mask_together(hand, size, seed, y, x):
    around = cut(hand, box_around(hand.mask, y, x, size, size))
    crops = [centred_hand_crop(hand, size), around, flip(around)]
    if hand.mask.any():
        crops.append(random_hand_crop(hand, size, np.random.default_rng(seed)))
        assert crops[-1].mask.any()  # a crop around a pixel of the hand holds it
    for crop in crops:
        assert crop.image.shape == (size, size, 3) and crop.mask.shape == (size, size)
        assert np.array_equal(crop.mask, (crop.image == (10, 20, 30)).all(-1))
        assert crop.mask.sum() <= hand.mask.sum()
    twice = flip(flip(hand))
    assert np.array_equal(twice.image, hand.image) and np.array_equal(twice.mask, hand.mask)


@given(hands())
@settings(max_examples=100, deadline=None)
def test_bounds_hold_the_hand(hand):
    rows, columns = hand_bounds(hand.mask)
    assert hand.mask[rows, columns].sum() == hand.mask.sum() and hand.mask[rows, columns].size


def test_random_crops_are_centred_on_the_hand():
    mask = np.zeros((200, 200), bool)
    mask[60:140, 60:140] = True
    random = np.random.default_rng(0)
    assert all(
        random_hand_crop(Hand(np.zeros((200, 200, 3), np.uint8), mask), 64, random).mask[32, 32] for _ in range(50)
    )


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
