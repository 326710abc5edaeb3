"""Distances between sets of features, and their differences: hand-worked answers, SciPy's square root, torch-fidelity."""

import itertools

import numpy as np
import pytest
import scipy.linalg
import torch
from helpers import MeanColour

from util.errors import UsageError
from util.images import write_png
from util.scores import distances as metrics
from util.scores.features import extract_features, patch_crop, score


def features(count: int, dim: int, seed: int = 0, *, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, (count, dim)) * np.linspace(1.0, 0.1, dim)


def test_frechet_distance_by_hand():
    # Means 1 and 3, sample variances 1 and 4: (1 - 3)^2 + (1 - 2)^2 = 5.
    real, fake = np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [3.0], [5.0]])
    assert metrics.frechet_distance(real, fake) == pytest.approx(5.0)
    # Commuting covariances diag(8/3, 2/3) and diag(2/3, 8/3), equal means: 2 (sqrt(8/3) - sqrt(2/3))^2 = 4/3.
    wide = np.array([[2.0, 1.0], [2.0, -1.0], [-2.0, 1.0], [-2.0, -1.0]]) / np.sqrt(2.0)
    assert metrics.frechet_distance(wide, wide[:, ::-1]) == pytest.approx(4.0 / 3.0)


def make_features(images: int, dim: int) -> list[np.ndarray]:
    """Two different sets of non-negative float32 features (images, dim), correlated and skewed as pooled ReLUs are."""
    random = np.random.default_rng(0)
    mixing = random.standard_normal((dim, dim)) * np.exp(-np.arange(dim) / (dim / 8))[:, None] / np.sqrt(dim / 8)
    hidden = [random.standard_normal((images, dim)) * strength for strength in (1.0, 1.1)]
    return [np.abs(offset + 0.3 * each @ mixing).astype(np.float32) for each, offset in zip(hidden, (0.4, 0.5))]


@pytest.mark.parametrize("count", [300, 40])
def test_agrees_with_sqrtm(count):
    """By the textbook: both covariances, their product, its square root."""
    real, fake = (each.astype(np.float64) for each in make_features(count, 60))
    cov_real, cov_fake = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    root = np.real(scipy.linalg.sqrtm(cov_real @ cov_fake))
    expected = np.sum((real.mean(0) - fake.mean(0)) ** 2) + np.trace(cov_real + cov_fake - 2.0 * root)
    tolerance = 1e-6 if count > 60 else 1e-5  # sqrtm itself has lost digits where the covariance is singular
    assert metrics.frechet_distance(real, fake) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize(("count", "dim"), [(200, 30), (30, 200), (2, 50), (100, 100)])
def test_identical_sets_have_distance_zero_and_a_shift_its_square(count, dim):
    real = 10.0 * features(count, dim)
    assert metrics.frechet_distance(real, real) == pytest.approx(0.0, abs=1e-6)
    assert metrics.frechet_distance(real, real[::-1]) == pytest.approx(0.0, abs=1e-6)
    assert metrics.frechet_distance(real, real + 0.5) == pytest.approx(0.25 * dim, rel=1e-9)


def test_features_of_low_rank_and_steep_spectrum():
    # Directions 1e-9 as strong as the first: what a square root of squared values would turn into noise of 1e-8.
    random = np.random.default_rng(0)
    real = random.normal(size=(150, 60)) * np.logspace(2, -7, 60)
    real = np.concatenate([real, np.ones((150, 40))], 1)
    assert metrics.frechet_distance(real, real[random.permutation(150)]) == pytest.approx(0.0, abs=1e-6)
    assert metrics.frechet_distance(real, real + 1e-3) == pytest.approx(1e-4, abs=1e-9)


def test_few_images_warn_once_and_too_few_are_an_error_that_names_the_flag(caplog):
    for _ in range(2):
        metrics.frechet_distance(features(13, 20), features(40, 20))
    assert len(caplog.records) == 1 and "13 images" in caplog.text and "20 feature dimensions" in caplog.text
    with pytest.raises(UsageError, match="1 image, .*--num_test"):
        metrics.frechet_distance(features(1, 20), features(40, 20))
    with pytest.raises(UsageError, match="50 images.* 40 real and 60 generated .*--kid_subset_size.* at most 40"):
        metrics.kernel_distance(features(40, 4), features(60, 4), subset_size=50)
    assert np.isfinite(metrics.kernel_distance(features(2, 4), features(2, 4, seed=1), subset_size=2)).all()


def slow_mmd(x, y):
    """The unbiased squared MMD of two sets, a pair of images at a time."""

    def kernel(a, b):
        return (float(np.dot(a, b)) / len(a) + 1.0) ** 3

    within = [np.mean([kernel(a, b) for a, b in itertools.permutations(side, 2)]) for side in (x, y)]
    return sum(within) - 2.0 * np.mean([kernel(a, b) for a in x for b in y])


def test_kernel_distance_is_its_definition():
    real, fake = features(20, 5), features(17, 5, seed=1, shift=0.5)
    random, found = np.random.RandomState(7), []
    for _ in range(6):
        y, x = (side[random.choice(len(side), 9, replace=False)] for side in (fake, real))
        found.append(slow_mmd(x, y))
    expected = np.mean(found), np.std(found)
    assert metrics.kernel_distance(real, fake, subsets=6, subset_size=9, seed=7) == pytest.approx(expected, abs=1e-12)


def test_kernel_distance_is_torch_fidelity_s_usual_call():
    """Its input1 holds the generated images, its input2 the real ones; the sets differ in size, so that the order shows."""
    kid = pytest.importorskip("torch_fidelity.metric_kid", reason="torch-fidelity is not installed")
    real, fake = make_features(230, 256)
    fake = fake[:200]
    theirs = kid.kid_features_to_metric(*map(torch.from_numpy, (fake, real)), kid_subset_size=50, verbose=False)
    theirs = theirs[kid.KEY_METRIC_KID_MEAN], theirs[kid.KEY_METRIC_KID_STD]
    assert metrics.kernel_distance(real, fake, subset_size=50) == pytest.approx(theirs, abs=1e-6)


def test_floor_is_the_distance_of_one_distribution_to_itself():
    real = features(300, 8)
    assert 0.0 < metrics.floor(real) < 0.2 < metrics.frechet_distance(real, real + 0.5)
    assert metrics.floor(real, seed=1) == metrics.floor(real, seed=1) != metrics.floor(real, seed=2)
    with pytest.raises(UsageError, match="at least 4"):
        metrics.floor(real[:3])


def interval(real: np.ndarray, fake: np.ndarray, **settings) -> tuple[float, float]:
    return metrics.bootstrap_interval(real, fake, metrics.frechet(real, fake), **settings)


def test_bootstrap_interval_holds_its_figure_and_has_the_width_of_repeated_draws():
    draws = [(features(100, 12, seed=s), features(100, 12, seed=10_000 + s, shift=0.5)) for s in range(200)]
    figures = [metrics.frechet_distance(*draw) for draw in draws]
    intervals = [interval(*draw, rounds=100, rank=12) for draw in draws[:20]]
    for (low, high), figure in zip(intervals, figures):
        assert 0.0 <= low < figure < high
    widths = np.subtract(*np.transpose(intervals)[::-1])
    assert widths.mean() == pytest.approx(np.subtract(*np.quantile(figures, [0.975, 0.025])), rel=0.3)
    assert interval(*draws[0], rounds=20) == interval(*draws[0], rounds=20)


def test_leading_directions_leave_small_ones_out():
    real, fake = make_features(200, 100)
    full = interval(real, fake, rounds=60, rank=100)
    part = interval(real, fake, rounds=60, rank=40)
    assert part == pytest.approx(full, rel=0.05)


# ------------------------------------------------------------------ differences between two models


def shifted(shift: float, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(80, 12)) + shift


@pytest.mark.parametrize("difference", [metrics.frechet_difference, metrics.kernel_difference])
def test_a_difference_s_interval_tells_the_nearer_set_and_leaves_equally_good_ones_undecided(difference):
    real, near, far = shifted(0.0, seed=0), shifted(0.1), shifted(1.0)
    found, swapped = difference(real, near, far, rounds=100), difference(real, far, near, rounds=100)
    assert found.interval()[1] < 0 < swapped.interval()[0]
    assert found.estimate == pytest.approx(-swapped.estimate)
    assert found.interval(0.5)[0] > found.interval(0.99)[0]
    low, high = difference(real, shifted(0.3), shifted(0.3, seed=2), rounds=100).interval()
    assert low < 0 < high
    none = difference(real, far, far, rounds=20)
    assert none.estimate == pytest.approx(0, abs=1e-9) and np.allclose(none.draws, 0, atol=1e-9)


def test_estimates_are_those_of_the_distances():
    real, a, b = shifted(0.0, seed=0), shifted(0.2), shifted(0.5, seed=2)
    found = metrics.frechet_difference(real, a, b, rounds=2)
    assert found.estimate == pytest.approx(metrics.frechet_distance(real, a) - metrics.frechet_distance(real, b))
    found = metrics.kernel_difference(real, a, b, rounds=2)
    assert found.estimate == pytest.approx(slow_mmd(real, a) - slow_mmd(real, b))


def test_a_95_percent_interval_of_equal_means_misses_zero_about_one_time_in_twenty():
    missed, pairs = 0, np.random.default_rng(0).normal(size=(200, 2, 60))
    for trial, pair in enumerate(pairs):
        low, high = metrics.mean_difference(*pair, rounds=400, seed=trial).interval()
        missed += not low < 0 < high
    assert 2 <= missed <= 24  # 10 expected, deviation 3


def test_images_without_a_value_are_left_out():
    a, b = np.array([1.0, np.nan, 3.0]), np.array([0.5, 2.0, 2.5])
    assert metrics.mean_difference(a, b).estimate == 0.5
    with pytest.raises(ValueError, match="no image has a value"):
        metrics.mean_difference(a[1:2], b[1:2])
    for difference in (metrics.mean_difference, metrics.frechet_difference, metrics.kernel_difference):
        sides = [shifted(0)] * (difference is not metrics.mean_difference)
        with pytest.raises(ValueError):
            difference(*sides, shifted(0), shifted(0)[:70])


# ------------------------------------------------------------------ from images to scores, with a network to follow by hand


def pictures(count, seed=0):
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (*random.integers(5, 30, 2), 3), np.uint8) for _ in range(count)]


def test_features_come_in_order_a_batch_at_a_time(tmp_path):
    net, images = MeanColour(batch_size=3), pictures(7)
    write_png(tmp_path / "a.png", images[0])
    features = extract_features((image for image in [tmp_path / "a.png", *images[1:]]), net)
    np.testing.assert_allclose(features, [image.mean((0, 1)) for image in images], rtol=1e-6)
    assert net.seen == [3, 3, 1] and features.dtype == np.float32
    assert extract_features([], net).shape == (0, 3)


def test_features_are_kept_by_content_and_network(tmp_path):
    net, images = MeanColour(), pictures(5)
    first = extract_features(images, net, cache_dir=tmp_path)
    again = extract_features([image.copy() for image in images[::-1]], net, cache_dir=tmp_path)
    assert net.seen == [5] and np.array_equal(first[::-1], again)

    images[2][0, 0, 0] ^= 1
    changed = extract_features([*images, images[2]], net, cache_dir=tmp_path)
    assert net.seen == [5, 1] and np.array_equal(changed, extract_features([*images, images[2]], MeanColour()))
    net.sha256 = "1" * 64
    extract_features(images, net, cache_dir=tmp_path)
    assert net.seen == [5, 1, 5] and len(list(tmp_path.iterdir())) == 2


def test_a_patch_lies_deep_in_the_hand_and_is_white_elsewhere():
    image = np.full((200, 200, 3), 90, np.uint8)
    mask = np.zeros((200, 200), bool)
    mask[60:140, 50:150] = True  # a palm, 80 x 100
    mask[10:60, 60:70] = True  # a finger, too thin to be chosen
    image[~mask] = (14, 255, 14)
    crop = patch_crop(image, mask, size=64, seed=3)
    assert crop.shape == (64, 64, 3) and (crop == 90).all()
    large = patch_crop(image, mask, size=128, seed=3)
    assert set(np.unique(large)) == {90, 255}
    assert (large == 90).all(-1).sum() >= 80 * 100  # the whole palm fits
    assert not np.array_equal(large, patch_crop(image, mask, size=128, seed=4))


def test_a_patch_beyond_the_image_is_white_and_its_border_counts_as_the_hand_s():
    image = np.full((40, 300, 3), 7, np.uint8)
    crop = patch_crop(image, np.ones((40, 300), bool), size=128)
    rows = np.flatnonzero((crop == 7).any((1, 2)))
    assert len(rows) == 40 and abs(rows.mean() - 63.5) <= 3  # centred on the strip's middle line, white above and below
    assert (np.delete(crop, rows, 0) == 255).all()


def test_patches_of_an_image_and_of_its_translation_match():
    for i in range(3):
        image = np.random.default_rng(i).integers(0, 200, (60, 60, 3), np.uint8)
        before, after = (
            patch_crop(side, np.ones((60, 60), bool), size=24, seed=(5, i)) for side in (image, image + 20)
        )
        assert np.array_equal(before + 20, after)


def test_score_has_the_entries_of_metrics_json():
    random = np.random.default_rng(0)
    real, fake = random.normal(0, 1, (60, 3)), random.normal(1, 1, (50, 3))
    result = score(real, fake, MeanColour())
    assert result["fd"] == metrics.frechet_distance(real, fake) and "fid" not in result
    assert result["fd_ci"][0] < result["fd"] < result["fd_ci"][1]
    assert 0.0 < result["floor"] < result["fd"] and result["floor_n"] == 30
    assert (result["n_real"], result["n_generated"], result["kid_subset_size"]) == (60, 50, 5)
    assert (result["kid_mean"], result["kid_std"]) == metrics.kernel_distance(real, fake, subset_size=5)
    assert result["feature_net"] == "mean"
    with pytest.raises(UsageError, match="--kid_subset_size"):
        score(real, fake, MeanColour(), kid_subset_size=51)
