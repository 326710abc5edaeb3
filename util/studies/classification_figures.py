"""The classification study's confusion matrix (paper, Fig. 7)."""

from collections.abc import Sequence

import numpy as np

from util.drawing import INK, PALE_INK, Chart, text_width

CELL = 150  # pixels
PALE, DEEP = np.array([247.0, 251.0, 255.0]), np.array([8.0, 69.0, 148.0])  # cells of 0 and of 100 %


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
            _cell(chart, left + column * CELL, top + row * CELL, int(matrix[row, column]), float(shares[row, column]))
    for column, (name, total) in enumerate(zip(true_names, totals)):
        x = left + (column + 0.5) * CELL
        chart.text(name, x, top + high + 24, size=15)
        chart.text(f"n = {total}", x, top + high + 48, size=12, ink=PALE_INK)
    chart.text("True class", left + wide / 2, top + high + 86, size=17, bold=True)
    chart.text("Predicted class", 26, top + high / 2, size=17, bold=True, upwards=True)
    return chart


def _cell(chart: Chart, x: int, y: int, count: int, share: float) -> None:
    shade = tuple(int(v) for v in np.rint(PALE + (DEEP - PALE) * share))
    chart.rectangle(x + 1, y + 1, CELL - 2, CELL - 2, shade)
    ink = (255, 255, 255) if share > 0.5 else INK
    chart.text(str(count), x + CELL / 2, y + CELL / 2 - 14, size=20, ink=ink, bold=True)
    chart.text(f"{100 * share:.0f} %", x + CELL / 2, y + CELL / 2 + 24, size=14, ink=ink)
