"""Times the Frechet and kernel distances against the usual ways of computing them, side by side, in one process.

Frechet: against scipy.linalg.sqrtm(S1 @ S2). Kernel: against torch-fidelity, where it is installed. Features are
random, with a spectrum that decays as those of images do.
"""

import importlib.util
import time
from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch

from util.scores import distances as metrics


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


def fidelity_kernel(real: np.ndarray, fake: np.ndarray, subset_size: int) -> tuple[float, float]:
    """torch-fidelity's KID of 100 subsets: mean and standard deviation."""
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    figures = kid_features_to_metric(
        torch.from_numpy(real), torch.from_numpy(fake), kid_subset_size=subset_size, verbose=False
    )
    return figures[KEY_METRIC_KID_MEAN], figures[KEY_METRIC_KID_STD]


def timed(function: Callable, *args, **kwargs) -> tuple[float, object]:
    """Seconds and result."""
    start = time.perf_counter()
    result = function(*args, **kwargs)
    return time.perf_counter() - start, result


def compare(images: int, dim: int) -> list[dict]:
    """A row a comparison: its name, milliseconds, the ratio to the reference's, and the difference of the two figures.

    The difference of Frechet distances is relative, that of kernel distances absolute.
    """
    real, fake = make_features(images, dim)
    metrics.frechet_distance(real[:64], fake[:64])  # starts the linear algebra's threads before any clock does
    ours, figure = timed(metrics.frechet_distance, real, fake)
    theirs, reference = timed(sqrtm_frechet, real, fake)
    rows = [_row("Frechet, against scipy sqrtm(S1 @ S2)", ours, theirs, (figure - reference) / figure)]
    if importlib.util.find_spec("torch_fidelity") is None:
        print("torch-fidelity is not installed (pip install torch-fidelity): the kernel distance has no reference")
        return rows
    for size in sorted({images // 2, images // 10}, reverse=True):
        ours, (mean, _) = timed(metrics.kernel_distance, real, fake, subset_size=size)
        theirs, (reference, _) = timed(fidelity_kernel, real, fake, size)
        rows.append(_row(f"kernel, 100 subsets of {size}, against torch-fidelity", ours, theirs, mean - reference))
    return rows


def _row(what: str, ours: float, theirs: float, difference: float) -> dict:
    return {"what": what, "amp": "off", "ms": 1000 * ours, "ratio": ours / theirs, "difference": abs(difference)}
