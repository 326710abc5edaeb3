"""Distances between two sets of features, in float64: Frechet distance (FID), kernel distance (KID), their uncertainty.

Features are arrays (N, D), one row an image. The Frechet distance between the Gaussians fitted to two sets is

    |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)            (Heusel et al. 2017)

With factors S1 = F1' F1 and S2 = F2' F2 the last trace is the sum of the singular values of F1 F2', so that no imaginary
part appears. Such factors are the centred features or, if it is smaller, the triangle of their QR decomposition.
"""

import functools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from util.errors import UsageError

LEAST_IMAGES = 4  # a set of which halves have a distance: the floor's

_warn_once = functools.cache(logging.getLogger(__name__).warning)  # validation repeats throughout a training run


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The Frechet distance between two sets of features (N, D), with a warning where it is biased upwards, as from fewer
    images than D. Raises UsageError below two images, ValueError for features that are not finite."""
    count, dim = min(np.shape(a), np.shape(b))
    if count < dim:
        _warn_once(
            f"Frechet distance from {count} images, fewer than the {dim} feature dimensions: it is biased upwards "
            "and compares only with figures from equally many images"
        )
    return frechet(a, b)


def frechet(a: np.ndarray, b: np.ndarray, weights: Sequence[np.ndarray | None] = (None, None)) -> float:
    """frechet_distance without its warning. weights: how often each row of a and of b counts, (N,); None: once."""
    (mean_a, root_a), (mean_b, root_b) = map(_mean_and_root, (a, b), weights)
    overlap = scipy.linalg.svdvals(root_a @ root_b.T).sum()
    distance = ((mean_a - mean_b) ** 2).sum() + (root_a**2).sum() + (root_b**2).sum() - 2.0 * overlap
    return max(float(distance), 0.0)  # rounding may leave equal sets at -1e-12


def _mean_and_root(features: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and a factor F (R, D), R at most D, with F' F the covariance."""
    features = checked_features(features, least=2)
    weights = np.ones(len(features)) if weights is None else weights
    mean = weights @ features / weights.sum()
    root = (features - mean) * np.sqrt(weights / (weights.sum() - 1.0))[:, None]
    return mean, root if len(root) <= len(mean) else np.linalg.qr(root, mode="r")


def kernel_distance(
    real: np.ndarray, fake: np.ndarray, *, subset_size: int, subsets: int = 100, seed: int = 2020
) -> tuple[float, float]:
    """The kernel distance (KID): mean and standard deviation over subsets of the unbiased squared MMD; may be below 0.

    Kernel (x.y / D + 1)^3 (Binkowski et al. 2018). Subsets are drawn without replacement from numpy's RandomState(seed),
    those of `fake` first, as torch-fidelity does with the generated images as `input1` and the real ones as `input2`.
    subset_size: images a subset (the released code: 200 of 2000). Raises UsageError where a subset is larger than a set.
    """
    real, fake = checked_features(real, least=2), checked_features(fake, least=2)
    size, least = subset_size, min(len(real), len(fake))
    if not 2 <= size <= least:
        raise UsageError(
            f"a KID subset of {size} images was asked for, but the sets hold {len(real)} real and {len(fake)} "
            f"generated images: set --kid_subset_size to at least 2 and at most {least}"
        )
    random = np.random.RandomState(seed)
    found = []
    for _ in range(subsets):
        y, x = (side[random.choice(len(side), size, replace=False)] for side in (fake, real))
        within = sum(pairs.sum() - np.trace(pairs) for pairs in (kernel(x, x), kernel(y, y)))  # of different images
        found.append(within / (size * (size - 1)) - 2.0 * kernel(x, y).mean())
    return float(np.mean(found)), float(np.std(found))


def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """KID's kernel of all pairs of rows: (N, D), (M, D) -> (N, M)."""
    base = x @ y.T / x.shape[1] + 1.0
    return base * base * base


def floor(real: np.ndarray, *, seed: int = 0) -> float:
    """The Frechet distance between two random halves of the real set, averaged over four such cuts: what a perfect
    translator would score, or somewhat more, as halves are small. Raises UsageError below four images."""
    real = checked_features(real, least=LEAST_IMAGES)
    random, half = np.random.default_rng(seed), len(real) // 2
    orders = [random.permutation(len(real)) for _ in range(4)]
    return float(np.mean([frechet(real[order[:half]], real[order[half : 2 * half]]) for order in orders]))


def closed(distance: float, untranslated: float, floor: float) -> float | None:
    """The share of the way from the untranslated sources' distance to the floor that translation closes: 1 at the floor, 0 if
    nothing is gained, below 0 if it is lost. None where the sources are at the floor."""
    return 1 - (distance - floor) / (untranslated - floor) if untranslated > floor else None


@dataclass(frozen=True)
class Difference:
    """An estimate, such as of a difference, and that of each bootstrap resample of the images: draws, (rounds,)."""

    estimate: float
    draws: np.ndarray

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """(low, high): the estimate plus the offsets of the draws' quantiles from their mean."""
        tail = (1.0 - level) / 2.0
        low, high = np.quantile(self.draws, [tail, 1.0 - tail]) - self.draws.mean() + self.estimate
        return float(low), float(high)


def bootstrap_interval(
    real: np.ndarray, fake: np.ndarray, distance: float, *, rounds: int = 200, rank: int = 64
) -> tuple[float, float]:
    """The 95 % interval around two sets' Frechet distance in which it would fall had other images been drawn.

    It shows how much the choice of images matters at these counts, not how far more images would lower the distance.
    Near the floor it is too wide rather than too narrow. Raises UsageError below two images.
    """
    draws = _frechet_draws(real, fake, rounds=rounds, rank=rank)[:, 0]
    low, high = Difference(distance, draws).interval()
    return max(low, 0.0), high


def _frechet_draws(real: np.ndarray, *fakes: np.ndarray, rounds: int, rank: int = 64) -> np.ndarray:
    """The distance of each of `fakes` to `real` in each resample, (rounds, len(fakes)).

    It is taken in the `rank` leading principal directions, where nearly all of its spread lies: a matter of milliseconds.
    """
    sides = [checked_features(side, least=2) for side in (real, *fakes)]
    basis = leading_directions(np.concatenate(sides), rank)
    real, *fakes = (side @ basis for side in sides)
    draws = resamples(len(real), len(fakes[0]), rounds)
    return np.array([[frechet(real, fake, weights) for fake in fakes] for weights in draws])


def resamples(n_real: int, n_fake: int, rounds: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """How often each image is drawn, float64 (n_real,) and (n_fake,), for each of the rounds."""
    random = np.random.default_rng(0)
    for _ in range(rounds):
        yield tuple(random.multinomial(n, np.full(n, 1.0 / n)).astype(float) for n in (n_real, n_fake))


def leading_directions(features: np.ndarray, rank: int) -> np.ndarray:
    """An orthonormal basis (D, rank or fewer) of the leading principal directions, by subspace iteration."""
    deviations = features - features.mean(0)
    basis = np.random.default_rng(0).standard_normal((features.shape[1], min(rank + 16, *features.shape)))
    for _ in range(6):
        basis = scipy.linalg.qr(deviations.T @ (deviations @ basis), mode="economic")[0]
    projected = deviations @ basis
    _, turn = scipy.linalg.eigh(projected.T @ projected)  # ascending
    return basis @ turn[:, -rank:]


def checked_features(features: np.ndarray, *, least: int) -> np.ndarray:
    """The features in float64. Raises UsageError for fewer images."""
    if len(features) < least:
        raise UsageError(
            f"a set holds {len(features)} image{'s' * (len(features) != 1)}, but a distance between sets needs at least "
            f"{least}: raise --num_test, or --val_size and --test_size"
        )
    return np.asarray(features, np.float64)


def frechet_difference(real: np.ndarray, a: np.ndarray, b: np.ndarray, *, rounds: int = 1000) -> Difference:
    """The Frechet distance of `a` to `real` less that of `b`, where row i of `a` and of `b` come from one source image.

    Each resample draws the real images once and the sources once, for both sides: what a choice of images does to both
    distances alike cancels.
    """
    draws = _frechet_draws(real, a, b, rounds=rounds)
    return Difference(frechet(real, a) - frechet(real, b), draws[:, 0] - draws[:, 1])


def kernel_difference(real: np.ndarray, a: np.ndarray, b: np.ndarray, *, rounds: int = 1000) -> Difference:
    """The same for KID, as the unbiased squared MMD of all images; the term of the real images alone cancels."""
    real, a, b = (checked_features(side, least=2) for side in (real, a, b))
    within = kernel(a, a) - kernel(b, b)
    np.fill_diagonal(within, 0.0)
    across = kernel(real, a) - kernel(real, b)

    def difference(in_real: np.ndarray, in_fake: np.ndarray) -> float:
        # An image is in no pair with itself, however often it was drawn.
        pairs = in_fake.sum() ** 2 - (in_fake**2).sum()
        mean_across = 2.0 * in_real @ across @ in_fake / (in_real.sum() * in_fake.sum())
        return float(in_fake @ within @ in_fake / pairs - mean_across)

    estimate = difference(np.ones(len(real)), np.ones(len(a)))
    return Difference(estimate, np.array([difference(*draw) for draw in resamples(len(real), len(a), rounds)]))


def mean_difference(a: np.ndarray, b: np.ndarray, *, rounds: int = 2000, seed: int = 0) -> Difference:
    """The mean of a - b over images, from one value an image (N,) each, without images that have none (nan) in either."""
    differences = np.asarray(a, np.float64) - b
    differences = differences[np.isfinite(differences)]
    if not len(differences):
        raise ValueError("no image has a value on both sides")
    random = np.random.default_rng(seed)
    draws = [random.choice(differences, len(differences)).mean() for _ in range(rounds)]
    return Difference(float(differences.mean()), np.array(draws))
