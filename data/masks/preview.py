"""masks_preview.png: what refinement did, where it changed most, middling and least."""

from pathlib import Path

import cv2
import numpy as np

from data.masks.ops import binarise
from data.masks.realhands import KEPT, RealFrame, refined_path, report_key
from data.masks.refine import Verdict, read_raw_mask
from util.drawing import draw_outline
from util.images import ImageError, read_mask, read_picture, write_png

PREVIEW_NAME = "masks_preview.png"
COLUMNS = 5
SIDE = 320  # pixels of a picture's longer side
RAW_COLOUR, REFINED_COLOUR = (255, 40, 40), (0, 90, 255)


def write_preview(root: Path, frames: list[RealFrame], rows: dict[str, Verdict]) -> bool:
    """Draw masks_preview.png in the root from the kept frames; False, and no file, if there are none.

    Three rows: the largest, the median and the smallest changes (1 - IoU of raw and refined), each photograph with the
    raw outline in red and the refined one in blue.
    """
    kept = [frame for frame in frames if rows[report_key(frame, root)].verdict == KEPT]
    kept.sort(key=lambda frame: -rows[report_key(frame, root)].change)
    if not kept:
        (root / PREVIEW_NAME).unlink(missing_ok=True)
        return False
    n = min(COLUMNS, len(kept))
    middle = (len(kept) - n) // 2
    groups = {"largest changes": kept[:n], "median changes": kept[middle : middle + n], "smallest changes": kept[-n:]}
    strips = [_legend(n)]
    for title, group in groups.items():
        pictures = [_picture(frame, rows[report_key(frame, root)]) for frame in group]
        strips += [_text(title, 28, n * (SIDE + 4)), np.concatenate(pictures, axis=1)]
    write_png(root / PREVIEW_NAME, np.concatenate(strips, axis=0))
    return True


def _legend(n: int) -> np.ndarray:
    strip = _text("raw mask", 32, n * (SIDE + 4), colour=RAW_COLOUR)
    cv2.putText(strip, "refined mask", (110, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.55, REFINED_COLOUR, 1, cv2.LINE_AA)
    return strip


def _text(text: str, height: int, width: int, colour: tuple[int, int, int] = (40, 40, 40)) -> np.ndarray:
    strip = np.full((height, width, 3), 255, np.uint8)
    cv2.putText(strip, text, (6, height - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.55, colour, 1, cv2.LINE_AA)
    return strip


def _picture(frame: RealFrame, row: Verdict) -> np.ndarray:
    """uint8 (SIDE + 24, SIDE + 4, 3): the photograph with both outlines, its name and its change below."""
    canvas = np.full((SIDE + 24, SIDE + 4, 3), 255, np.uint8)
    try:
        photograph = read_picture(frame.image)
        rgb = photograph.rgb
        refined = read_mask(refined_path(frame))
        raw, _ = read_raw_mask(frame.mask, photograph, None)
    except ImageError:  # changed since it was refined
        return canvas
    scale = SIDE / max(rgb.shape[:2])
    width, height = (max(1, round(length * scale)) for length in rgb.shape[1::-1])
    picture = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    if raw is not None:
        draw_outline(picture, binarise(raw), RAW_COLOUR)
    draw_outline(picture, refined, REFINED_COLOUR)
    canvas[:height, :width] = picture
    name = f"{frame.user}/{frame.name}".encode("ascii", "replace").decode()
    label = f"{name[-30:]}  {row.change:.3f}"
    cv2.putText(canvas, label, (2, SIDE + 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
    return canvas
