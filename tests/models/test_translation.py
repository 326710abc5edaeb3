"""Translating the hand's bounding box."""

import numpy as np
import pytest
import torch
from helpers import build, draw_hand

from data.hands import Hand
from data.input_folder import frames_in_folder
from data.regions import HandRegions, stack
from models.hgan import translate
from models.translation import HandTranslator, hand_bounds, translator_of
from util.images import to_uint8, write_png

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
        HandTranslator(normalise, CPU, masked=False, hand_box=True).images([hand])[0]
        for hand in (Hand(image, mask), wide)
    )
    assert np.array_equal(large[60:160, 60:160], small)
    unboxed = HandTranslator(normalise, CPU, masked=False, hand_box=False).images([wide])[0]
    assert not np.array_equal(unboxed[60:160, 60:160][mask], small[mask])


@pytest.mark.parametrize("hand_box", [False, True])
def test_what_was_painted_beside_the_hand_is_kept_for_looking_at(tmp_path, hand_box):
    """The result is composited by the mask; `unmasked` is not, and holds the source wherever nothing was painted."""
    image, mask = draw_hand(np.random.default_rng(0), size=200, background=(255, 255, 255))
    write_png(tmp_path / "a.png", image)
    write_png(tmp_path / "a_mask.png", mask)
    regions = HandRegions(frames_in_folder(tmp_path), crop=None)
    translator = HandTranslator(lambda images, masks: torch.zeros_like(images), CPU, masked=True, hand_box=hand_box)
    (found,) = translator.stream(regions)
    assert (found.image[mask] == 128).all() and np.array_equal(found.image[~mask], image[~mask])
    painted = np.zeros_like(mask)
    painted[hand_bounds(mask) if hand_box else ...] = True
    assert (found.unmasked[painted] == 128).all() and np.array_equal(found.unmasked[~painted], image[~painted])


def test_cudnn_tunes_no_shape_of_a_box(monkeypatch):
    """Each hand's box is a shape of its own; with cudnn.benchmark each would be timed anew."""
    tuned = []

    def paint(images, masks):
        tuned.append(torch.backends.cudnn.benchmark)
        return images

    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    hand = Hand(*draw_hand(np.random.default_rng(0)))
    HandTranslator(paint, CPU, masked=True, hand_box=True).images([hand, hand])
    assert tuned == [False, False] and torch.backends.cudnn.benchmark


@pytest.mark.parametrize("masked", [True, False])
def test_a_model_in_training_translates_as_its_own_average_does(masked):
    model = build(None, netD="patch", mask=masked)
    image, mask = draw_hand(np.random.default_rng(0), size=64, background=(255, 255, 255))
    tensors = stack([Hand(image, mask)], CPU)
    (made,) = translator_of(model, direction="RtoS", hand_box=False).images([Hand(image, mask)])
    net = model.averages["G_s"].module
    assert np.array_equal(made, to_uint8(translate(net, *tensors, model.amp, fill=False, masked=masked))[0])
    assert np.array_equal(made[~mask], image[~mask]) is masked
