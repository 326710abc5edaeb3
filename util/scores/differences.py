"""The difference between two sets of translations of the same sources, with its bootstrap interval over images.

Features are arrays (N, D), one row an image, as in util.scores.distances.
"""

from dataclasses import dataclass

import numpy as np

from util.scores.distances import (
    checked_features,
    frechet,
    interval_around,
    kernel,
    leading_directions,
    resamples,
)


@dataclass(frozen=True)
class Difference:
    """An estimated difference, and how it varied over bootstrap resamples of the images.

    draws: (rounds,), one difference a resample. Their mean is biased as a resample repeats images, so that only their
    spread around it is used.
    """

    estimate: float
    draws: np.ndarray

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """(low, high) at the level; see interval_around."""
        return interval_around(self.estimate, self.draws, level)


def frechet_difference(
    real: np.ndarray, a: np.ndarray, b: np.ndarray, *, rounds: int = 1000, seed: int = 0, rank: int = 64
) -> Difference:
    """The Frechet distance of `a` to `real` less that of `b`, where row i of `a` and of `b` come from one source image.

    Each resample draws the real images once and the sources once, for both sides: what a choice of images does to both
    distances alike cancels. Features are (N, D) for real and (M, D) for a and b. Distances of resamples are taken in
    the leading directions, as in bootstrap_interval. Raises ValueError where a and b differ in shape.
    """
    real, a, b = checked_features(real, least=2), *_paired(a, b)
    basis = leading_directions(np.concatenate([real, a, b]), rank, seed)
    sides = real @ basis, a @ basis, b @ basis
    draws = []
    for weights in resamples(len(real), len(a), rounds, seed):
        one, other = (frechet(sides[0], side, weights) for side in sides[1:])
        draws.append(one - other)
    return Difference(frechet(real, a) - frechet(real, b), np.array(draws))


def kernel_difference(
    real: np.ndarray, a: np.ndarray, b: np.ndarray, *, rounds: int = 1000, seed: int = 0
) -> Difference:
    """The same for the kernel distance (KID), as the unbiased squared MMD of all images.

    The term of the real images alone is in both distances and cancels.
    """
    real, a, b = checked_features(real, least=2), *_paired(a, b)
    within = kernel(a, a) - kernel(b, b)
    np.fill_diagonal(within, 0.0)
    across = kernel(real, a) - kernel(real, b)

    def difference(in_real: np.ndarray, in_fake: np.ndarray) -> float:
        # An image is in no pair with itself, however often it was drawn.
        pairs = in_fake.sum() ** 2 - (in_fake**2).sum()
        return float(
            in_fake @ within @ in_fake / pairs - 2.0 * in_real @ across @ in_fake / (in_real.sum() * in_fake.sum())
        )

    estimate = difference(np.ones(len(real)), np.ones(len(a)))
    return Difference(estimate, np.array([difference(*draw) for draw in resamples(len(real), len(a), rounds, seed)]))


def mean_difference(a: np.ndarray, b: np.ndarray, *, rounds: int = 2000, seed: int = 0) -> Difference:
    """The mean of a - b over images, from one value an image (N,) each; images without a value (nan) in either are left
    out. Raises ValueError where no image is left or the shapes differ.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"values have shapes {a.shape} and {b.shape}; both must be (N,)")
    differences = (a - b)[np.isfinite(a) & np.isfinite(b)]
    if not len(differences):
        raise ValueError("no image has a value on both sides")
    random = np.random.default_rng(seed)
    draws = [random.choice(differences, len(differences)).mean() for _ in range(rounds)]
    return Difference(float(differences.mean()), np.array(draws))


def _paired(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = checked_features(a, least=2), checked_features(b, least=2)
    if a.shape != b.shape:
        raise ValueError(f"features of the same sources have shapes {a.shape} and {b.shape}")
    return a, b
