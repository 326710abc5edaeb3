"""The classification study's scores, and its report: Tables II and III in Markdown beside the published numbers, and Fig. 7.

Confusion matrices have predicted classes as rows and true classes as columns, as Fig. 7 has them; scikit-learn's are
the transpose. A ratio whose denominator is zero counts as 0, as in scikit-learn.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import binomtest

from data.composites.classification import KINDS
from util.drawing import INK, draw_text, sheet
from util.results.pages import table
from util.studies.classification import Experiment

CELL = 150  # pixels of the confusion matrix's cells
PALE, DEEP = np.array([247.0, 251.0, 255.0]), np.array([8.0, 69.0, 148.0])  # cells of 0 and of 100 %

SCORES = ("precision", "recall", "f1")
TRAINING_SETS = {"syn_rea": "syn | rea", "syn_gen": "syn | gen", "syn_half": "syn | (½ rea, ½ gen)"}
TEST_SETS = {"syn_rea": "syn, rea", "syn_gen": "syn, gen"}

# Table II, in percent: precision, recall and F1, each of synthetic and of real hands, and accuracy.
PUBLISHED_TABLE2 = {
    ("syn_rea", "syn_rea"): (94.51, 97.38, 97.46, 94.34, 95.96, 95.84, 95.90),
    ("syn_rea", "syn_gen"): (95.62, 97.18, 97.23, 95.54, 96.42, 96.35, 96.39),
    ("syn_gen", "syn_rea"): (95.29, 92.65, 92.43, 95.43, 93.84, 94.02, 93.93),
    ("syn_gen", "syn_gen"): (98.91, 93.60, 93.23, 98.97, 95.98, 96.21, 96.10),
    ("syn_half", "syn_rea"): (94.83, 96.96, 97.03, 94.71, 95.92, 95.82, 95.87),
    ("syn_half", "syn_gen"): (97.25, 97.15, 97.14, 97.26, 97.20, 97.20, 97.20),
}

# Table III: precision, recall, F1 by class, and accuracy.
PUBLISHED_TABLE3 = {
    "synthetic": (0.9540, 0.9546, 0.9543),
    "real": (0.7930, 0.8329, 0.8124),
    "generated": (0.8468, 0.8037, 0.8247),
    "accuracy": (0.8637,),
}


def report(matrix: np.ndarray, names: Sequence[str]) -> dict:
    """The scores of one test, as metrics.json holds them. matrix: integers (C, C); support: how many have the class."""
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
    """The 95 % score interval of a binomial share (Wilson 1927), which stays sensible near 0 and 1 and for small totals."""
    interval = binomtest(successes, total).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def percent(share: float, total: int) -> str:
    """A share of `total` in percent, with as many digits as so many samples support: 33 (of 6), 95.5 (of 3500)."""
    return f"{100 * share:.{0 if total < 200 else 1 if total < 20_000 else 2}f}"


def reports(experiment: Experiment, by_kind: np.ndarray) -> dict[str, dict]:
    """{test set: its report}, for one training set's confusion_by_kind."""
    results = {}
    for name, kinds in experiment.test_sets.items():
        matrix = np.zeros((len(experiment.classes),) * 2, np.int64)
        for kind in kinds:
            matrix[:, experiment.label(kind)] += by_kind[:, KINDS.index(kind)]
        results[name] = report(matrix, experiment.classes)
    return results


def called_real(by_kind: np.ndarray, kind: str) -> dict[str, float]:
    """How many hands of a kind were predicted real: count, total, share, and the share's interval from low to high."""
    column = by_kind[:, KINDS.index(kind)]
    count, total = int(column[KINDS.index("real")]), int(column.sum())
    low, high = wilson_interval(count, total)
    return {"count": count, "total": total, "share": count / total, "low": low, "high": high}


def answer(name: str, by_kind: np.ndarray) -> str:
    """The experiment's result on generated hands in words, by the confusion_by_kind of its first training set.

    A classifier that calls everything real takes all of them for real. So the text adds its shares of real and of
    synthetic hands, and rejects the answer if it cannot tell these two apart better than chance.
    """
    who = "never saw one" if name == "table2" else "was taught to tell the three apart"
    synthetic, real, generated = (called_real(by_kind, kind) for kind in KINDS)
    share, low, high = (percent(generated[key], generated["total"]) for key in ("share", "low", "high"))
    text = (
        f"{share} % of generated hands ({generated['count']} of {generated['total']}) were taken for real by a classifier that "
        f"{who} (95 % confidence interval {low} to {high} %). It called {percent(real['share'], real['total'])} % of real "
        f"hands and {percent(synthetic['share'], synthetic['total'])} % of synthetic hands real."
    )
    right = real["count"] + synthetic["total"] - synthetic["count"]
    if wilson_interval(right, real["total"] + synthetic["total"])[0] > 0.5:
        return text
    return (
        "The classifier has learnt nothing: it does not tell real from synthetic hands better than chance, so that its "
        "opinion of generated ones is worth nothing. Train it longer (--n_epochs), on more hands, or at a higher "
        f"--lr. {text}"
    )


def table2(results: Mapping[str, Mapping[str, Mapping]]) -> str:
    """Table II as Markdown, in percent, from {training set: {test set: report of synthetic and real hands}}."""
    header = ["#", "train set", "test set", "", "precision syn / rea", "recall syn / rea", "F1 syn / rea", "accuracy"]

    def pairs(values: Sequence[float]) -> list[str]:
        return [f"{values[i]:.2f} / {values[i + 1]:.2f}" for i in (0, 2, 4)] + [f"{values[6]:.2f}"]

    rows = []
    for number, (train, tests) in enumerate(results.items(), start=1):
        for test, scores in tests.items():
            ours = [scores["per_class"][name][key] for key in SCORES for name in KINDS[:2]] + [scores["accuracy"]]
            ours = pairs([100 * value for value in ours])
            rows.append([str(number), TRAINING_SETS[train], TEST_SETS[test], "ours", *ours])
            rows.append(["", "", "", "*published*", *pairs(PUBLISHED_TABLE2[train, test])])
    return table(header, rows)


def table3(scores: Mapping) -> str:
    """Table III as Markdown, ours beside the published, from one report over KINDS."""
    ours = {name: [scores["per_class"][name][key] for key in SCORES] for name in KINDS}
    ours["accuracy"] = [scores["accuracy"]]
    rows = [
        [name, *(f"{value:.4f}" for pair in zip(values, PUBLISHED_TABLE3[name]) for value in pair)]
        for name, values in ours.items()
    ]
    rows[-1] += [""] * 4
    return table(["class", "precision", "*published*", "recall", "*published*", "F1", "*published*"], rows)


def study_markdown(results: Mapping[str, Mapping[str, Mapping]], *, used: str) -> str:
    """table.md. results: {training set: {test set: report}}; used: the answer and what it rests on, in words."""
    if "syn_rea_gen" in results:
        return f"{used}\n\nTable III.\n\n{table3(results['syn_rea_gen']['syn_rea_gen'])}\n"
    share = PUBLISHED_TABLE2["syn_rea", "syn_gen"][3]
    return (
        f"{used}\n\nTable II, in percent. Generated hands count as real, in training and in testing.\n\n{table2(results)}"
        f"\n\nPublished: {share:.2f} % of generated hands taken for real after training on syn \\| rea.\n"
    )


def draw_confusion(matrix: np.ndarray, names: Sequence[str], true_names: Sequence[str], *, title: str) -> np.ndarray:
    """Fig. 7, uint8 RGB: counts and percent of the column; darker is more. matrix: integers (R, C), R names, C true_names."""
    totals = matrix.sum(axis=0)
    shares = matrix / np.maximum(totals, 1)

    def cell(count: int, share: float) -> np.ndarray:
        picture = np.full((CELL, CELL, 3), np.rint(PALE + (DEEP - PALE) * share), np.uint8)
        ink = (255, 255, 255) if share > 0.5 else INK
        draw_text(picture, str(count), (CELL / 2, CELL / 2 - 14), size=0.9, ink=ink, bold=True)
        draw_text(picture, f"{100 * share:.0f} %", (CELL / 2, CELL / 2 + 24), ink=ink)
        return picture

    columns = [f"{name}: {total}" for name, total in zip(true_names, totals)]
    pictures = [[cell(*each) for each in zip(*row)] for row in zip(matrix, shares)]
    return sheet(pictures, columns=columns, labels=[f"called {name}" for name in names], title=title, side=CELL)
