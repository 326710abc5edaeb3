"""Translating hands: their bounding boxes, and several at a time."""

import threading
import time
from collections import Counter
from multiprocessing.pool import ThreadPool

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import CPU, build, draw_hand

from data.frames import frames_in_folder
from data.hands import Hand
from data.samples import HandRegions, stack
from models import DIRECTIONS, departures, translation
from models.hgan import composite, generate
from models.translation import HandTranslator, hand_bounds
from util.images import to_uint8, write_png

WHITE = (255, 255, 255)


def hands_in(folder, count, size=80):
    """Regions of hands of several sizes."""
    for k in range(count):
        image, mask = draw_hand(np.random.default_rng(k), size=size + 8 * (k % 3), background=WHITE)
        write_png(folder / f"{k}.png", image)
        write_png(folder / f"{k}_mask.png", mask)
    return HandRegions(frames_in_folder(folder), crop=None)


def normalise(images, masks):
    return (images - images.mean((-2, -1), keepdim=True)).clamp(-1, 1)


@pytest.mark.parametrize(
    ("size", "hand", "box"),
    [
        ((200, 300), (slice(50, 150), slice(120, 220)), (slice(48, 152), slice(118, 222))),  # 2 pixels around
        ((200, 300), (slice(90, 101), slice(2, 102)), (slice(64, 128), slice(0, 104))),  # moved inside
        ((200, 300), (slice(0, 10), slice(295, 300)), (slice(0, 64), slice(236, 300))),  # small ones take more along
        ((40, 50), (slice(0, 0), slice(0, 0)), (slice(0, 40), slice(0, 50))),
        ((40, 50), (slice(0, 40), slice(0, 50)), (slice(0, 40), slice(0, 50))),
    ],
    ids=["large", "border", "small", "none", "all"],
)
def test_bounds_by_hand(size, hand, box):
    mask = np.zeros(size, bool)
    mask[hand] = True
    assert hand_bounds(mask) == box


def test_the_surroundings_do_not_matter():
    """A network that normalises over all it sees gives the same hand in a small region and in a large one."""

    def normalised(hand, *, crop_to_hand):
        return HandTranslator(normalise, CPU, masked=False, crop_to_hand=crop_to_hand).images([hand])[0]

    image, mask = draw_hand(np.random.default_rng(0), size=100, background=WHITE)
    wide = Hand(np.pad(image, ((60, 60), (60, 60), (0, 0)), constant_values=255), np.pad(mask, 60))
    small = normalised(Hand(image, mask), crop_to_hand=True)
    assert np.array_equal(normalised(wide, crop_to_hand=True)[60:160, 60:160], small)
    assert not np.array_equal(normalised(wide, crop_to_hand=False)[60:160, 60:160][mask], small[mask])


@pytest.mark.parametrize("crop_to_hand", [False, True])
def test_what_was_painted_beside_the_hand_is_kept_for_looking_at(tmp_path, crop_to_hand):
    """The result is composited by the mask; `unmasked` is not, and holds the source wherever nothing was painted."""
    grey = HandTranslator(lambda images, _: torch.zeros_like(images), CPU, masked=True, crop_to_hand=crop_to_hand)
    (found,) = grey.stream(hands_in(tmp_path, 1, size=200))
    image, mask = found.source.image, found.source.mask
    assert (found.image[mask] == 128).all() and np.array_equal(found.image[~mask], image[~mask])
    painted = np.zeros_like(mask)
    painted[hand_bounds(mask) if crop_to_hand else ...] = True
    assert (found.unmasked[painted] == 128).all() and np.array_equal(found.unmasked[~painted], image[~painted])


def test_cudnn_tunes_no_shape_of_a_box(monkeypatch):
    """Each hand's box is a shape of its own; with cudnn.benchmark each would be timed anew."""
    tuned = []

    def paint(images, masks):
        tuned.append(torch.backends.cudnn.benchmark)
        return images

    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    hand = Hand(*draw_hand(np.random.default_rng(0)))
    HandTranslator(paint, CPU, masked=True, crop_to_hand=True).images([hand, hand])
    assert tuned == [False, False] and torch.backends.cudnn.benchmark


@pytest.fixture
def four_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(threads)


def test_a_cpu_translates_hands_side_by_side_each_with_its_share_of_threads(tmp_path, four_threads, monkeypatch):
    """Two at a time, with two of four threads each: neither ends before both have begun."""
    monkeypatch.setattr(translation, "AT_ONCE", 2)
    met, seen = threading.Barrier(2, timeout=30), []

    def paint(images, masks):
        met.wait()
        seen.append(torch.get_num_threads())
        return -images

    regions = hands_in(tmp_path, 8)
    translated = list(HandTranslator(paint, CPU, masked=True, crop_to_hand=True).stream(regions))
    assert seen == [2] * 8
    assert [each.index for each in translated] == list(range(8))
    for each in translated:
        image, mask = each.source.image, each.source.mask
        assert np.abs(each.image[mask].astype(int) - (255 - image[mask])).max() <= 1
        assert np.array_equal(each.image[~mask], image[~mask])
    with ThreadPool(1) as pool:
        assert (torch.get_num_threads(), pool.apply(torch.get_num_threads)) == (4, 4)


def test_large_images_are_translated_one_after_another(tmp_path, four_threads, monkeypatch):
    monkeypatch.setattr(translation, "LARGE", 88 * 88)  # images of 96 pixels are large, those of 80 and 88 are not
    at_once, most = Counter(), Counter()
    lock = threading.Lock()

    def paint(images, masks):
        size = Counter([images.shape[-1]])
        with lock:
            at_once.update(size)
            most.update(at_once - most)
        time.sleep(0.05)
        with lock:
            at_once.subtract(size)
        return images

    regions = hands_in(tmp_path, 12)
    assert len(list(HandTranslator(paint, CPU, masked=True, crop_to_hand=False).stream(regions))) == 12
    assert most[96] == 1 and max(most.values()) > 1


def test_a_failure_in_a_thread_ends_the_stream_in_its_turn(tmp_path, four_threads):
    def paint(images, masks):
        if images.shape[-1] == 96:
            raise RuntimeError("no memory left")
        return images

    stream = HandTranslator(paint, CPU, masked=True, crop_to_hand=False).stream(hands_in(tmp_path, 9))
    assert [next(stream).index, next(stream).index] == [0, 1]
    with pytest.raises(RuntimeError, match="no memory left"):
        next(stream)
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("masked", [True, False])
def test_a_generator_in_training_translates(masked):
    model = build(None, netD="patch", mask=masked)
    image, mask = draw_hand(np.random.default_rng(0), size=64, background=WHITE)
    net, where = model.networks[DIRECTIONS["RtoS"]], {"amp": model.amp, "device": CPU}
    (made,) = HandTranslator.of(net, model.objective, **where, tone=None, crop_to_hand=False).images(
        [Hand(image, mask)]
    )
    images, masks = stack([Hand(image, mask)], CPU)
    how = {"tone": None, "mask": masked, "extend_colors": False, "mean_of_views": model.objective.mean_of_views}
    painted = generate(model.G_s, images, masks, model.amp, **how)
    assert np.array_equal(made, to_uint8(composite(painted, images, masks if masked else None))[0])
    assert np.array_equal(made[~mask], image[~mask]) is masked


@pytest.mark.parametrize("masked", [True, False])
def test_views_are_the_image_and_its_mirror_image_enlarged(masked):
    """What is painted of them, 1 and 2, is averaged; the image itself has a weight of .15 where hands keep their shape."""
    seen = []

    def paint(view):
        seen.append(view)
        return torch.full_like(view, len(seen))

    images = torch.linspace(-1, 1, 61).expand(1, 3, 70, 61)
    made = departures.mean_of_views(paint, images, masked=masked)
    assert torch.allclose(made, 0.85 * torch.tensor(1.5) + 0.15 * images if masked else torch.full_like(images, 1.5))
    assert [view.shape for view in seen] == [(1, 3, 70, 61), (1, 3, 78, 68)]
    assert torch.equal(seen[0], images) and (seen[1].diff(dim=-1) <= 0).all()
    in_place = departures.mean_of_views(lambda views: views, images, masked=masked)
    assert (in_place - images).abs().max() < 0.01


@pytest.mark.parametrize("extend", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_a_translation_is_what_is_painted_of_what_is_seen_and_the_mean_that_of_two(masked, extend):
    model = build(None, netD="patch")
    image, mask = stack([Hand(*draw_hand(np.random.default_rng(0), size=64, background=WHITE))], CPU)
    how = {"tone": None, "mask": masked, "extend_colors": extend}
    mean, single = (generate(model.G_r, image, mask, model.amp, mean_of_views=mean, **how) for mean in (True, False))
    seen = departures.extend_colors(image, mask) if extend else image
    with torch.inference_mode():
        as_is = model.G_r(seen)
        mirrored = model.G_r(F.interpolate(seen.flip(-1), (72, 72), mode="bilinear"))
    assert torch.equal(single, as_is)
    there = F.interpolate(mirrored, (64, 64), mode="bilinear").flip(-1)
    assert (as_is - there).abs().max() > 0.01
    kept = 0.15 if masked else 0
    assert torch.allclose(mean, (1 - kept) * (as_is + there) / 2 + kept * seen, atol=1e-5)
