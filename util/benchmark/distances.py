"""Times the Frechet and kernel distances against the usual ways of computing them, side by side, in one process.

    python -m util.benchmark.distances [--images 2000] [--dim 2048] [--json FILE]

Frechet: against scipy.linalg.sqrtm(S1 @ S2). Kernel: against torch-fidelity, where it is installed. Features are
random, with a spectrum that decays as those of images do.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch

from options.parsing import Parser, integer
from util.benchmark.report import add_json_flag, write_report
from util.errors import run_command
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


def benchmark(images: int, dim: int) -> list[dict[str, float | str]]:
    """One row a comparison: its name, both times in seconds, their ratio, both figures, and their difference."""
    real, fake = make_features(images, dim)
    metrics.frechet_distance(real[:64], fake[:64])  # starts the linear algebra's threads before any clock does
    ours, figure = timed(metrics.frechet_distance, real, fake)
    theirs, reference = timed(sqrtm_frechet, real, fake)
    rows = [_row("Frechet", ours, theirs, figure, reference, "scipy sqrtm(S1 @ S2)", figure)]
    if importlib.util.find_spec("torch_fidelity") is None:
        print("torch-fidelity is not installed (pip install torch-fidelity): the kernel distance has no reference")
        return rows
    for size in sorted({images // 2, images // 10}, reverse=True):
        ours, (mean, _) = timed(metrics.kernel_distance, real, fake, subset_size=size)
        theirs, (reference, _) = timed(fidelity_kernel, real, fake, size)
        rows.append(_row(f"kernel, 100 subsets of {size}", ours, theirs, mean, reference, "torch-fidelity", 1.0))
    return rows


def _row(
    name: str, ours: float, theirs: float, figure: float, reference: float, against: str, scale: float
) -> dict[str, float | str]:
    """scale: what the difference is divided by; 1 for an absolute one."""
    return {
        "what": name,
        "against": against,
        "seconds": ours,
        "reference_seconds": theirs,
        "ratio": ours / theirs,
        "figure": figure,
        "reference_figure": reference,
        "difference": abs(figure - reference) / scale,
        "difference_is": "absolute" if scale == 1.0 else "relative",
    }


def table(rows: list[dict[str, float | str]]) -> str:
    """The rows as text."""
    heads = f"{'this':>9}{'reference':>11}{'time':>7}{'figure':>14}{'reference':>14}{'difference':>19}  against"
    lines = [f"{'':28}{heads}"]
    for row in rows:
        lines.append(
            f"{row['what']:28}{row['seconds']:8.2f}s{row['reference_seconds']:10.2f}s{row['ratio']:6.1%} "
            f"{row['figure']:14.8g}{row['reference_figure']:14.8g}{row['difference']:10.1e} {row['difference_is']}"
            f"  {row['against']}"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=integer(20), default=2000, help="images in each set")
    parser.add_argument("--dim", type=integer(2), default=2048, help="feature dimensions")
    add_json_flag(parser)
    opt: argparse.Namespace = parser.parse_args(argv)
    rows = benchmark(opt.images, opt.dim)
    print(f"two sets of {opt.images} x {opt.dim} features, {torch.get_num_threads()} threads")
    print(table(rows))
    write_report(opt.json, {"rows": rows})


if __name__ == "__main__":
    run_command(main)
