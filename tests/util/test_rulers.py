"""Structure, texture, tone and fringe on hands that are constructed so that the answer is known."""

import json
import math

import cv2
import numpy as np
import pytest
import torch
from helpers import TINY

import test as test_script
import train
from data.depth import region_depth
from util.images import write_png
from util.scores import compare
from util.scores.fringe import fringe_chroma
from util.scores.hand_pixels import lab, ruler_scale
from util.scores.rulers import Appearance, RulerScores, best_score, flat_entries, relative_to
from util.scores.structure import Structure, depth_edges, structure
from util.scores.texture import band_strengths
from util.scores.tone import mean_colour, tone_spread

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


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("with_depth", (True, False))
def test_a_source_keeps_all_its_own_edges(scale, with_depth):
    image, mask, depth = fist(scale)
    kept = structure(image, image, mask, depth if with_depth else None, scale=scale)
    assert kept.edges > 250 * scale and kept.kept == kept.edges and kept.share == 1.0
    assert kept.strong > 0 and kept.new == 0


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("with_depth", (True, False))
def test_edges_that_are_dissolved_moved_or_reversed_are_not_kept(scale, with_depth):
    image, mask, depth = fist(scale)

    def share(translated: np.ndarray) -> float:
        return structure(image, translated, mask, depth if with_depth else None, scale=scale).share

    assert share(flat(mask)) == 0.0
    assert share(noisy(flat(mask), mask, 3)) < 0.2
    assert share(blurred(image, mask, 6 * scale)) < 0.4
    assert share(blurred(image, mask, 1.5 * scale)) > 0.95
    assert share(fist(scale, shift=8)[0]) < 0.6
    assert share(fist(scale, shift=1)[0]) == 1.0
    assert share(np.where(mask[..., None], 255 - image, 255)) < 0.1


@pytest.mark.parametrize("scale", SCALES)
def test_softer_light_another_tone_and_skin_keep_the_structure(scale):
    image, mask, depth = fist(scale)
    soft = fist(scale, contrast=0.12)[0]
    toned = np.where(mask[..., None], soft * np.array([0.7, 0.62, 0.55]), 255).astype(np.uint8)
    assert structure(image, noisy(toned, mask, 1.5, 2 * scale), mask, depth, scale=scale).share > 0.95
    faint = fist(scale, contrast=0.04)[0]
    assert structure(image, faint, mask, depth, scale=scale).share < 0.5


def test_a_crease_across_the_edges_is_new_and_no_substitute():
    image, mask, depth = fist(1.0)
    creased = flat(mask)
    creased[90:172:8, 60:196] = 90
    result = structure(image, creased, mask, depth)
    assert result.share < 0.2 and result.new_share > 0.9
    both = image.copy()
    both[60:64, 90:170] = 90
    result = structure(image, both, mask, depth)
    assert result.share > 0.95 and 0.05 < result.new_share < 0.6


def test_depth_tells_an_edge_from_a_shadow():
    image, mask, depth = fist(1.0)
    shadowed = image.copy()
    shadowed[40:70, 100:160] = shadowed[40:70, 100:160] * 0.6
    assert structure(shadowed, image, mask, depth).share == 1.0
    assert structure(shadowed, image, mask).share < 0.95


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
    image, mask, depth = fist(1.0)
    lines = flat(mask)
    lines[:, ::2] = 110  # a line everywhere: wherever an edge is looked for, there is one
    full = structure(image, lines, mask, depth)
    own = structure(image, image, mask, depth)
    assert own.chance_share < 0.5 < own.share
    assert structure(image, flat(mask), mask, depth).chance_share == 0.0
    assert full.share - full.chance_share < own.share - own.chance_share


def test_structure_adds_up_and_has_no_share_without_edges():
    image, mask, depth = fist(1.0)
    one = structure(image, image, mask, depth)
    two = one + structure(image, flat(mask), mask, depth)
    assert two.share == 0.5 and two.edges == 2 * one.edges
    none = structure(flat(mask), flat(mask), mask)
    assert none == Structure() and none.share is None and none.new_share is None
    assert structure(image, image, np.zeros_like(mask)) == Structure()
    with pytest.raises(ValueError, match="one size"):
        structure(image, image[:-1], mask)


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
    mask = fist(1.0)[1]
    plain = flat(mask)
    weak, strong = (noisy(plain, mask, strength, 1.5) for strength in (3, 6))
    assert band_strengths(plain, mask).max() < 0.05
    ratio = band_strengths(strong, mask) / band_strengths(weak, mask)
    assert np.allclose(ratio, 2, atol=0.15)
    assert (band_strengths(blurred(weak, mask, 3), mask)[:2] < 0.5 * band_strengths(weak, mask)[:2]).all()
    dark_outline = np.where((mask ^ (cv2.erode(mask.astype(np.uint8), np.ones((9, 9))) > 0))[..., None], 60, plain)
    assert band_strengths(dark_outline.astype(np.uint8), mask).max() < 0.05


def test_a_hand_without_an_inside_has_no_texture_and_no_fringe():
    mask = np.zeros((64, 64), bool)
    mask[30:33, 5:60] = True
    assert band_strengths(flat(mask), mask) is None and fringe_chroma(flat(mask), mask) is None
    empty = np.zeros_like(mask)
    assert band_strengths(flat(mask), empty) is None and fringe_chroma(flat(mask), empty) is None
    assert mean_colour(flat(mask), empty) is None
    whole = np.ones_like(mask)
    assert fringe_chroma(flat(whole), whole) is None
    assert band_strengths(flat(whole), whole).max() < 1e-3


def test_tone_is_the_spread_of_mean_colours():
    mask = fist(0.5)[1]
    dark, light = (flat(mask, np.full(3, level)) for level in (60, 200))
    colours = np.stack([mean_colour(image, mask) for image in (dark, light)])
    expected = [lab(image)[mask].mean(0)[0] for image in (dark, light)]
    assert np.allclose(tone_spread(colours), [abs(expected[1] - expected[0]) / 2, 0, 0], atol=0.1)
    assert np.allclose(tone_spread(colours[:1].repeat(3, 0)), 0)


def test_fringe_is_colour_at_the_outline_and_nothing_else():
    image, mask, _ = fist(1.0)
    clean = fringe_chroma(flat(mask), mask)
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    green, darker, inside = flat(mask), flat(mask), flat(mask)
    outermost = mask & (distance < 2.5)
    green[outermost] = (120, 190, 120)
    grey = np.float32([[[0.6, 0.6, 0.6]]])
    darker = np.where(outermost[..., None], flat(mask) * grey, flat(mask)).astype(np.uint8)
    inside[mask & (distance > 20)] = (120, 190, 120)
    expected = np.linalg.norm(lab(green)[outermost][0, 1:] - lab(flat(mask))[128, 128, 1:])
    assert clean < 0.05
    assert fringe_chroma(green, mask) == pytest.approx(expected, rel=0.02)
    assert fringe_chroma(darker, mask) < 0.3 * fringe_chroma(green, mask)
    assert fringe_chroma(inside, mask) < 0.2 * fringe_chroma(green, mask)
    cut = flat(mask[100:156, 100:156])  # an image inside the hand: its border is no outline
    assert fringe_chroma(cut, mask[100:156, 100:156]) is None


def test_photographs_against_themselves_are_one():
    hands = []
    for seed in range(3):
        image, mask, _ = fist(0.5)
        hands.append((noisy((image * (0.7 + 0.1 * seed)).astype(np.uint8), mask, 5, seed=seed), mask))
    photographs, one_tone = Appearance(0.5), Appearance(0.5)
    for image, mask in hands:
        photographs.add(image, mask)
        one_tone.add(*hands[0])
    ratios = relative_to(photographs, photographs)
    assert ratios == {
        "texture": dict.fromkeys(("6", "12", "24"), 1.0),
        "tone": dict.fromkeys("Lab", 1.0),
        "fringe": 1.0,
    }
    assert relative_to(photographs, one_tone)["tone"]["L"] == pytest.approx(0, abs=1e-6)
    nothing = relative_to(photographs, Appearance())
    assert nothing == {"texture": dict.fromkeys(("6", "12", "24")), "tone": dict.fromkeys("Lab"), "fringe": None}


def figures(structure_share, texture, tone, fringe) -> dict:
    return {
        "structure": structure_share,
        "texture": dict(zip(("6", "12", "24"), texture)),
        "tone": {"L": tone, "a": 1.0, "b": 1.0},
        "fringe": fringe,
    }


def test_the_score_prefers_creases_to_a_smooth_blur_that_scores_the_better_distance():
    # Two trainings of docs/scores.md: A smooth with fingers dissolved, B creased; FD alone prefers A.
    smooth = best_score(76.8, figures(0.37, (0.31, 0.47, 0.65), 0.13, 0.9))
    creased = best_score(81.4, figures(0.83, (0.93, 0.93, 0.92), 0.62, 1.5))
    untranslated = best_score(76.5, figures(1.0, (0.32, 0.51, 0.70), 2.13, 0.6))
    assert creased < untranslated < smooth


def test_each_ruler_can_only_raise_the_score_and_missing_ones_do_not():
    perfect = figures(1.0, (1, 1, 1), 1.0, 1.0)
    assert best_score(50.0, perfect) == 50.0
    assert best_score(50.0, figures(None, (None,) * 3, None, None)) == 50.0
    assert best_score(50.0, figures(0.25, (1, 1, 1), 1, 1)) == 100.0
    assert best_score(50.0, figures(1.0, (1, 1, 1), 1, 0.2)) == 50.0
    for worse in (
        figures(0.9, (1, 1, 1), 1, 1),
        figures(1.0, (0.8, 1, 1), 1, 1),
        figures(1.0, (1.25, 1, 1), 1, 1),
        figures(1.0, (1, 1, 1), 1.4, 1),
        figures(1.0, (1, 1, 1), 1, 1.6),
    ):
        assert best_score(50.0, worse) > 50.0
    assert math.isfinite(best_score(50.0, figures(0.0, (0, 0, 0), 0, 1e9)))


def test_the_scale_follows_the_frames():
    small, large = fist(0.5)[1], fist(1.0)[1]
    padded = np.pad(small, 64)
    assert ruler_scale([small, padded]) == 0.5
    assert ruler_scale([large]) == 1.0 and ruler_scale([padded, large]) == 1.0
    assert ruler_scale([np.roll(padded, 40, axis=0)]) == 1.0
    assert ruler_scale([np.zeros_like(small), np.ones_like(small)]) == 0.5


def test_entries_of_a_set_and_their_flat_form():
    image, mask, depth = fist(0.5)
    photographs = Appearance(0.5)
    for seed in range(2):
        photographs.add(noisy(image, mask, 5 + 5 * seed, seed=seed), mask)
    scores = RulerScores(photographs)
    scores.add(image, image, mask, depth)
    scores.add(image, flat(mask), mask, depth)
    entries = scores.entries()
    assert entries["structure"] == 0.5 and [each.share for each in scores.structures] == [1.0, 0.0]
    assert set(entries) == {"structure", "structure_chance", "new_edges", "n_edges", "texture", "tone", "fringe"}
    flattened = flat_entries(entries | {"new_edges": None})
    assert flattened["texture_12"] == entries["texture"]["12"] and flattened["tone_a"] == entries["tone"]["a"]
    assert "new_edges" not in flattened and all(isinstance(value, (int, float)) for value in flattened.values())


def test_a_depth_map_is_cut_like_its_region(tmp_path):
    image, mask, depth = fist(0.5)
    write_png(tmp_path / "00000000_color.png", image)
    assert region_depth(tmp_path / "00000000_color.png", mask, (0, 0, 128, 128)) is None
    cv2.imwrite(str(tmp_path / "00000000_depth.png"), depth)
    known = np.where(depth == 32001, 0, depth)
    assert (region_depth(tmp_path / "00000000_color.png", mask, (0, 0, 128, 128)) == known).all()
    padded = region_depth(tmp_path / "00000000_color.png", np.pad(mask, ((20, 22), (10, 22))), (-10, -20, 160, 170))
    assert (padded == np.pad(known, ((20, 22), (10, 22)))).all()
    inner = region_depth(tmp_path / "00000000_color.png", mask[32:96, 16:80], (16, 32, 64, 64))
    assert (inner == known[32:96, 16:80]).all()
    about_the_hand = region_depth(tmp_path / "00000000_color.png", mask[16:112, 16:112])
    assert (about_the_hand == known[16:112, 16:112]).all()
    about_the_hand = region_depth(tmp_path / "00000000_color.png", np.pad(mask, 64))
    assert (about_the_hand == np.pad(known, 64)).all()
    elsewhere = np.roll(mask, 30, axis=1)
    assert region_depth(tmp_path / "00000000_color.png", elsewhere, (0, 0, 128, 128)) is None


def test_the_command_scores_a_results_folder(tmp_path, monkeypatch, capsys):
    folder, depths = tmp_path / "msh4/test", tmp_path / "depth"
    for index in range(3):
        image, mask, depth = fist(0.5, shift=index)
        padded = np.pad(image, ((64, 64), (64, 64), (0, 0)), constant_values=255)
        for part, picture in (
            ("synthetic", padded),
            ("generated", padded),
            ("real", noisy(padded, np.pad(mask, 64), 4)),
        ):
            write_png(folder / part / f"{index}_color.png", picture)
        for domain in ("synthetic", "real"):
            write_png(folder / "masks" / domain / f"{index}_color.png", np.pad(mask, 64))
        depths.mkdir(exist_ok=True)
        cv2.imwrite(str(depths / f"{index}_depth.png"), depth)
    (folder / "metrics.json").write_text(json.dumps({"fd": 60.0, "baseline": {"fd": 70.0}}))
    monkeypatch.setattr("sys.argv", ["compare", str(folder), "--depth_root", str(depths)])
    assert compare.main() == 0
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    assert [line[1:3] for line in lines[1:3]] == [["untranslated", "1.000"], ["translated", "1.000"]]
    assert lines[1][-4] == "70.0" and lines[2][-4] == "60.0" and "scale 0.5" in said


class MeanColour:
    """A feature network that looks at nothing but colour."""

    name, dim, metric, sha256, preprocessing = "colour", 3, "fd", "0" * 64, "none"

    def __call__(self, images):
        return torch.tensor(np.array([image.mean((0, 1)) for image in images]), dtype=torch.float32)


def test_data_without_masks_has_no_rulers_and_says_why(tmp_path, run_main, monkeypatch):
    monkeypatch.setattr(test_script, "load_feature_net", lambda *_, **__: MeanColour())
    random = np.random.default_rng(0)
    for folder in ("trainA", "trainB", "testA", "testB"):
        for i in range(4):
            write_png(tmp_path / "data" / folder / f"{i}.png", random.integers(0, 256, (48, 48, 3), dtype=np.uint8))
    where = ("--name", "run", "--dataroot", tmp_path / "data", "--checkpoints_dir", tmp_path)
    status, said = run_main(train.main, *where, *TINY, "--netD", "pixel", "--max_steps", 1, "--device", "cpu")
    assert status == 0, said
    options = ("--amp", "off", "--device", "cpu", "--num_workers", 0)
    status, said = run_main(test_script.main, *where, "--results_dir", tmp_path / "results", *options)
    assert status == 0, said
    folder = tmp_path / "results" / "run" / "test"
    metrics = json.loads((folder / "metrics.json").read_text())
    reason = "the synthetic and the real images have no masks"
    assert metrics["not_measured"] == dict.fromkeys(("structure", "texture", "tone", "fringe"), reason)
    assert not {"structure", "texture", "tone", "fringe"} & (metrics.keys() | metrics["baseline"].keys())
    assert "on 128 crops" in metrics["verdict"] and "inside the hand" not in metrics["verdict"]
    assert not (folder / "rulers.csv").exists()
