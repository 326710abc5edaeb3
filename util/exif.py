"""The orientation tag of a photograph: where it is stored, and how pixels are turned by it.

The tag (EXIF 2.3, 0x0112) says how stored pixels are to be shown, 1 to 8. It is read here from the files' own bytes,
so that the size in a header and the size of the decoded image always agree.
"""

import numpy as np

UPRIGHT = 1
TURNED = frozenset({5, 6, 7, 8})  # width and height change places
_TAG = 0x0112


def orientation_of_tiff(block: bytes) -> int:
    """The tag's value (1 to 8) in a TIFF block, which is what EXIF data are; 1 where it is missing or damaged."""
    order = {b"II": "little", b"MM": "big"}.get(block[:2])
    if order is None or len(block) < 8:
        return UPRIGHT

    def number(at: int, size: int) -> int:
        return int.from_bytes(block[at : at + size], order)

    start = number(4, 4)
    if start + 2 > len(block):
        return UPRIGHT
    for entry in range(start + 2, min(start + 2 + 12 * number(start, 2), len(block) - 11), 12):
        if number(entry, 2) == _TAG:
            value = number(entry + 8, 2)
            return value if 1 <= value <= 8 else UPRIGHT
    return UPRIGHT


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels (H, W, ...) -> as they are to be shown; (W, H, ...) for orientations 5 to 8."""
    if orientation in TURNED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
