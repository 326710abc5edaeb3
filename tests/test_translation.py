"""Translating the hand's bounding box."""

import numpy as np
import pytest
import torch

from data.hands import Hand
from util.translation import hand_bounds, translate_hands

CPU = torch.device("cpu")


def test_bounds_by_hand():
    mask = np.zeros((200, 300), bool)
    mask[50:150, 120:220] = True
    assert hand_bounds(mask) == (slice(46, 154), slice(116, 224))  # 4 pixels around


def test_small_hands_take_background_along_and_stay_inside():
    mask = np.zeros((200, 300), bool)
    mask[0:10, 295:300] = True
    rows, columns = hand_bounds(mask)
    assert rows == slice(0, 64) and columns == slice(236, 300)


@pytest.mark.parametrize("mask", [np.zeros((40, 50), bool), np.ones((40, 50), bool)], ids=["none", "all"])
def test_bounds_of_nothing_and_of_everything(mask):
    assert hand_bounds(mask) == (slice(0, 40), slice(0, 50))


def test_the_surroundings_do_not_matter():
    """A network that normalises over all it sees gives the same hand in a small region and in a large one."""

    def normalise(images, masks):
        return (images - images.mean((-2, -1), keepdim=True)).clamp(-1, 1)

    random = np.random.default_rng(0)
    image = np.full((100, 100, 3), 255, np.uint8)
    mask = np.zeros((100, 100), bool)
    mask[10:90, 10:90] = True
    image[mask] = random.integers(0, 255, (mask.sum(), 3))
    wide = Hand(np.pad(image, ((60, 60), (60, 60), (0, 0)), constant_values=255), np.pad(mask, 60))
    small, large = (
        translate_hands(normalise, [hand], hand_box=True, device=CPU)[0] for hand in (Hand(image, mask), wide)
    )
    assert np.array_equal(large[60:160, 60:160], small)
    unboxed = translate_hands(normalise, [wide], hand_box=False, device=CPU)[0]
    assert not np.array_equal(unboxed[60:160, 60:160][mask], small[mask])
