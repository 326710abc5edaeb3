"""Packed hands: what training crops are cut from, in one memory-mapped file, without decoding an image.

A pack is a folder:

    regions.bin   a record a frame, one after the other (see `encode`)
    index.npy     int64 (frames, 7), the columns FIELDS: where a frame's record is, and what it holds

A record holds of each frame only what a training crop can show. On a white background that is the hand's bounding box:
beyond it every crop is white, so that such a pack serves every crop size. On a kept background it is all that windows
of one crop size can reach. Which pixels a window may be centred on (`data.transforms.crop_centres`) is stored with them, so
that the mask need not be eroded again. data/packs/build.py makes packs.
"""

from pathlib import Path

import numpy as np

from data.hands import Hand
from data.masks.ops import bounding_box
from data.transforms import crop_centres, window, window_start

REGIONS_FILE, INDEX_FILE = "regions.bin", "index.npy"

# offset: of the record in regions.bin, bytes. height, width: of the frame. top, left, rows, columns: the stored box; no rows
# mark a frame that could not be read.
FIELDS = ("offset", "height", "width", "top", "left", "rows", "columns")
CHANNELS = 4  # red, green, blue, flags
HAND, CENTRE = 1, 2  # flags of a pixel: it is hand; a window may be centred on it


def encode(hand: Hand, *, background: str, crop_size: int) -> tuple[list[int], bytes]:
    """A frame's Hand, read with that background -> (FIELDS without the offset, record).

    The record: the box of the image and of the flags, uint8 (rows, columns, 4).
    """
    height, width = hand.mask.shape
    flags = hand.mask.astype(np.uint8) * HAND
    centres = crop_centres(hand.mask)
    flags.ravel()[centres] |= CENTRE
    rows, columns = bounding_box(hand.mask)
    if background == "keep":
        rows, columns = (
            slice(
                max(0, window_start(where.min(), side, crop_size)),
                window_start(where.max(), side, crop_size) + crop_size,
            )
            for where, side in zip(np.divmod(centres, width), (height, width))
        )
    box = np.dstack([hand.image, flags])[rows, columns]
    return [height, width, int(rows.start), int(columns.start), *box.shape[:2]], box.tobytes()


class Pack:
    """A pack, opened for cutting crops; may be copied into worker processes, forked or spawned.

    folder: of the pack. names: of its frames (Frame.relative), in the order in which they were packed.
    """

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder = folder
        self._places = {name: place for place, name in enumerate(names)}
        self._index = np.load(folder / INDEX_FILE)
        self._bytes: np.ndarray | None = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_bytes": None}  # mapped anew by each process

    def find(self, name: str) -> int | None:
        """The place of a frame; None where it could not be read when it was to be packed."""
        place = self._places.get(name)
        return None if place is None or self._index[place, -1] == 0 else place

    def random_crop(self, place: int, size: int, random: np.random.Generator) -> Hand:
        """What `data.transforms.random_hand_crop` makes of the frame, and with the same draws from `random`."""
        if self._bytes is None:
            self._bytes = np.memmap(self.folder / REGIONS_FILE, np.uint8, mode="r")
        offset, height, width, top, left, rows, columns = self._index[place].tolist()
        box = self._bytes[offset : offset + rows * columns * CHANNELS].reshape(rows, columns, CHANNELS)
        centres = np.flatnonzero(box[..., 3] & CENTRE)
        y, x = divmod(int(centres[random.integers(len(centres))]), columns)
        y, x = window_start(top + y, height, size) - top, window_start(left + x, width, size) - left
        crop = window(box, y, x, size, size, beyond=(255, 255, 255, 0))
        return Hand(np.ascontiguousarray(crop[..., :3]), (crop[..., 3] & HAND).astype(bool))


def is_whole(folder: Path) -> bool:
    """Whether the folder holds a pack whose files are as long as when it was made."""
    try:
        index = np.load(folder / INDEX_FILE)
        return (folder / REGIONS_FILE).stat().st_size == (index[:, -2:].prod(axis=1) * CHANNELS).sum()
    except (OSError, ValueError, EOFError):
        return False
