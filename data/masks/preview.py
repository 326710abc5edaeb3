"""masks_preview.png: what refinement did, where it changed most, middling and least."""

from pathlib import Path

import numpy as np

from data.masks.ops import binarise
from data.masks.realhands import KEPT, RealFrame, refined_path, report_key
from data.masks.refine import Verdict, read_raw_mask
from util.drawing import draw_outline, fit, sheet
from util.images import read_mask, read_picture, write_png

PREVIEW_NAME = "masks_preview.png"
COLUMNS = 5
SIDE = 320  # pixels of a picture's longer side
RAW_COLOUR, REFINED_COLOUR = (255, 40, 40), (0, 90, 255)


def write_preview(root: Path, frames: list[RealFrame], rows: dict[str, Verdict]) -> bool:
    """Draw masks_preview.png in the root from the kept frames; False, and no file, if there are none.

    Three rows: the largest, the median and the smallest changes (1 - IoU of raw and refined), each photograph with the
    raw outline in red and the refined one in blue.
    """
    changes = {frame: row.change for frame in frames if (row := rows[report_key(frame, root)]).verdict == KEPT}
    kept = sorted(changes, key=changes.get, reverse=True)
    if not kept:
        (root / PREVIEW_NAME).unlink(missing_ok=True)
        return False
    n = min(COLUMNS, len(kept))
    middle = (len(kept) - n) // 2
    groups = {"largest changes": kept[:n], "median changes": kept[middle : middle + n], "smallest changes": kept[-n:]}
    picture = sheet(
        [[_picture(frame) for frame in group] for group in groups.values()],
        labels=list(groups),
        captions=[[f"{frame.user}/{frame.name}  {changes[frame]:.3f}" for frame in group] for group in groups.values()],
        title="raw masks in red, refined masks in blue",
        side=SIDE,
    )
    write_png(root / PREVIEW_NAME, picture)
    return True


def _picture(frame: RealFrame) -> np.ndarray:
    """uint8 RGB, SIDE pixels or less a side: the photograph with both outlines."""
    photograph = read_picture(frame.image)
    raw, _ = read_raw_mask(frame.mask, photograph, None)
    rgb = photograph.rgb
    picture = fit(rgb, *(max(1, round(length * SIDE / max(rgb.shape[:2]))) for length in rgb.shape[:2]))
    if raw is not None:
        draw_outline(picture, binarise(raw), RAW_COLOUR)
    draw_outline(picture, read_mask(refined_path(frame)), REFINED_COLOUR)
    return picture
