"""All figures: sheets of labelled pictures, and outlines. Pictures are uint8 RGB arrays (H, W, 3) on white."""

from collections.abc import Sequence
from typing import TypeVar

import cv2
import numpy as np

Item = TypeVar("Item")

FONT = cv2.FONT_HERSHEY_SIMPLEX
INK, PALE_INK, PAPER = (30, 30, 30), (110, 110, 110), 255
WIDTH = 1280  # pixels of a sheet where its pictures allow it, so that its text can be read in a README
GAP = 6  # pixels between pictures
LEAST, MOST = 96, 320  # pixels: the longer side of a picture in a sheet
LINE = 24  # pixels: height of a line of text at SIZE
SIZE = 0.55  # of text, in OpenCV's unit (1: capitals 22 pixels high)


def text_width(text: str, size: float = SIZE) -> int:
    """Pixels that a line of text takes."""
    return cv2.getTextSize(ascii_only(text), FONT, size, 1)[0][0]


def ascii_only(text: str) -> str:
    """The text as OpenCV's font can draw it: other characters become "?"."""
    return text.encode("ascii", "replace").decode()


def draw_text(
    canvas: np.ndarray, text: str, at: tuple[float, float], *, size: float = SIZE, ink: tuple = INK, middle: bool = True
) -> None:
    """Draw a line of text in place. at: (x, y) of its middle; without `middle`, x is its start."""
    (width, height), _ = cv2.getTextSize(ascii_only(text), FONT, size, 1)
    at = round(at[0] - width / 2 * middle), round(at[1] + height / 2)
    cv2.putText(canvas, ascii_only(text), at, FONT, size, ink, 1, cv2.LINE_AA)


def shortened(text: str, width: int, size: float = SIZE) -> str:
    """The text, or as much of its end as fits into the width after "..."."""
    cuts = (text, *(f"...{text[start:]}" for start in range(1, len(text))))
    return next((cut for cut in cuts if text_width(cut, size) <= width), "...")


def fit_picture(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The image scaled to fit a white (height, width) picture, centred. An image that fits exactly keeps its pixels."""
    scale = min(height / image.shape[0], width / image.shape[1])
    if scale != 1:
        size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    down, right = height - image.shape[0], width - image.shape[1]
    border = (down // 2, down - down // 2, right // 2, right - right // 2)
    return cv2.copyMakeBorder(image, *border, cv2.BORDER_CONSTANT, value=(PAPER,) * 3)


def sheet(
    rows: Sequence[Sequence[np.ndarray]],
    *,
    columns: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    captions: Sequence[Sequence[str]] | None = None,
    title: str | None = None,
    side: int | None = None,
) -> np.ndarray:
    """Lay pictures of any sizes out in rows, of which the last may be shorter, with a text over each column, left of each row
    and below each picture (captions, of one or more lines), and a title over all. side: pixels of the longer side of a
    picture; None: what makes the sheet WIDTH pixels wide, from LEAST to MOST."""
    count = len(rows[0])
    margin = 2 * GAP + max(map(text_width, labels)) if labels else 0
    side = side or int(np.clip((WIDTH - margin - GAP) // count - GAP, LEAST, MOST))
    tall, wide = (max(image.shape[axis] for row in rows for image in row) for axis in (0, 1))
    height, width = (max(1, round(length * side / max(tall, wide))) for length in (tall, wide))
    lines = max(text.count("\n") + 1 for row in captions for text in row) if captions else 0
    head, foot = LINE if columns else 0, LINE * lines
    top = (LINE + GAP if title else 0) + head + GAP
    canvas_width = max(margin + count * (width + GAP) + GAP, text_width(title or "") + 2 * GAP)
    canvas = np.full((top + len(rows) * (height + foot + GAP), canvas_width, 3), PAPER, np.uint8)
    if title:
        draw_text(canvas, title, (GAP, GAP + LINE / 2), middle=False)
    for i, row in enumerate(rows):
        y = top + i * (height + foot + GAP)
        if labels:
            draw_text(canvas, labels[i], (GAP, y + height / 2), middle=False)
        for j, image in enumerate(row):
            x = margin + GAP + j * (width + GAP)
            canvas[y : y + height, x : x + width] = fit_picture(image, height, width)
            if columns and i == 0:
                draw_text(canvas, shortened(columns[j], width), (x + width / 2, top - GAP - LINE / 2))
            for line, text in enumerate(captions[i][j].split("\n") if captions else ()):
                below = (x + width / 2, y + height + LINE * (line + 0.5))
                draw_text(canvas, shortened(text, width, 0.42), below, size=0.42, ink=PALE_INK)
    return canvas


def trimmed(rows: Sequence[Sequence[np.ndarray]]) -> list[list[np.ndarray]]:
    """Pictures of one size without the white margin that all of them have, but for GAP pixels; others as they are."""
    pictures = [picture for row in rows for picture in row]
    box = np.s_[:, :]
    if len({picture.shape for picture in pictures}) == 1:
        drawn = np.any([(picture < PAPER).any(axis=-1) for picture in pictures], axis=0)
        x, y, width, height = cv2.boundingRect(drawn.astype(np.uint8))
        if width:
            box = np.s_[max(0, y - GAP) : y + height + GAP, max(0, x - GAP) : x + width + GAP]
    return [[picture[box] for picture in row] for row in rows]


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """Up to `most` of the items, evenly spread from the first to the last."""
    return [items[place] for place in np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)]


def draw_outline(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Draw a mask's outline on a picture, in place; mask: bool, of any size, scaled to the picture's."""
    scaled = cv2.resize(mask.astype(np.uint8), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(scaled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, 1)
