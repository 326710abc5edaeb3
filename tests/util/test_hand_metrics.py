"""Structure, texture, tone, fringe and silhouettes of hands that are constructed so that the answer is known."""

import json
import math
import shutil
from functools import partial

import cv2
import numpy as np
import pytest
from helpers import TINY, MeanColour

import test as test_script
import train
from data.hands import Hand
from data.joints import region_depth
from util.images import read_rgb, write_png
from util.scores.appearance import band_strengths, fringe_chroma, hand_scale, lab, mean_colour, psnr, ssim
from util.scores.baselines import blur, colour_statistics, low_frequencies
from util.scores.metrics import METRICS, Metric, View, best_score, entries, flat_entries, measure, share, single
from util.scores.silhouettes import boundary, boundary_f, gaps_filled
from util.scores.structure import SourceEdges, Structure, depth_edges

SKIN = np.array([198, 152, 124], np.float32)
SCALES = (1.0, 0.5)


def fist(scale: float, *, shift: float = 0.0, contrast: float = 0.2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """image, mask and depth of a palm with two fingers in front of it, each darker towards its right side.

    shift: pixels (scaled) by which the fingers are moved; contrast: of a finger's edges, 1 from black to the skin.
    """
    side = int(256 * scale)
    y, x = (np.mgrid[:side, :side] + 0.5) / scale
    mask = ((y - 128) / 100) ** 2 + ((x - 128) / 80) ** 2 < 1
    depth = np.where(mask, 400, 32001).astype(np.uint16)
    shade = np.ones((side, side), np.float32)
    for left in (92 + shift, 134 + shift):
        finger = (x >= left) & (x < left + 26) & (y > 80) & (y < 180) & mask
        depth[finger] = 380
        shade[finger] = 1 - contrast + contrast * (1 - (x[finger] - left) / 26)
    image = np.where(mask[..., None], SKIN * shade[..., None], 255)
    return image.round().astype(np.uint8), mask, depth


def blurred(image: np.ndarray, mask: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur of the hand that takes nothing from the background."""
    weights = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma)[..., None]
    hand = cv2.GaussianBlur(image * mask[..., None].astype(np.float32), (0, 0), sigma) / np.maximum(weights, 1e-6)
    return np.where(mask[..., None], hand, 255).round().astype(np.uint8)


def flat(mask: np.ndarray, colour: np.ndarray = SKIN) -> np.ndarray:
    return np.where(mask[..., None], colour, 255).astype(np.uint8)


def noisy(image: np.ndarray, mask: np.ndarray, strength: float, sigma: float = 1.0, seed: int = 0) -> np.ndarray:
    """Grey noise of one standard deviation, blurred to a size, on the hand."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=mask.shape), (0, 0), sigma)
    added = image + (strength * noise / noise.std())[..., None]
    return np.where(mask[..., None], added.clip(0, 255), 255).round().astype(np.uint8)


def kept(*results: Structure, part: str = "kept") -> float | None:
    return share(part)(results, [])


by_chance = partial(kept, part="chance")


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("with_depth", (True, False))
def test_a_source_keeps_all_its_edges_and_loses_those_that_are_dissolved_moved_or_reversed(scale, with_depth):
    image, mask, depth = fist(scale)
    edges = SourceEdges(image, mask, depth if with_depth else None, scale=scale)
    own = edges.compare(image)
    assert own.edges > 250 * scale and own.kept == own.edges and kept(own) == 1.0
    assert kept(edges.compare(flat(mask))) == 0.0 and kept(edges.compare(fist(scale, shift=1)[0])) == 1.0
    assert kept(edges.compare(blurred(image, mask, 1.5 * scale))) > 0.95
    for high, translated in (
        (0.2, noisy(flat(mask), mask, 3)),
        (0.4, blurred(image, mask, 6 * scale)),
        (0.6, fist(scale, shift=8)[0]),
        (0.1, np.where(mask[..., None], 255 - image, 255)),
    ):
        assert kept(edges.compare(translated)) < high


@pytest.mark.parametrize("scale", SCALES)
def test_softer_light_another_tone_and_skin_keep_the_structure(scale):
    image, mask, depth = fist(scale)
    edges = SourceEdges(image, mask, depth, scale=scale)
    toned = flat(mask, fist(scale, contrast=0.12)[0] * np.array([0.7, 0.62, 0.55]))
    assert kept(edges.compare(noisy(toned, mask, 1.5, 2 * scale))) > 0.95
    assert kept(edges.compare(fist(scale, contrast=0.04)[0])) < 0.5


IMAGE, MASK, DEPTH = fist(1.0)
EDGES = SourceEdges(IMAGE, MASK, DEPTH)


def test_a_crease_across_the_edges_is_no_substitute():
    creased, both = flat(MASK), IMAGE.copy()
    creased[90:172:8, 60:196] = both[60:64, 90:170] = 90
    assert kept(EDGES.compare(creased)) < 0.2 and kept(EDGES.compare(both)) > 0.95


def test_depth_tells_edges_from_shading_which_is_seen_and_no_edge_of_depth():
    """A shadow on the palm, kept by its source, gone in the unshaded hand, whatever becomes of the fingers."""
    shadowed, pool = IMAGE.copy(), share("shading_kept", of="shading")
    shadowed[40:70, 100:160] = shadowed[40:70, 100:160] * 0.6
    edges, without_depth = SourceEdges(shadowed, MASK, DEPTH), SourceEdges(shadowed, MASK).compare(IMAGE)
    own, gone = edges.compare(shadowed), edges.compare(IMAGE)
    assert kept(gone) == 1.0 and kept(without_depth) < 0.95
    assert own.shading == gone.shading > 80 and own.shading_kept == own.shading
    assert pool([gone], []) < 0.15 and pool([own, gone], []) == pytest.approx(0.5, abs=0.08)
    assert EDGES.compare(IMAGE).shading < 20 and without_depth.shading == 0


def test_depth_edges_are_steps_not_slopes():
    mask = np.ones((64, 64), bool)
    slope = (400 + 9 * np.arange(64))[None].repeat(64, 0).astype(np.uint16)
    assert not depth_edges(slope, mask).any()
    step = slope.copy()
    step[:, 32:] -= 40
    edges = depth_edges(step, mask)
    assert edges[:, 32].all() and edges.sum() == 64
    assert (depth_edges(step.T.copy(), mask.T) == edges.T).all()
    step[10, 33] = 32001
    assert depth_edges(step, mask)[:, 34:].sum() == 0


def test_chance_is_what_displaced_edges_keep():
    lines = flat(MASK)
    lines[:, ::2] = 110  # a line everywhere: wherever an edge is looked for, there is one
    own, smooth, full = map(EDGES.compare, (IMAGE, flat(MASK), lines))
    assert by_chance(own) < 0.5 < kept(own) and by_chance(smooth) == 0.0
    assert kept(full) - by_chance(full) < kept(own) - by_chance(own)


def test_structure_adds_up_and_has_no_share_without_edges():
    assert kept(EDGES.compare(IMAGE), EDGES.compare(flat(MASK))) == 0.5
    none = SourceEdges(flat(MASK), MASK).compare(flat(MASK))
    assert none == Structure() == SourceEdges(IMAGE, np.zeros_like(MASK)).compare(IMAGE)
    assert kept(none) is None


@pytest.mark.parametrize("scale", SCALES)
def test_a_band_answers_to_its_own_period(scale):
    mask = fist(scale)[1]
    x = np.arange(mask.shape[1])
    for band, period in enumerate((6, 12, 24)):
        wave = np.sin(2 * np.pi * x / (period * scale))[None, :, None] * 12
        strengths = band_strengths(np.where(mask[..., None], SKIN + wave, 255).astype(np.uint8), mask, scale=scale)
        assert strengths.argmax() == band
        assert strengths[band] > 1.0


def test_texture_grows_with_noise_falls_with_blur_and_ignores_the_outline():
    plain, outlined = flat(MASK), flat(MASK)
    weak = noisy(plain, MASK, 3, 1.5)
    strengths = band_strengths(weak, MASK)
    assert band_strengths(plain, MASK).max() < 0.05
    assert np.allclose(band_strengths(noisy(plain, MASK, 6, 1.5), MASK) / strengths, 2, atol=0.15)
    assert (band_strengths(blurred(weak, MASK, 3), MASK)[:2] < 0.5 * strengths[:2]).all()
    outlined[MASK ^ (cv2.erode(MASK.astype(np.uint8), np.ones((9, 9))) > 0)] = 60
    assert band_strengths(outlined, MASK).max() < 0.05


def test_a_hand_without_an_inside_has_no_texture_and_no_fringe():
    thin, empty, whole = (np.full((64, 64), value) for value in (False, False, True))
    thin[30:33, 5:60] = True
    for mask in (thin, empty):
        assert band_strengths(flat(mask), mask) is None and fringe_chroma(flat(mask), mask) is None
    assert mean_colour(flat(empty), empty) is None and fringe_chroma(flat(whole), whole) is None
    assert band_strengths(flat(whole), whole).max() < 1e-3


def test_tone_is_the_spread_of_mean_colours():
    mask = fist(0.5)[1]
    dark, light = (flat(mask, np.full(3, level)) for level in (60, 200))
    hands = [{"tone": mean_colour(image, mask)} for image in (dark, light)]
    expected = [lab(image)[mask].mean(0)[0] for image in (dark, light)]
    half = [{"tone": np.array([level, 0, 1])} for level in (0, (expected[1] - expected[0]) / 2)]
    tone = entries(hands, half)["tone"]
    assert tone["L"] == pytest.approx(2, abs=0.01) and tone["a"] is None and tone["b"] is None
    assert entries(hands[:1] * 3, half)["tone"]["L"] == pytest.approx(0)
    assert entries(hands[:1], half)["tone"] == dict.fromkeys("Lab")


def test_fringe_is_colour_at_the_outline_and_nothing_else():
    distance = cv2.distanceTransform(MASK.astype(np.uint8), cv2.DIST_L2, 5)
    green, darker, inside = flat(MASK), flat(MASK), flat(MASK)
    outermost = MASK & (distance < 2.5)
    green[outermost] = inside[MASK & (distance > 20)] = (120, 190, 120)
    darker[outermost] = SKIN * 0.6
    fringe = fringe_chroma(green, MASK)
    expected = np.linalg.norm(lab(green)[outermost][0, 1:] - lab(flat(MASK))[128, 128, 1:])
    assert fringe_chroma(flat(MASK), MASK) < 0.05 and fringe == pytest.approx(expected, rel=0.02)
    assert fringe_chroma(darker, MASK) < 0.3 * fringe and fringe_chroma(inside, MASK) < 0.2 * fringe
    cut = flat(MASK[100:156, 100:156])  # an image inside the hand: its border is no outline
    assert fringe_chroma(cut, MASK[100:156, 100:156]) is None


def figures(structure_share=1.0, texture=(1, 1, 1), tone=1.0, fringe=1.0) -> dict:
    texture = dict(zip(("6", "12", "24"), texture))
    return {"structure": structure_share, "texture": texture, "tone": {"L": tone, "a": 1.0, "b": 1.0}, "fringe": fringe}


def test_the_score_prefers_creases_to_a_smooth_blur_that_scores_the_better_distance():
    # Two trainings of docs/scores.md: A smooth with fingers dissolved, B creased; FD alone prefers A.
    smooth = best_score(76.8, figures(0.37, (0.31, 0.47, 0.65), 0.13, 0.9))
    creased = best_score(81.4, figures(0.83, (0.93, 0.93, 0.92), 0.62, 1.5))
    untranslated = best_score(76.5, figures(1.0, (0.32, 0.51, 0.70), 2.13, 0.6))
    assert creased < untranslated < smooth


def test_each_metric_can_only_raise_the_score_and_missing_ones_do_not():
    for perfect in (figures(), figures(None, (None,) * 3, None, None), figures(fringe=0.2), figures(fringe=0.0), {}):
        assert best_score(50.0, perfect) == 50.0
    assert best_score(50.0, figures(0.25)) == 100.0
    for worse in ((0.9,), (1, (0.8, 1, 1)), (1, (1.25, 1, 1)), (1, (1, 1, 1), 1.4), (1, (1, 1, 1), 1, 1.6)):
        assert best_score(50.0, figures(*worse)) > 50.0
    assert math.isfinite(best_score(50.0, figures(0.0, (0, 0, 0), 0, 1e9)))


def test_the_scale_follows_the_frames():
    small, large = fist(0.5)[1], fist(1.0)[1]
    padded = np.pad(small, 64)
    assert hand_scale([small, padded]) == 0.5
    assert hand_scale([large]) == 1.0 and hand_scale([padded, large]) == 1.0
    assert hand_scale([np.roll(padded, 40, axis=0)]) == 1.0
    assert hand_scale([np.zeros_like(small), np.ones_like(small)]) == 0.5


def test_entries_of_a_set_and_their_flat_form():
    image, mask, depth = fist(0.5)
    photographs = [measure(View(noisy(image, mask, 5 + 5 * seed, seed=seed), mask, 0.5)) for seed in range(2)]
    for hands, ratio in ((photographs, 1.0), ([], None)):
        texture, tone = dict.fromkeys(("6", "12", "24"), ratio), dict.fromkeys("Lab", ratio)
        wanted = {"texture": texture, "tone": tone, "fringe": ratio}
        assert entries(hands, photographs).items() >= wanted.items()
    assert entries([], []) == {}
    edges = SourceEdges(image, mask, depth, scale=0.5)
    hands = [measure(View(each, mask, 0.5, edges)) for each in (image, flat(mask))]
    pooled = entries(hands, photographs)
    assert pooled["structure"] == 0.5 and single(hands)["structure"] == [1.0, 0.0]
    assert set(pooled) >= {"structure", "structure_chance", "n_edges", "texture", "tone", "fringe"}
    flattened = flat_entries(pooled | {"fringe": None})
    assert flattened["texture_12"] == pooled["texture"]["12"] and flattened["tone_a"] == pooled["tone"]["a"]
    assert "fringe" not in flattened and all(isinstance(value, (int, float)) for value in flattened.values())


def test_a_depth_map_is_cut_like_its_region(tmp_path):
    image, mask, depth = fist(0.5)
    path, known = tmp_path / "00000000_color.png", np.where(depth == 32001, 0, depth)
    write_png(path, image)
    assert region_depth(path, mask) is None
    cv2.imwrite(str(tmp_path / "00000000_depth.png"), depth)
    for region, expected in (
        (mask, known),
        (mask[16:112, 16:112], known[16:112, 16:112]),  # about the hand
        (np.pad(mask, 64), np.pad(known, 64)),
    ):
        assert (region_depth(path, region) == expected).all()
    assert region_depth(path, np.roll(mask, 30, axis=1)) is None


def test_baselines_take_what_they_say_and_nothing_else():
    render, other = (
        Hand(noisy(IMAGE, MASK, 6), MASK),
        Hand(np.roll(noisy(IMAGE // 2, MASK, 20), 9, axis=1), np.roll(MASK, 9, axis=1)),
    )
    toned = lab(colour_statistics(render, other))[MASK]
    expected = lab(other.image)[other.mask]
    assert np.allclose(toned.mean(0), expected.mean(0), atol=1)
    assert np.allclose(toned.std(0), expected.std(0), atol=0.25)  # colours are whole numbers
    soft = blur(render, other)
    assert band_strengths(soft, MASK)[0] < 0.7 * band_strengths(render.image, MASK)[0]
    assert np.abs(soft[MASK].mean(0) - render.image[MASK].mean(0)).max() < 1  # nothing of the background
    assert np.abs(low_frequencies(render, render).astype(int) - render.image).max() <= 1
    swapped = np.fft.fft2(low_frequencies(render, Hand(render.image // 2 + 60, MASK))[..., 0].astype(float))
    assert abs(swapped[0, 0]) == pytest.approx((render.image[..., 0] // 2 + 60.0).sum(), rel=0.02)
    assert swapped[9, 9] == pytest.approx(np.fft.fft2(render.image[..., 0].astype(float))[9, 9], rel=0.1)


def test_psnr_by_hand():
    a, b, mask = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 5, np.uint8), np.zeros((4, 4), bool)
    assert psnr(a, b, ~mask) == pytest.approx(20 * np.log10(51.0)) and psnr(a, a, ~mask) == float("inf")
    mask[0, :2] = True
    b[0, 0] = 0  # errors 0 and 25: mean 12.5
    assert psnr(a, b, mask) == pytest.approx(10 * np.log10(255**2 / 12.5))


def slow_ssim(a, b, mask):
    """Wang et al.'s formula, a window at a time, on one channel."""
    axis = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights, values = np.outer(axis, axis) / axis.sum() ** 2, []
    for row, column in np.argwhere(mask[5:-5, 5:-5]):
        x, y = (side[row : row + 11, column : column + 11].astype(float) for side in (a, b))
        mx, my = (weights * x).sum(), (weights * y).sum()
        vx, vy, cov = ((weights * p).sum() for p in ((x - mx) ** 2, (y - my) ** 2, (x - mx) * (y - my)))
        c1, c2 = 2.55**2, 7.65**2
        values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return np.mean(values)


def test_ssim_is_its_definition():
    random = np.random.default_rng(0)
    a = random.integers(0, 256, (18, 23, 3), np.uint8)
    b = np.clip(a + random.normal(0, 40, a.shape), 0, 255).astype(np.uint8)
    mask = random.random((18, 23)) < 0.5
    for chosen in (np.ones_like(mask), mask):
        expected = np.mean([slow_ssim(a[..., c], b[..., c], chosen) for c in range(3)])
        assert ssim(a, b, chosen) == pytest.approx(expected, abs=1e-10)
    assert ssim(a[..., 0], b[..., 0], mask) == pytest.approx(slow_ssim(a[..., 0], b[..., 0], mask))


def test_a_metric_is_one_function_and_one_row_and_data_without_masks_has_no_inside(
    tmp_path, run_main, monkeypatch, request
):
    METRICS.append(Metric("redness", "redness", "{:.1f}", "lower", lambda view: float(view.image[..., 0].mean())))
    request.addfinalizer(METRICS.pop)
    monkeypatch.setattr(test_script, "load_feature_net", lambda *_, **__: MeanColour())
    random = np.random.default_rng(0)
    for folder in ("trainA", "trainB", "testA", "testB"):
        for i in range(4):
            write_png(tmp_path / "data" / folder / f"{i}.png", random.integers(0, 256, (48, 48, 3), dtype=np.uint8))
    where = ("--dataroot", tmp_path / "data", "--checkpoints_dir", tmp_path, "--device", "cpu")
    status, said = run_main(train.main, "--name", "a", *where, *TINY, "--netD", "pixel", "--max_steps", 1)
    assert status == 0, said
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    flags = ("--results_dir", tmp_path / "results", "--amp", "off", "--num_workers", 0)
    status, said = run_main(test_script.main, "--name", "a", "b", *where, *flags)
    assert status == 0, said
    folder, compare = tmp_path / "results" / "a" / "test", tmp_path / "results" / "compare"
    metrics, inside = json.loads((folder / "metrics.json").read_text()), {"structure", "texture", "tone", "fringe"}
    assert not inside & (metrics.keys() | metrics["baseline"].keys())
    # A metric that was added stands everywhere: of the set, of single images, and of the runs side by side.
    reds = [read_rgb(path)[..., 0].mean() for path in (folder / "generated").rglob("*.png")]
    assert metrics["redness"] == pytest.approx(np.mean(reds)) != metrics["baseline"]["redness"]
    reals = [read_rgb(path)[..., 0].mean() for path in (folder / "real").rglob("*.png")]
    assert metrics["real"]["redness"] == pytest.approx(np.mean(reals))
    assert "\n  redness " in said and "redness" in (folder / "hand_metrics.csv").read_text().splitlines()[0]
    assert ", redness " in (folder / "index.html").read_text()
    assert "| redness |" in (compare / "table.md").read_text()


def square(top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros((40, 40), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_the_boundary_is_the_outermost_hand_and_there_is_none_where_the_picture_ends():
    edge = boundary(square(10, 10, 5))
    assert edge.sum() == 16 and edge[10, 10] and not edge[12, 12] and not edge[9, 10]
    arm = np.zeros((20, 20), bool)
    arm[10:, 8:12] = True
    edge = boundary(arm)
    assert edge[10, 8:12].all() and edge[19, 8] and edge[19, 11] and not edge[19, 9:11].any()
    assert not boundary(np.ones((20, 20), bool)).any()


def test_boundary_f_by_hand():
    a = square(10, 10, 10)
    assert boundary_f(a, a) == 1.0
    assert boundary_f(square(12, 10, 10), a, tolerance=2) == 1.0
    # Three pixels down, with tolerance 1, these of the lower square's 36 boundary pixels lie near the upper one's: of
    # its sides rows 13 to 19, and 20 just below, 2 x 8; of its top edge the two next to the sides. And so for recall.
    assert boundary_f(square(13, 10, 10), a, tolerance=1) == pytest.approx(18 / 36)
    assert boundary_f(square(30, 30, 6), a) == 0.0
    # A far square beside the true one: recall 1, precision 36 of 36 + 16 boundary pixels.
    both, precision = a | square(30, 30, 5), 36 / 52
    assert boundary_f(both, a) == pytest.approx(2 * precision / (1 + precision)) == boundary_f(a, both)
    empty, full = np.zeros((40, 40), bool), np.ones((40, 40), bool)  # masks without a boundary
    assert boundary_f(empty, empty) == boundary_f(full, full) == 1.0
    assert boundary_f(empty, a) == 0.0 == boundary_f(a, full)


def test_a_gap_between_two_fingers_counts_and_nothing_else():
    """A gap of 10 x 60 pixels, a silhouette that fills its upper third, and the same at half size."""
    for scale in (1, 2):
        mask = np.zeros((200 // scale, 200 // scale), bool)
        mask[60 // scale : 160 // scale, 60 // scale : 130 // scale] = True
        gap = np.zeros_like(mask)
        gap[60 // scale : 120 // scale, 90 // scale : 100 // scale] = True
        fingers = mask & ~gap
        upper = gap.copy()
        upper[80 // scale :] = False
        assert gaps_filled(fingers, fingers, scale=1 / scale) == 0
        assert gaps_filled(mask, fingers, scale=1 / scale) == 1
        assert gaps_filled(fingers | upper, fingers, scale=1 / scale) == pytest.approx(1 / 3, abs=0.06)
        assert gaps_filled(mask, mask, scale=1 / scale) is None
