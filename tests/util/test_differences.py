"""Differences between two sets of translations: known answers, and intervals that can say no."""

import numpy as np
import pytest

from util.scores.differences import frechet_difference, kernel_difference, mean_difference
from util.scores.distances import frechet_distance


def features(shift: float, count: int = 80, dim: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dim)) + shift


@pytest.mark.parametrize("difference", [frechet_difference, kernel_difference])
def test_nearer_set_has_a_difference_below_zero_and_swapping_turns_it_round(difference):
    real, near, far = features(0.0), features(0.1, seed=1), features(1.0, seed=1)
    found, swapped = difference(real, near, far, rounds=100), difference(real, far, near, rounds=100)
    assert found.interval()[1] < 0 < swapped.interval()[0]
    assert found.estimate == pytest.approx(-swapped.estimate)
    assert found.interval(0.5)[0] > found.interval(0.99)[0]


@pytest.mark.parametrize("difference", [frechet_difference, kernel_difference])
def test_two_equally_good_sets_leave_it_undecided(difference):
    real, a, b = features(0.0), features(0.3, seed=1), features(0.3, seed=2)
    low, high = difference(real, a, b, rounds=100).interval()
    assert low < 0 < high


@pytest.mark.parametrize("difference", [frechet_difference, kernel_difference])
def test_a_set_and_itself_do_not_differ_at_all(difference):
    found = difference(features(0.0), features(0.3, seed=1), features(0.3, seed=1), rounds=20)
    assert found.estimate == pytest.approx(0, abs=1e-9) and np.allclose(found.draws, 0, atol=1e-9)


def test_estimates_are_those_of_the_distances():
    real, a, b = features(0.0), features(0.2, seed=1), features(0.5, seed=2)
    found = frechet_difference(real, a, b, rounds=2)
    assert found.estimate == pytest.approx(frechet_distance(real, a) - frechet_distance(real, b))

    def mmd(fake: np.ndarray) -> float:
        def kernel(x, y):
            return (x @ y.T / x.shape[1] + 1) ** 3

        n = len(real)
        inside = [(kernel(x, x).sum() - np.trace(kernel(x, x))) / (n * (n - 1)) for x in (real, fake)]
        return sum(inside) - 2 * kernel(real, fake).mean()

    assert kernel_difference(real, a, b, rounds=2).estimate == pytest.approx(mmd(a) - mmd(b))


def test_a_95_percent_interval_of_equal_means_misses_zero_about_one_time_in_twenty():
    random = np.random.default_rng(0)
    missed = 0
    for trial in range(200):
        low, high = mean_difference(random.normal(size=60), random.normal(size=60), rounds=400, seed=trial).interval()
        missed += not low < 0 < high
    assert 2 <= missed <= 24  # 10 expected, deviation 3


def test_images_without_a_value_are_left_out():
    a, b = np.array([1.0, np.nan, 3.0]), np.array([0.5, 2.0, 2.5])
    assert mean_difference(a, b).estimate == 0.5
    with pytest.raises(ValueError, match="no image has a value"):
        mean_difference(a[1:2], b[1:2])
    with pytest.raises(ValueError, match="shapes"):
        mean_difference(a, b[:2])
    with pytest.raises(ValueError, match="same sources"):
        kernel_difference(features(0), features(0), features(0, count=70))
