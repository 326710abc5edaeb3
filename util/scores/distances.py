"""Distances between two sets of features, in float64: Frechet distance (FID), kernel distance (KID), their uncertainty.

Features are arrays (N, D), one row an image. Nothing here knows where they came from.

The Frechet distance between the Gaussians fitted to two sets is

    |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)            (Heusel et al. 2017)

With factors S1 = F1' F1 and S2 = F2' F2 the last trace is the sum of the singular values of F1 F2'. That needs no
square root of a matrix that is not symmetric, so no imaginary part appears. With fewer images than dimensions the
centred features are such factors, as they are; otherwise they come from symmetric eigendecompositions. The singular values are
roots of the eigenvalues of the symmetric F1 F2' F2 F1', computed directly (slower) where squaring would cost digits.
"""

import functools
import logging
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.linalg

from util.errors import UsageError

log = logging.getLogger(__name__)


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The Frechet distance between two sets of features (N, D).

    Sets smaller than D have singular covariances; the distance is then exact for what was given, but biased upwards as
    an estimate, and a warning says so. Raises UsageError below two images, ValueError for features that are not finite.
    """
    for count, dim in (np.shape(a), np.shape(b)):
        if count < dim:
            _warn_once(
                f"Frechet distance from {count} images, fewer than the {dim} feature dimensions: it is biased upwards "
                "and compares only with figures from equally many images"
            )
    return frechet(a, b)


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """frechet_distance without its warning."""
    (mean_a, root_a), (mean_b, root_b) = _mean_and_root(a), _mean_and_root(b)
    product = root_a @ root_b.T
    if product.shape[0] > product.shape[1]:
        product = product.T
    apart = float(np.sum((mean_a - mean_b) ** 2) + np.sum(root_a**2) + np.sum(root_b**2))
    squares = scipy.linalg.eigvalsh(product @ product.T)
    # An eigenvalue is known to a few units of rounding of the largest, its root the less well the smaller it is.
    noise = 4.0 * np.finfo(float).eps * max(squares[-1], 0.0)
    overlap = np.sqrt(np.maximum(squares, 0.0)).sum()
    doubt = np.sum(np.sqrt(np.maximum(squares + noise, 0.0)) - np.sqrt(np.maximum(squares - noise, 0.0)))
    if 2.0 * doubt > 1e-7 * (apart - 2.0 * overlap):
        overlap = scipy.linalg.svdvals(product).sum()
    return max(float(apart - 2.0 * overlap), 0.0)  # rounding may leave equal sets at -1e-12


def _mean_and_root(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and a factor F (R, D), R at most min(N - 1, D), with F' F the covariance."""
    features = checked_features(features, least=2)
    count, dim = features.shape
    mean = features.mean(0)
    if count <= dim:
        return mean, _independent_rows(features) / np.sqrt(count - 1)
    deviations = features - mean
    values, vectors = scipy.linalg.eigh(deviations.T @ deviations / (count - 1))
    kept = values > max(values[-1], 0.0) * len(values) * np.finfo(float).eps  # below this, rounding noise
    return mean, np.sqrt(values[kept])[:, None] * vectors[:, kept].T


def _independent_rows(features: np.ndarray) -> np.ndarray:
    """(N, D) -> N - 1 rows with the scatter of all N: deviations from the mean, less the one that the others determine.

    A reflection takes the vector of ones, which the deviations are orthogonal to, to the first axis; the first row is
    then zero. Left in, it would be a singular value of zero, known to half the digits only.
    """
    deviations = features - features.mean(0)
    axis = np.full(len(features), 1.0 / np.sqrt(len(features)))
    axis[0] += 1.0
    return (deviations - np.outer(axis, axis @ deviations) * (2.0 / (axis @ axis)))[1:]


def kernel_distance(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    subsets: int = 100,
    subset_size: int | None = None,
    seed: int = 2020,
) -> tuple[float, float]:
    """The kernel distance (KID): mean and standard deviation over subsets of the unbiased squared MMD; may be below 0.

    Kernel (x.y / D + 1)^3 (Binkowski et al. 2018). Subsets are drawn without replacement, `real`'s first, from
    numpy's RandomState(seed), so that the figure is torch-fidelity's for `real` as its first input. subset_size: a
    tenth of the smaller set unless given (the paper's 200 of 2000). Raises UsageError where a subset is larger than a
    set.
    """
    real, fake = checked_features(real, least=2), checked_features(fake, least=2)
    size = default_subset_size(len(real), len(fake)) if subset_size is None else subset_size
    if size > min(len(real), len(fake)) or size < 2:
        raise UsageError(
            f"a KID subset of {size} images was asked for, but the sets hold {len(real)} real and {len(fake)} "
            f"generated images: set --kid_subset_size to at least 2 and at most {min(len(real), len(fake))}"
        )
    random = np.random.RandomState(seed)
    draws = [[random.choice(len(side), size, replace=False) for side in (real, fake)] for _ in range(subsets)]
    in_real = np.stack([draw[0] for draw in draws])
    in_fake = np.stack([draw[1] for draw in draws])
    sums = _subset_sums if subsets * size**2 < len(real) * len(fake) else _shared_sums
    within_real = sums(real, in_real, real, in_real) - _diagonal(real)[in_real].sum(1)
    within_fake = sums(fake, in_fake, fake, in_fake) - _diagonal(fake)[in_fake].sum(1)
    across = sums(real, in_real, fake, in_fake)
    distances = (within_real + within_fake) / (size * (size - 1)) - 2.0 * across / size**2
    return float(distances.mean()), float(distances.std())


def default_subset_size(n_real: int, n_fake: int) -> int:
    """KID's default subset size: a tenth of the smaller set, as in the paper, and at least 2."""
    return max(2, min(n_real, n_fake) // 10)


def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """KID's kernel of all pairs of rows: (N, D), (M, D) -> (N, M)."""
    base = x @ y.T
    base /= x.shape[1]
    base += 1.0
    return base * base * base


def _diagonal(x: np.ndarray) -> np.ndarray:
    """k(x_i, x_i) for each row: (N,)."""
    return (np.einsum("ij,ij->i", x, x) / x.shape[1] + 1.0) ** 3


def _shared_sums(x: np.ndarray, in_x: np.ndarray, y: np.ndarray, in_y: np.ndarray) -> np.ndarray:
    """For each subset s, the kernel summed over all pairs of x[in_x[s]] and y[in_y[s]]: (subsets,).

    Subsets overlap, so the kernel of all pairs is computed once, in blocks of rows, and a product with the subsets'
    indicator vectors replaces the picking of sub-matrices.
    """
    chosen_x, chosen_y = np.zeros((len(in_x), len(x))), np.zeros((len(in_y), len(y)))
    np.put_along_axis(chosen_x, in_x, 1.0, 1)
    np.put_along_axis(chosen_y, in_y, 1.0, 1)
    total = np.zeros(len(in_x))
    for start in range(0, len(x), 4000):  # kernels of 50,000 images would not fit into memory at once
        rows = slice(start, start + 4000)
        total += np.einsum("sr,rs->s", chosen_x[:, rows], kernel(x[rows], y) @ chosen_y.T)
    return total


def _subset_sums(x: np.ndarray, in_x: np.ndarray, y: np.ndarray, in_y: np.ndarray) -> np.ndarray:
    """The same as _shared_sums, one subset at a time: less work where all pairs outnumber those of the subsets."""
    return np.array([kernel(x[rows], y[columns]).sum() for rows, columns in zip(in_x, in_y)])


def floor(real: np.ndarray, *, seed: int = 0, splits: int = 4) -> float:
    """The Frechet distance between two random halves of the real set, averaged over `splits` such cuts.

    A perfect translator would not score lower. The halves hold half as many images as a score, and the upward bias of
    the distance grows as sets get smaller, so the true floor is somewhat lower.
    Raises UsageError below four images.
    """
    real = checked_features(real, least=4)
    return float(np.mean([frechet(real[one], real[two]) for one, two in _halves(len(real), seed, splits)]))


def _halves(count: int, seed: int, splits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(seed)
    for _ in range(splits):
        order = random.permutation(count)
        yield order[: count // 2], order[count // 2 : count // 2 * 2]


def bootstrap_interval(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    level: float = 0.95,
    rounds: int = 200,
    seed: int = 0,
    rank: int = 64,
) -> tuple[float, float]:
    """The interval around the Frechet distance in which it would fall, at `level`, had other images been drawn.

    Both sets are resampled with replacement `rounds` times. Each resample's distance is taken in the span of the `rank`
    leading principal directions of both sets together, where nearly all of its spread lies and a round takes
    milliseconds. A resample repeats images, which biases its distance upwards, so the percentiles are used only as
    offsets from the resamples' mean: the interval is the distance itself plus these. It shows how much the choice of
    images matters at these counts, not how far more images would lower the distance. Near the floor it is too wide
    rather than too narrow. Raises UsageError below two images.
    """
    real, fake = checked_features(real, least=2), checked_features(fake, least=2)
    basis = leading_directions(np.concatenate([real, fake]), rank, seed)
    sides = real @ basis, fake @ basis
    draws = [resampled_distance(sides, weights) for weights in resamples(len(real), len(fake), rounds, seed)]
    low, high = interval_around(frechet(real, fake), np.array(draws), level)
    return max(low, 0.0), high


def interval_around(estimate: float, draws: np.ndarray, level: float) -> tuple[float, float]:
    """(low, high): the estimate plus the offsets of the bootstrap draws' quantiles from their mean."""
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail]) - draws.mean() + estimate
    return float(low), float(high)


def resamples(n_real: int, n_fake: int, rounds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """How often each image is drawn, float64 (n_real,) and (n_fake,), for each of the rounds."""
    random = np.random.default_rng(seed)
    for _ in range(rounds):
        yield tuple(random.multinomial(n, np.full(n, 1.0 / n)).astype(float) for n in (n_real, n_fake))


def resampled_distance(sides: Sequence[np.ndarray], weights: Sequence[np.ndarray]) -> float:
    """The Frechet distance of two sets (N, R); weights (N,): how often each row counts."""
    means, roots = [], []
    for side, weight in zip(sides, weights):
        mean = weight @ side / weight.sum()
        deviations = side - mean
        covariance = (deviations * weight[:, None]).T @ deviations / (weight.sum() - 1.0)
        values, vectors = scipy.linalg.eigh(covariance)
        means.append(mean)
        roots.append(vectors * np.sqrt(values.clip(0.0)))  # (R, R): root root' is the covariance
    overlap = scipy.linalg.svdvals(roots[0].T @ roots[1]).sum()
    return float(((means[0] - means[1]) ** 2).sum() + (roots[0] ** 2).sum() + (roots[1] ** 2).sum() - 2.0 * overlap)


def leading_directions(features: np.ndarray, rank: int, seed: int) -> np.ndarray:
    """An orthonormal basis (D, rank or fewer) of the leading principal directions, by subspace iteration."""
    deviations = features - features.mean(0)
    random = np.random.default_rng(seed)
    basis = random.standard_normal((features.shape[1], min(rank + 16, *features.shape)))
    for _ in range(6):
        basis = scipy.linalg.qr(deviations.T @ (deviations @ basis), mode="economic")[0]
    projected = deviations @ basis
    _, turn = scipy.linalg.eigh(projected.T @ projected)  # ascending
    return basis @ turn[:, -rank:]


def checked_features(features: np.ndarray, *, least: int) -> np.ndarray:
    """The features in float64. Raises UsageError for fewer images."""
    count = len(features)
    if count < least:
        raise UsageError(
            f"a set holds {count} image{'s' * (count != 1)}, but a distance between sets needs at least {least}: "
            f"raise --num_test, or --val_size and --test_size"
        )
    return np.asarray(features, np.float64)


@functools.cache
def _warn_once(message: str) -> None:
    """Log a warning once: validation repeats throughout a training run."""
    log.warning(message)
