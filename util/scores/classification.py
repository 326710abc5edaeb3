"""Scores of a classifier from arrays of true and predicted class indices (paper, Tables II and III, Fig. 7).

Confusion matrices have predicted classes as rows and true classes as columns, as Fig. 7 has them; scikit-learn's are
the transpose. A ratio whose denominator is zero counts as 0, as in scikit-learn.
"""

import numpy as np
from scipy.stats import binomtest


def confusion_matrix(true: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """int64 (n_classes, n_classes), [predicted, true], from two integer arrays (N,) of class indices."""
    return np.bincount(predicted * n_classes + true, minlength=n_classes**2).reshape(n_classes, n_classes)


def precision_recall_f1(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three float64 arrays (n_classes,) in [0, 1] from a confusion matrix [predicted, true].

    precision: of what was given the class, the share that has it; recall: of what has the class, the share that was
    given it; F1: their harmonic mean.
    """
    hits, given, having = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return _ratio(hits, given), _ratio(hits, having), _ratio(2 * hits, given + having)


def accuracy(matrix: np.ndarray) -> float:
    """The share of all samples on the diagonal, in [0, 1]; 0 for an empty matrix."""
    return float(_ratio(np.trace(matrix), matrix.sum()))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def report(true: np.ndarray, predicted: np.ndarray, names: list[str]) -> dict:
    """What metrics.json holds of one test: accuracy, the confusion matrix and, by class name, its scores.

    Keys: accuracy, n, confusion (rows predicted, columns true, in the order of `classes`), classes, and per_class with
    precision, recall, f1 and support (the number of samples that have the class). Raises ValueError as
    confusion_matrix does.
    """
    matrix = confusion_matrix(true, predicted, len(names))
    scores = zip(*precision_recall_f1(matrix), matrix.sum(axis=0))
    return {
        "accuracy": accuracy(matrix),
        "n": int(matrix.sum()),
        "classes": list(names),
        "confusion": matrix.tolist(),
        "per_class": {
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
            for name, (p, r, f, n) in zip(names, scores)
        },
    }


def wilson_interval(successes: int, total: int) -> tuple[float, float]:
    """The 95 % score interval (low, high) for a binomial share (Wilson 1927), in [0, 1]; (0, 1) where total is 0.

    Unlike the normal approximation it stays sensible at shares near 0 and 1 and at small totals. Raises ValueError if
    successes are not between 0 and total.
    """
    if total == 0 and successes == 0:
        return 0.0, 1.0
    interval = binomtest(successes, total).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def percent(share: float, total: int) -> str:
    """A share of `total` in percent, with as many digits as so many samples support: 33 (of 6), 95.5 (of 3500)."""
    return f"{100 * share:.{0 if total < 200 else 1 if total < 20_000 else 2}f}"


def taken_for_real(successes: int, total: int, *, classifier: str = "a classifier that never saw one") -> str:
    """The study's answer as a sentence: how many generated hands the classifier called real."""
    low, high = (percent(share, total) for share in wilson_interval(successes, total))
    return (
        f"{percent(successes / total, total)} % of generated hands ({successes} of {total}) were taken for real by "
        f"{classifier} (95 % confidence interval {low} to {high} %)."
    )
