"""The study's two pictures: the confusion matrix (paper, Fig. 7) and hands on backgrounds (Fig. 6)."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from util.images import tile

FONT = cv2.FONT_HERSHEY_SIMPLEX
CELL = 150  # pixels
INK = (30, 30, 30)
PALE, DEEP = np.array([247.0, 251.0, 255.0]), np.array([8.0, 69.0, 148.0])  # cells of 0 and of 100 %


def draw_confusion(
    matrix: np.ndarray, names: Sequence[str], *, true_names: Sequence[str] | None = None, title: str | None = None
) -> np.ndarray:
    """Fig. 7 as uint8 RGB: counts and, below, percent of the column; darker is more.

    matrix: integers (R, C), rows predicted, columns true; names: R labels; true_names: C labels, `names` where None.
    Raises ValueError if they do not fit.
    """
    matrix, true_names = np.asarray(matrix), names if true_names is None else true_names
    if matrix.shape != (len(names), len(true_names)):
        raise ValueError(f"a matrix of {matrix.shape} does not fit {len(names)} and {len(true_names)} names")
    shares = matrix / np.maximum(matrix.sum(axis=0, keepdims=True), 1)
    longest = max(_width(name, 0.7) for name in names)
    left, top, bottom = 60 + longest + 20, 24 if title is None else 60, 96
    high, wide = CELL * len(names), CELL * len(true_names)
    canvas = np.full((top + high + bottom, left + wide + 24, 3), 255, np.uint8)
    for row, name in enumerate(names):
        _centred(canvas, name, (60 + longest // 2, top + row * CELL + CELL // 2), 0.7)
        for column in range(len(true_names)):
            corner = (left + column * CELL, top + row * CELL)
            _cell(canvas, corner, int(matrix[row, column]), float(shares[row, column]))
    for column, name in enumerate(true_names):
        _centred(canvas, name, (left + column * CELL + CELL // 2, top + high + 26), 0.7)
    cv2.rectangle(canvas, (left, top), (left + wide, top + high), INK, 2)
    if title is not None:
        _centred(canvas, title, (left + wide // 2, 32), 0.8)
    _centred(canvas, "True class", (left + wide // 2, top + high + 68), 0.8, thickness=2)
    label = np.full((44, high, 3), 255, np.uint8)
    _centred(label, "Predicted class", (high // 2, 22), 0.8, thickness=2)
    canvas[top : top + high, 6:50] = cv2.rotate(label, cv2.ROTATE_90_COUNTERCLOCKWISE)
    return canvas


def stack_figures(figures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures, uint8 RGB of any sizes, side by side on white, aligned at the top."""
    canvas = np.full((max(len(f) for f in figures), sum(f.shape[1] for f in figures), 3), 255, np.uint8)
    left = 0
    for figure in figures:
        canvas[: len(figure), left : left + figure.shape[1]] = figure
        left += figure.shape[1]
    return canvas


def _cell(canvas: np.ndarray, corner: tuple[int, int], count: int, share: float) -> None:
    x, y = corner
    shade = tuple(int(v) for v in np.rint(PALE + (DEEP - PALE) * share))
    cv2.rectangle(canvas, corner, (x + CELL, y + CELL), shade, -1)
    cv2.rectangle(canvas, corner, (x + CELL, y + CELL), (255, 255, 255), 2)
    ink = (255, 255, 255) if share > 0.5 else INK
    _centred(canvas, str(count), (x + CELL // 2, y + CELL // 2 - 14), 0.9, ink=ink, thickness=2)
    _centred(canvas, f"{100 * share:.0f}%", (x + CELL // 2, y + CELL // 2 + 24), 0.65, ink=ink)


def _width(text: str, scale: float) -> int:
    return cv2.getTextSize(text, FONT, scale, 1)[0][0]


def _centred(
    canvas: np.ndarray, text: str, centre: tuple[int, int], scale: float, *, ink: tuple = INK, thickness: int = 1
) -> None:
    (width, height), _ = cv2.getTextSize(text, FONT, scale, thickness)
    place = (centre[0] - width // 2, centre[1] + height // 2)
    cv2.putText(canvas, text, place, FONT, scale, ink, thickness, cv2.LINE_AA)


def draw_samples(images: Mapping[str, Sequence[np.ndarray]]) -> np.ndarray:
    """Fig. 6 for every class: one labelled row of uint8 RGB (S, S, 3) a class, cut to the shortest row's length.

    Raises ValueError if a class has no image.
    """
    columns = min((len(row) for row in images.values()), default=0)
    if columns == 0:
        raise ValueError("no images to show: every class needs at least one")
    return tile([list(row[:columns]) for row in images.values()], labels=list(images))
