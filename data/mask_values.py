"""Which values of a mask file count as hand.

A mask file may hold 0 and 255, 0 and 1, ids of classes (8 or 16 bits, or indices into a palette), or grey levels. The
rule, the same everywhere:

- `--mask_values 2-33,40` names the hand's values; black-and-white masks need none, and go by the last two lines unless
  white is among the values named
- else two values: the higher one is the hand
- else grey levels with soft edges, nearly all of them black or white, and JPEG masks: above the middle is hand
- else the file is refused with its values: which of several classes is the hand is never guessed
"""

import re
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from util.errors import UsageError
from util.files import printable
from util.images import ImageError, Picture, read_picture, to_bytes, turn

Ranges = tuple[tuple[int, int], ...]  # the hand's values, as pairs (first, last), both included
MOST_SOFT = 0.25  # of a mask's pixels may be neither black nor white where its edges are soft
SHOWN = 12  # values that a message lists


class MaskValues(NamedTuple):
    """What a mask file holds. values: uint8, uint16 or int32 (H, W): grey levels, indices into a coloured palette, or
    0xRRGGBB. top: what white is, 255 or 65535; 0 where values are no grey levels. lossy: a JPEG or the like."""

    values: np.ndarray
    top: int
    lossy: bool

    def is_soft(self) -> bool:
        """Whether these are grey levels, not classes: nearly all black or white, the others all over the range between."""
        white = int(self.values.max())
        if not self.top or white <= self.top // 2:
            return False
        between = self.values[(self.values > 0) & (self.values < white)]
        if not len(between) or len(between) > MOST_SOFT * self.values.size:
            return False
        return len(np.unique(between.astype(np.int64) * 4 // white)) == 4 and len(np.unique(between)) >= 8

    def is_grey(self) -> bool:
        """Whether a raw mask holds grey levels rather than classes: bright ones, and many."""
        return self.lossy or self.top > 0 and self.values.max() > self.top // 2 and len(np.unique(self.values)) != 3


def parse_values(given: str | int | None) -> Ranges | None:
    """--mask_values: "2-33,40" -> ((2, 33), (40, 40)); "#ff0000" is a colour's; None stays None. Raises UsageError."""
    if given is None:
        return None
    text, ranges = str(given), []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(#[0-9a-fA-F]{6}|\d{1,5})\s*(?:-\s*(#[0-9a-fA-F]{6}|\d{1,5}))?\s*", part)
        if not match:
            raise UsageError(f"--mask_values {text[:100]!r}: no list of mask values such as 1 or 2-33,40")
        low, high = (int(end[1:], 16) if end.startswith("#") else int(end) for end in (match[1], match[2] or match[1]))
        if low > high:
            raise UsageError(f"--mask_values {text[:100]!r}: the range {part.strip()} ends before it begins")
        ranges.append((low, high))
    return tuple(ranges)


def read_values(path: Path) -> MaskValues:
    """Read a mask file of any kind. Raises ImageError."""
    picture = read_picture(path)
    colours, alpha, lossy = picture.pixels[..., :3], picture.pixels[..., 3:], picture.lossy
    top = np.iinfo(colours.dtype).max
    if picture.grey is not None:
        return MaskValues(picture.grey, top, lossy)
    if alpha.size and (colours == colours[0, 0]).all():
        return MaskValues(alpha[..., 0], top, lossy)  # one colour, cut out: the alpha channel is the mask
    if alpha.size:
        colours = np.where(alpha > top // 2, colours, 0)
    if lossy:
        return MaskValues(cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY), top, True)
    if (colours == colours[..., :1]).all():
        return MaskValues(np.ascontiguousarray(colours[..., 0]), top, False)
    if picture.indices is not None:
        return MaskValues(picture.indices, 0, False)
    red, green, blue = np.moveaxis(to_bytes(colours).astype(np.int32), -1, 0)
    return MaskValues(red << 16 | green << 8 | blue, 0, False)


def read_levels(path: Path, picture: Picture, chosen: Ranges | None = None, *, raw: bool = False) -> np.ndarray:
    """Read an image's mask file as uint8 (H, W), 255 on the hand and 0 off it, by the rule. Raises ImageError.

    A mask that fits the image as it lies in the file, before its orientation tag, is turned along with it. raw: grey
    levels are returned as they are.
    """
    mask = read_values(path)
    try:
        grey = raw and chosen is None and mask.is_grey()
        levels = to_bytes(mask.values) if grey else hand_of(mask, chosen).view(np.uint8) * np.uint8(255)
    except ValueError as error:
        raise ImageError(f"{printable(path)}: {error}") from None
    as_stored = levels.shape == picture.stored != picture.pixels.shape[:2]
    return turn(levels, picture.orientation) if as_stored else levels


def hand_of(mask: MaskValues, chosen: Ranges | None = None) -> np.ndarray:
    """The mask, bool (H, W), by the rule above. Raises ValueError, with the values, where the rule refuses."""
    values = mask.values
    black_and_white = mask.lossy or mask.is_soft() or np.isin(values, (0, mask.top)).all()
    if chosen is not None and not (black_and_white and not covers(chosen, mask.top)):
        return np.logical_or.reduce([(values >= low) & (values <= high) for low, high in chosen])
    if black_and_white and values.max() > 1:
        return values > mask.top // 2
    held = np.unique(values)
    if len(held) > 2:
        raise ValueError(refusal(held))
    return values == held[-1] if len(held) == 2 else np.full(values.shape, held[0] > 0)


def may_be_classes(mask: MaskValues, chosen: Ranges | None, *, raw: bool) -> bool:
    """Whether the values are no grey levels, nor, where --mask_values is given, black and white."""
    if mask.lossy or mask.is_soft() or raw and mask.is_grey():
        return False
    return not (chosen and mask.top in mask.values and len(np.unique(mask.values)) <= 2)


def covers(chosen: Ranges, value: int) -> bool:
    """Whether a value is one of those chosen."""
    return any(low <= value <= high for low, high in chosen)


def refusal(values: np.ndarray) -> str:
    """Why masks of these values, rising, are not used, and the flag that helps."""
    shown = [f"#{value:06x}" if values[-1] > 65535 else str(value) for value in values.tolist()]
    if len(shown) > SHOWN:
        shown = [*shown[: SHOWN - 1], "...", shown[-1]]
    return (
        f"mask values are {', '.join(shown)}, and which of them are the hand is not guessed; say it with --mask_values, "
        f"for example --mask_values {shown[-1]}"
    )
