"""Distances between sets of features against hand-worked answers, SciPy's square root, and torch-fidelity."""

import numpy as np
import pytest
import scipy.linalg
import torch

from util.errors import UsageError
from util.scores import distances as metrics
from util.scores.image_metrics import psnr, ssim


@pytest.fixture(autouse=True)
def forget_warnings():
    metrics._warn_once.cache_clear()


def features(count: int, dim: int, seed: int = 0, *, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(shift, scale, (count, dim)) @ np.diag(np.linspace(1.0, 0.1, dim))


def test_one_dimension_by_hand():
    # Means 1 and 3, sample variances 1 and 4: (1 - 3)^2 + (1 - 2)^2 = 5.
    real, fake = np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [3.0], [5.0]])
    assert metrics.frechet_distance(real, fake) == pytest.approx(5.0)


def test_commuting_covariances_by_hand():
    # Covariances diag(8/3, 2/3) and diag(2/3, 8/3), equal means: 2 (sqrt(8/3) - sqrt(2/3))^2 = 4/3.
    wide = np.array([[2.0, 1.0], [2.0, -1.0], [-2.0, 1.0], [-2.0, -1.0]]) / np.sqrt(2.0)
    assert metrics.frechet_distance(wide, wide[:, ::-1]) == pytest.approx(4.0 / 3.0)


def make_features(images: int, dim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two different sets of non-negative float32 features (images, dim), correlated and skewed as pooled ReLUs are."""
    random = np.random.default_rng(seed)
    mixing = random.standard_normal((dim, dim)) * np.exp(-np.arange(dim) / (dim / 8))[:, None] / np.sqrt(dim / 8)
    sets = []
    for strength, offset in ((1.0, 0.0), (1.1, 0.1)):
        hidden = random.standard_normal((images, dim)) * strength
        sets.append(np.abs(0.4 + offset + 0.3 * hidden @ mixing).astype(np.float32))
    return sets[0], sets[1]


def sqrtm_frechet(real: np.ndarray, fake: np.ndarray) -> float:
    """The Frechet distance by the textbook: both covariances, their product, its square root."""
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    cov_real, cov_fake = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    root = np.real(scipy.linalg.sqrtm(cov_real @ cov_fake))
    return float(np.sum((real.mean(0) - fake.mean(0)) ** 2) + np.trace(cov_real + cov_fake - 2.0 * root))


@pytest.mark.parametrize("count", [300, 40])
def test_agrees_with_sqrtm(count):
    real, fake = make_features(count, 60)
    tolerance = 1e-6 if count > 60 else 1e-5  # sqrtm itself has lost digits where the covariance is singular
    assert metrics.frechet_distance(real, fake) == pytest.approx(sqrtm_frechet(real, fake), rel=tolerance)


def test_other_covariances_do_not_commute():
    real, fake = make_features(200, 30)
    covariances = [np.cov(side.astype(float), rowvar=False) for side in (real, fake)]
    roots = [scipy.linalg.sqrtm(covariance) for covariance in covariances]
    nuclear = np.linalg.norm(roots[0] @ roots[1], "nuc")
    means = [side.astype(float).mean(0) for side in (real, fake)]
    expected = np.sum((means[0] - means[1]) ** 2) - 2 * nuclear + sum(map(np.trace, covariances))
    assert metrics.frechet_distance(real, fake) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("count", "dim"), [(200, 30), (30, 200), (2, 50), (100, 100)])
def test_identical_sets_have_distance_zero_and_a_shift_its_square(count, dim):
    real = features(count, dim, scale=10.0)
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


def test_few_images_warn_once_and_one_image_is_an_error(caplog):
    metrics.frechet_distance(features(10, 20), features(40, 20))
    metrics.frechet_distance(features(10, 20), features(40, 20))
    assert len(caplog.records) == 1 and "10 images" in caplog.text and "20 feature dimensions" in caplog.text
    with pytest.raises(UsageError, match="1 image, .*--num_test"):
        metrics.frechet_distance(features(1, 20), features(40, 20))


def slow_kernel_distance(real, fake, subsets, size, seed):
    """The definition, a pair at a time."""
    random, distances = np.random.RandomState(seed), []
    for _ in range(subsets):
        x = real[random.choice(len(real), size, replace=False)]
        y = fake[random.choice(len(fake), size, replace=False)]

        def kernel(a, b):
            return (float(np.dot(a, b)) / len(a) + 1.0) ** 3

        within = sum(kernel(s[i], s[j]) for s in (x, y) for i in range(size) for j in range(size) if i != j)
        across = sum(kernel(a, b) for a in x for b in y)
        distances.append(within / (size * (size - 1)) - 2.0 * across / size**2)
    return np.mean(distances), np.std(distances)


@pytest.mark.parametrize("subsets", [3, 6], ids=["a subset at a time", "all pairs once"])
def test_kernel_distance_is_its_definition(subsets):
    """3 * 9^2 pairs are fewer than 20 * 17, and 6 * 9^2 are more."""
    real, fake = features(20, 5), features(17, 5, seed=1, shift=0.5)
    expected = slow_kernel_distance(real, fake, subsets, 9, 7)
    distance = metrics.kernel_distance(real, fake, subsets=subsets, subset_size=9, seed=7)
    assert distance == pytest.approx(expected, abs=1e-12)


def test_kernel_distance_is_torch_fidelity_s():
    kid = pytest.importorskip("torch_fidelity.metric_kid", reason="torch-fidelity is not installed")
    real, fake = make_features(230, 256)
    tensors = torch.from_numpy(real), torch.from_numpy(fake)
    theirs = kid.kid_features_to_metric(*tensors, kid_subset_size=50, verbose=False)
    mean, std = metrics.kernel_distance(real, fake, subset_size=50)
    assert mean == pytest.approx(theirs[kid.KEY_METRIC_KID_MEAN], abs=1e-6)
    assert std == pytest.approx(theirs[kid.KEY_METRIC_KID_STD], abs=1e-6)


def test_kernel_distance_of_one_distribution_is_around_zero_and_may_be_negative():
    pool = features(400, 16)
    means = [
        metrics.kernel_distance(pool[i : i + 100], pool[200 + i : 300 + i], subset_size=10)[0] for i in (0, 30, 60, 100)
    ]
    assert max(map(abs, means)) < 0.05 < metrics.kernel_distance(pool[:200], pool[200:] + 0.3, subset_size=20)[0]


def test_kid_subset_larger_than_a_set_names_the_flag():
    with pytest.raises(UsageError, match="50 images.* 40 real and 60 generated .*--kid_subset_size.* at most 40"):
        metrics.kernel_distance(features(40, 4), features(60, 4), subset_size=50)
    assert np.isfinite(metrics.kernel_distance(features(2, 4), features(2, 4, seed=1), subset_size=2)).all()


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


def test_a_hundred_times_the_images_narrow_the_interval_tenfold():
    few, many = (
        np.subtract(*interval(features(n, 6), features(n, 6, seed=1, shift=0.5), rounds=100)[::-1]) for n in (50, 5000)
    )
    assert few / many == pytest.approx(10.0, rel=0.4)


def test_leading_directions_leave_small_ones_out():
    real, fake = make_features(200, 100)
    full = interval(real, fake, rounds=60, rank=100)
    part = interval(real, fake, rounds=60, rank=40)
    assert part == pytest.approx(full, rel=0.05)


def test_psnr_by_hand():
    a, b = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 5, np.uint8)
    everywhere = np.ones((4, 4), bool)
    assert psnr(a, b, everywhere) == pytest.approx(20 * np.log10(51.0))
    assert psnr(a, a, everywhere) == float("inf")
    mask = np.zeros((4, 4), bool)
    mask[0, :2] = True
    b[0, 0] = 0  # errors 0 and 25: mean 12.5
    assert psnr(a, b, mask) == pytest.approx(10 * np.log10(255**2 / 12.5))


def slow_ssim(a, b, mask):
    """Wang et al.'s formula, a window at a time, on one channel."""
    axis = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(axis, axis) / axis.sum() ** 2
    values = []
    for row, column in zip(*np.nonzero(mask)):
        if not (5 <= row < a.shape[0] - 5 and 5 <= column < a.shape[1] - 5):
            continue
        x, y = (s[row - 5 : row + 6, column - 5 : column + 6].astype(float) for s in (a, b))
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
    assert ssim(a, a, mask) == pytest.approx(1.0)
    assert ssim(a[..., 0], b[..., 0], mask) == pytest.approx(slow_ssim(a[..., 0], b[..., 0], mask))
