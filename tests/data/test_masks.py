"""data/masks.py and data/realhands.py: hand-worked arrays, properties, and recovery of known masks."""

import cv2
import numpy as np
import pytest
from drawn_hands import draw_hand, spoil
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from data import masks
from data.hands import key_or_whole
from data.masks import KEPT, RefineOptions, refine_mask

SIDES = st.integers(1, 40)
BOOL_IMAGES = arrays(bool, st.tuples(st.integers(3, 24), st.integers(3, 24)))


def picture(*rows: str) -> np.ndarray:
    return np.array([[char == "#" for char in row] for row in rows])


def refine(raw: np.ndarray, rgb: np.ndarray | None = None, **options):
    """Without a photograph, by the mask alone."""
    rgb, snap = (np.zeros((*raw.shape, 3), np.uint8), False) if rgb is None else (rgb, True)
    return refine_mask(raw.astype(np.uint8) * 255, rgb, RefineOptions(**{"snap": snap} | options))


def ring(size: int = 200, hole: int = 15) -> tuple[np.ndarray, np.ndarray]:
    """A thick ring on an arm: (photograph, true mask), the photograph blurred and noisy."""
    mask = np.zeros((size, size), np.uint8)
    cv2.circle(mask, (size // 2, size // 3), size // 4, 1, -1)
    cv2.rectangle(mask, (size // 2 - 25, size // 3), (size // 2 + 25, size), 1, -1)
    cv2.circle(mask, (size // 2, size // 3), hole, 0, -1)
    rng = np.random.default_rng(3)
    rgb = np.where(mask[..., None] > 0, [180, 130, 110], [205, 208, 215]) + rng.normal(0, 4, (size, size, 3))
    return cv2.GaussianBlur(np.clip(rgb, 0, 255).astype(np.uint8), (0, 0), 1.0), mask > 0


def test_key_colour_is_exact_and_a_green_screen_is_not():
    rgb = np.array([[[14, 255, 14], [14, 255, 15], [14, 254, 14], [0, 0, 0]]], np.uint8)
    assert key_or_whole(rgb).tolist() == [[False, True, True, True]]
    rgb = np.array([[[40, 160, 60], [200, 150, 120], [10, 20, 10], [128, 128, 128]]], np.uint8)
    assert masks.chroma_key_mask(rgb).tolist() == [[False, True, True, True]]  # the third is too dark to be a screen


@pytest.mark.parametrize("high", [1, 60, 255])
def test_otsu_finds_two_levels_of_any_height(high):
    grey = np.zeros((8, 8), np.uint8)
    grey[2:5] = high
    assert (masks.binarise(grey) == (grey > 0)).all()
    assert masks.binarise(np.full((4, 4), 255, np.uint8)).all()  # a single value has no threshold
    assert not masks.binarise(np.zeros((4, 4), np.uint8)).any()


def test_largest_component_joins_corners():
    mask = picture("##...#", "..#...", "....##", "......")
    assert (masks.largest_component(mask) == picture("##....", "..#...", "......", "......")).all()
    assert not masks.largest_component(np.zeros((3, 3), bool)).any()


def test_holes_by_hand():
    mask = picture(
        "#######.",
        "#.##..#.",
        "#####.#.",
        "#.#####.",
        "#.#####.",
    )
    assert masks.count_contours(mask) == 3
    filled, kept = masks.fill_holes(mask, 2.5)  # the hole at the lower left reaches the frame's border
    assert np.argwhere(filled & ~mask).tolist() == [[1, 1]]
    assert np.argwhere(kept).tolist() == [[1, 4], [1, 5], [2, 5]]


@given(BOOL_IMAGES)
@settings(max_examples=150, deadline=None)
def test_holes_and_contours_agree_with_scipy(mask):
    filled, kept = masks.fill_holes(mask, np.inf)
    assert (filled == ndimage.binary_fill_holes(mask)).all() and not kept.any()
    n_holes = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)[1]
    n_parts = ndimage.label(mask, np.ones((3, 3)))[1]
    assert masks.count_contours(mask) == n_parts + n_holes


@given(BOOL_IMAGES, st.sampled_from([0, 3, 5, 7]))
@settings(max_examples=150, deadline=None)
def test_morphology_properties(mask, size):
    eroded, closed = masks.erode(mask, size), masks.close_gaps(mask, size)
    assert not (eroded & ~mask).any() and not (mask & ~closed).any()
    assert (masks.close_gaps(closed, size) == closed)[size : -size or None, size : -size or None].all()
    largest = masks.largest_component(mask)
    assert not (largest & ~mask).any() and (masks.largest_component(largest) == largest).all()
    kept_open = masks.close_gaps(mask, size, keep=~mask)
    assert (kept_open == mask).all()


def test_erosion_signed_distance_and_iou_by_hand():
    mask = np.zeros((20, 20), bool)
    mask[8:, 5:15] = True
    eroded = masks.erode(mask, 5)  # an arm is not cut at the border
    assert eroded[-1].sum() == 6 and not eroded[9].any() and eroded[10, 7:13].all()
    mask = np.array([[False, False, True, True, True]])
    assert masks.signed_distance(mask)[0] == pytest.approx([-2, -1, 1, 2, 3], abs=0.15)
    assert masks.iou(mask, np.array([[False, True, True, True, False]])) == pytest.approx(0.5)
    assert masks.iou(np.zeros((2, 2), bool), np.zeros((2, 2), bool)) == 1.0


def test_likeness_separates_and_knows_when_it_cannot():
    rgb, mask = ring()
    likeness = masks.hand_likeness(rgb, mask)
    assert likeness[masks.erode(mask, 9)].min() > 0.5 > likeness[masks.erode(~mask, 9)].max()
    flat = np.random.default_rng(0).normal(128, 5, rgb.shape).astype(np.uint8)
    assert masks.hand_likeness(flat, mask) is None
    assert masks.hand_likeness(rgb, np.zeros_like(mask)) is None


def test_ring_keeps_its_hole_and_loses_pin_holes():
    rgb, mask = ring()
    raw = mask.copy()
    raw[150:155, 90:95] = raw[180:185, 110:115] = False  # pin-holes
    raw[10:16, 10:16] = True  # a blob
    for snap in (False, True):
        refined, verdict = refine(raw, rgb, snap=snap, erode=0)
        assert verdict.verdict == KEPT and verdict.contours == 5
        assert (verdict.area_before, verdict.area_after) == (raw.mean(), refined.mean())
        assert verdict.change == 1 - masks.iou(raw, refined)
        assert ndimage.label(masks.fill_holes(refined, 0)[1])[1] == 1
        assert masks.iou(refined, mask) > 0.985


@pytest.mark.parametrize("seed", range(3))
def test_spoiled_masks_are_recovered(seed):
    rng = np.random.default_rng(seed)
    rgb, mask = draw_hand(rng, 320, 240)
    raw = spoil(mask, rng)
    plain, snapped = (refine(raw, photograph, erode=0)[0] for photograph in (None, rgb))
    eroded = refine(raw, rgb)[0]
    assert masks.iou(plain, mask) > 0.93
    assert masks.iou(snapped, mask) > max(0.97, masks.iou(plain, mask))
    assert (eroded & mask).sum() > 0.99 * eroded.sum()
    for refined in (plain, snapped, eroded):
        assert masks.count_contours(refined) == 1


def test_useless_masks_say_why():
    small = np.zeros((200, 200), bool)
    small[:20, :20] = True
    for raw, reason in (
        (np.random.default_rng(0).random((200, 200)) > 0.5, "contours"),
        (small & ~small, "no hand"),
        (small | ~small, "all hand"),
        (small, "1.0% of the frame, less than 5.0%"),
        (~small, "more than 50.0%"),
    ):
        refined, verdict = refine(raw, erode=0)
        assert refined is None and reason in verdict.verdict


@given(arrays(np.uint8, st.tuples(SIDES, SIDES)), st.booleans(), st.sampled_from([0, 3, 5, 9]))
@settings(max_examples=200, deadline=None)
def test_any_mask_gives_one_hand_or_a_reason(grey, snap, size):
    rgb = np.random.default_rng(0).integers(0, 256, (*grey.shape, 3), dtype=np.uint8)
    options = RefineOptions(median=size, close=size, erode=size, snap=snap, min_area=0.001, max_area=1.0)
    refined, verdict = refine_mask(grey, rgb, options)
    assert (refined is not None) == (verdict.verdict == KEPT)
    if refined is not None:
        assert refined.dtype == bool and ndimage.label(refined, np.ones((3, 3)))[1] == 1


def test_paper_is_its_four_steps_and_nothing_else():
    """Against OpenCV's own calls: the largest outline of a speckled mask with holes, a crack, a blob and a strip on the border."""
    random = np.random.default_rng(0)
    raw = np.zeros((120, 160), np.uint8)
    cv2.ellipse(raw, (80, 60), (30, 40), 0, 0, 360, 255, -1)
    cv2.circle(raw, (80, 60), 6, 0, -1)
    cv2.line(raw, (50, 30), (110, 30), 0, 1)
    cv2.circle(raw, (20, 20), 8, 255, -1)
    cv2.rectangle(raw, (150, 0), (159, 119), 255, -1)
    raw[random.random(raw.shape) < 0.02] = 255
    refined, verdict = refine_mask(raw, np.zeros((120, 160, 3), np.uint8), RefineOptions(paper=True, fallback=False))
    filtered = cv2.medianBlur(raw, 5)
    outlines, _ = cv2.findContours(filtered, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    largest = cv2.drawContours(np.zeros_like(raw), [max(outlines, key=cv2.contourArea)], -1, 255, -1) & filtered
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    expected = cv2.erode(cv2.morphologyEx(largest, cv2.MORPH_CLOSE, disc), disc)
    assert verdict.verdict == KEPT and np.array_equal(refined, expected > 0)
    assert not refined[60, 80]  # the hole stays
