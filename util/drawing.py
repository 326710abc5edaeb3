"""All figures: sheets of labelled pictures, and outlines. Pictures are uint8 RGB arrays (H, W, 3) on white."""

from collections.abc import Sequence
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

Item = TypeVar("Item")

FONT, SMALL_FONT = ImageFont.load_default(16), ImageFont.load_default(12)
INK, PALE_INK, PAPER = (30, 30, 30), (110, 110, 110), 255
WIDTH = 1280  # pixels of a sheet where its pictures allow it, so that its text can be read in a README
GAP = 6  # pixels between pictures
LEAST, MOST = 96, 320  # pixels: the longer side of a picture in a sheet
LINE = 24  # pixels: height of a line of text


def shortened(text: str, width: int, font: ImageFont.FreeTypeFont = FONT) -> str:
    """The text, or as much of its end as fits into the width after "..."."""
    cuts = (text, *(f"...{text[start:]}" for start in range(1, len(text))))
    return next((cut for cut in cuts if font.getlength(cut) <= width), "...")


def fit_picture(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The image scaled to fit a white (height, width) picture, centred. An image that fits exactly keeps its pixels."""
    return np.array(ImageOps.pad(Image.fromarray(image), (width, height), color="white"))


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
    margin = 2 * GAP + round(max(map(FONT.getlength, labels))) if labels else 0
    side = side or int(np.clip((WIDTH - margin - GAP) // count - GAP, LEAST, MOST))
    tall, wide = (max(image.shape[axis] for row in rows for image in row) for axis in (0, 1))
    height, width = (max(1, round(length * side / max(tall, wide))) for length in (tall, wide))
    lines = max(text.count("\n") + 1 for row in captions for text in row) if captions else 0
    top, foot = GAP + LINE * bool(columns) + (LINE + GAP) * bool(title), LINE * lines
    canvas_width = max(margin + count * (width + GAP) + GAP, round(FONT.getlength(title or "")) + 2 * GAP)
    canvas = Image.new("RGB", (canvas_width, top + len(rows) * (height + foot + GAP)), "white")
    write = ImageDraw.Draw(canvas).text
    if title:
        write((GAP, GAP + LINE / 2), title, INK, FONT, anchor="lm")
    for i, row in enumerate(rows):
        y = top + i * (height + foot + GAP)
        if labels:
            write((GAP, y + height / 2), labels[i], INK, FONT, anchor="lm")
        for j, image in enumerate(row):
            x = margin + GAP + j * (width + GAP)
            middle = x + width / 2
            canvas.paste(Image.fromarray(fit_picture(image, height, width)), (x, y))
            if columns and i == 0:
                write((middle, top - GAP - LINE / 2), shortened(columns[j], width), INK, FONT, anchor="mm")
            for line, text in enumerate(captions[i][j].split("\n") if captions else ()):
                below = (middle, y + height + LINE * (line + 0.5))
                write(below, shortened(text, width, SMALL_FONT), PALE_INK, SMALL_FONT, anchor="mm")
    return np.array(canvas)


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
