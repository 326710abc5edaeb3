"""The classification study's report: Tables II and III in Markdown, the published numbers beside ours, and Fig. 7."""

from collections.abc import Mapping, Sequence

import numpy as np

from util.drawing import INK, PALE_INK, Chart, text_width
from util.results.pages import table

CELL = 150  # pixels of the confusion matrix's cells
PALE, DEEP = np.array([247.0, 251.0, 255.0]), np.array([8.0, 69.0, 148.0])  # cells of 0 and of 100 %

CLASSES = ("synthetic", "real", "generated")
SCORES = ("precision", "recall", "f1")
TRAINING_SETS = {
    "syn_rea": "syn | rea",
    "syn_gen": "syn | gen",
    "syn_half": "syn | (½ rea, ½ gen)",
}
TEST_SETS = {"syn_rea": "syn, rea", "syn_gen": "syn, gen"}

# Table II, in percent: precision, recall and F1, each of synthetic and of real hands, and accuracy. Generated hands count as
# real, in training and in testing.
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

# Fig. 7: rows predicted, columns true, in the order of CLASSES. Real hands add up to 3501; Table III follows from these
# counts to its last digit with 464 real hands called generated, and not with the printed 465. The figure's caption and
# the text swap the two shares: by Table III's own recalls it is 18 % of generated hands that were called real and 13 %
# of real ones that were called generated.
PUBLISHED_FIG7 = ((3341, 121, 40), (114, 2915, 647), (45, 465, 2813))


def table2(results: Mapping[str, Mapping[str, Mapping]]) -> str:
    """Table II as Markdown, from {training set: {test set: report (util.scores.classification)}}, percent.

    Each report's classes are synthetic and real; keys as in TRAINING_SETS and TEST_SETS.
    """
    header = ["#", "train set", "test set", "", "precision syn / rea", "recall syn / rea", "F1 syn / rea", "accuracy"]
    rows = []
    for number, (train, reports) in enumerate(results.items(), start=1):
        for test, report in reports.items():
            scores = [report["per_class"][name][key] for key in SCORES for name in CLASSES[:2]]
            ours = [100 * value for value in (*scores, report["accuracy"])]
            rows.append([str(number), TRAINING_SETS[train], TEST_SETS[test], "ours", *_pairs(ours)])
            rows.append(["", "", "", "*published*", *_pairs(PUBLISHED_TABLE2[train, test])])
    return table(header, rows)


def _pairs(values: Sequence[float]) -> list[str]:
    return [f"{values[i]:.2f} / {values[i + 1]:.2f}" for i in (0, 2, 4)] + [f"{values[6]:.2f}"]


def table3(report: Mapping) -> str:
    """Table III as Markdown, from one report (util.scores.classification.report) over CLASSES, ours with the published."""
    ours = {name: [report["per_class"][name][key] for key in SCORES] for name in CLASSES}
    ours["accuracy"] = [report["accuracy"]]
    rows = [
        [name, *(f"{value:.4f}" for pair in zip(values, PUBLISHED_TABLE3[name]) for value in pair)]
        for name, values in ours.items()
    ]
    rows[-1] += [""] * 4
    return table(["class", "precision", "*published*", "recall", "*published*", "F1", "*published*"], rows)


def study_markdown(
    experiment: str,
    results: Mapping[str, Mapping[str, Mapping]],
    *,
    answer: str,
    notes: Sequence[str],
    counts: Mapping[str, int],
) -> str:
    """table.md: the answer in words, what was used, and the table.

    experiment: "table2" or "table3"; results: {training set: {test set: report}}; counts: images a class, by part.
    """
    used = f"{counts['train']} training and {counts['test']} test images a class."
    lines = [answer, "", " ".join([used, *notes]), ""]
    if experiment == "table2":
        share = PUBLISHED_TABLE2["syn_rea", "syn_gen"][3]
        lines += [
            "Table II, in percent. Generated hands count as real, in training and in testing.",
            "",
            table2(results),
            "",
            f"Published: {share:.2f} % of generated hands taken for real after training on syn \\| rea.",
        ]
    else:
        report = results["syn_rea_gen"]["syn_rea_gen"]
        pairs = zip(CLASSES, report["confusion"], PUBLISHED_FIG7)
        counts_of = [
            [name, *(text for count, known in zip(ours, published) for text in (str(count), f"*{known}*"))]
            for name, ours, published in pairs
        ]
        lines += [
            "Table III.",
            "",
            table3(report),
            "",
            "Fig. 7: counts, rows predicted, columns true (published in italics; its 465 must be 464, by Table III).",
            "",
            table(["predicted", "syn", "*published*", "rea", "*published*", "gen", "*published*"], counts_of),
        ]
    return "\n".join(lines) + "\n"


def draw_confusion(
    matrix: np.ndarray, names: Sequence[str], true_names: Sequence[str], *, title: str = "Tested hands"
) -> Chart:
    """Fig. 7: counts and, below, percent of the column; darker is more.

    matrix: integers (R, C), rows predicted, columns true; names: R labels; true_names: C labels.
    Each column says how many hands it holds.
    """
    totals = matrix.sum(axis=0)
    shares = matrix / np.maximum(totals, 1)
    longest = max(text_width(name, 0.7) for name in names)
    left, top, bottom = 60 + longest + 20, 64, 112
    high, wide = CELL * len(names), CELL * len(true_names)
    chart = Chart(left + wide + 24, top + high + bottom)
    chart.text(title, left + wide / 2, 32, size=17, bold=True)
    chart.rectangle(left - 2, top - 2, wide + 4, high + 4, INK)
    for row, name in enumerate(names):
        chart.text(name, 60 + longest / 2, top + (row + 0.5) * CELL, size=15)
        for column in range(len(true_names)):
            x, y, share = left + column * CELL, top + row * CELL, float(shares[row, column])
            shade = tuple(int(v) for v in np.rint(PALE + (DEEP - PALE) * share))
            chart.rectangle(x + 1, y + 1, CELL - 2, CELL - 2, shade)
            ink = (255, 255, 255) if share > 0.5 else INK
            chart.text(str(matrix[row, column]), x + CELL / 2, y + CELL / 2 - 14, size=20, ink=ink, bold=True)
            chart.text(f"{100 * share:.0f} %", x + CELL / 2, y + CELL / 2 + 24, size=14, ink=ink)
    for column, (name, total) in enumerate(zip(true_names, totals)):
        x = left + (column + 0.5) * CELL
        chart.text(name, x, top + high + 24, size=15)
        chart.text(f"n = {total}", x, top + high + 48, size=12, ink=PALE_INK)
    chart.text("True class", left + wide / 2, top + high + 86, size=17, bold=True)
    chart.text("Predicted class", 26, top + high / 2, size=17, bold=True, upwards=True)
    return chart
