"""Scores of a classifier from its confusion matrix (paper, Tables II and III, Fig. 7).

Confusion matrices have predicted classes as rows and true classes as columns, as Fig. 7 has them; scikit-learn's are
the transpose. A ratio whose denominator is zero counts as 0, as in scikit-learn.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest


def report(matrix: np.ndarray, names: Sequence[str]) -> dict:
    """What metrics.json holds of one test: accuracy, n, classes, confusion, and per_class the precision, recall, f1 and
    support (how many have the class). matrix: integers (C, C), [predicted, true]."""
    hits, given, having = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    scores = {
        "precision": hits / np.maximum(given, 1),
        "recall": hits / np.maximum(having, 1),
        "f1": 2 * hits / np.maximum(given + having, 1),
        "support": having,
    }
    return {
        "accuracy": float(hits.sum() / max(matrix.sum(), 1)),
        "n": int(matrix.sum()),
        "classes": list(names),
        "confusion": matrix.tolist(),
        "per_class": {name: {key: values[i].item() for key, values in scores.items()} for i, name in enumerate(names)},
    }


def wilson_interval(successes: int, total: int) -> tuple[float, float]:
    """The 95 % score interval (low, high) for a binomial share (Wilson 1927), in [0, 1]; total is at least 1.

    Unlike the normal approximation it stays sensible at shares near 0 and 1 and at small totals.
    """
    interval = binomtest(successes, total).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def percent(share: float, total: int) -> str:
    """A share of `total` in percent, with as many digits as so many samples support: 33 (of 6), 95.5 (of 3500)."""
    return f"{100 * share:.{0 if total < 200 else 1 if total < 20_000 else 2}f}"
