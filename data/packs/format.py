"""Packed hands: what training crops are cut from, in one memory-mapped file, without decoding an image.

A pack is a folder:

    regions.bin   a record a frame, one after the other (see `encode`)
    index.npy     int64 (frames, 9), the columns FIELDS: where a frame's record is, and what it holds
    pack.json     sizes and checksum of the two, and what was packed; for people, too

A record holds of each frame only what a training crop can show. On a white background that is the hand's bounding box:
beyond it every crop is white, so that such a pack serves every crop size. On a kept background it is all that windows
of one crop size can reach. The pixels that a window may be centred on (`data.transforms.crop_centres`) are stored as
runs, so that neither the mask's erosion nor a search through it is left to do. data/packs/build.py makes packs.
"""

import json
import mmap
import os
import zlib
from pathlib import Path

import numpy as np

from data.hands import Hand
from data.transforms import crop_centres, window_start

REGIONS_FILE, INDEX_FILE, PACK_FILE = "regions.bin", "index.npy", "pack.json"
ALIGN = 8  # bytes that a record's length is a multiple of

# offset: of the record in regions.bin, bytes. runs: how many. centres: how many pixels they hold together.
# height, width: of the frame. top, left, rows, columns: the stored box; no rows mark a frame that could not be read.
FIELDS = ("offset", "runs", "centres", "height", "width", "top", "left", "rows", "columns")


def encode(hand: Hand, *, background: str, crop_size: int) -> tuple[list[int], bytes]:
    """A frame's Hand, read with that background -> (FIELDS without the offset, record).

    The record: runs, int32 (2, n) little-endian, first pixel (flat) of each and how many centres come before it; then
    the box of the image, uint8 (rows, columns, 3); then of the mask, a bit a pixel, each row from a new byte.
    """
    centres = crop_centres(hand.mask)
    firsts = np.concatenate([[0], np.flatnonzero(np.diff(centres) != 1) + 1])
    runs = np.stack([centres[firsts], firsts]).astype("<i4")
    height, width = hand.mask.shape
    if background == "white":
        rows, columns = (np.flatnonzero(hand.mask.any(axis=axis)) for axis in (1, 0))
        (top, bottom), (left, right) = ((where[0], where[-1] + 1) for where in (rows, columns))
    else:
        y, x = np.divmod(centres, width)
        (top, bottom), (left, right) = (
            (max(0, window_start(where.min(), side, crop_size)), window_start(where.max(), side, crop_size) + crop_size)
            for where, side in ((y, height), (x, width))
        )
    box = np.s_[top:bottom, left:right]
    image, mask = hand.image[box], hand.mask[box]
    record = runs.tobytes() + image.tobytes() + np.packbits(mask, axis=1).tobytes()
    fields = [runs.shape[1], len(centres), height, width, int(top), int(left), *mask.shape]
    return fields, record + bytes(-len(record) % ALIGN)


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
        offset, n_runs, n_centres, height, width, top, left, rows, columns = self._index[place].tolist()
        data = self._map()

        runs = data[offset : offset + 8 * n_runs].view("<i4").reshape(2, n_runs)
        chosen = int(random.integers(n_centres))
        run = int(runs[1].searchsorted(chosen, side="right")) - 1
        y, x = divmod(int(runs[0, run]) + chosen - int(runs[1, run]), width)

        # In the box's coordinates from here on: the window, and the part of it that the box fills.
        y, x = window_start(y, height, size) - top, window_start(x, width, size) - left
        y0, y1 = max(y, 0), min(y + size, rows)
        x0, x1 = max(x, 0), min(x + size, columns)
        here = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]

        image_start = offset + 8 * n_runs
        bits_start = image_start + 3 * rows * columns
        stride = (columns + 7) // 8
        image = np.full((size, size, 3), 255, np.uint8)
        mask = np.zeros((size, size), bool)
        image[here] = data[image_start:bits_start].reshape(rows, columns, 3)[y0:y1, x0:x1]
        bits = data[bits_start + y0 * stride : bits_start + y1 * stride].reshape(y1 - y0, stride)
        mask[here] = np.unpackbits(bits, axis=1)[:, x0:x1]
        return Hand(image, mask)

    def _map(self) -> np.ndarray:
        if self._bytes is None:
            with open(self.folder / REGIONS_FILE, "rb") as file:
                self._bytes = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        return self._bytes


def describe(folder: Path, **what: object) -> bytes:
    """The pack.json of the two other files in the folder."""
    index = (folder / INDEX_FILE).read_bytes()
    content = {
        **what,
        "regions_bytes": os.stat(folder / REGIONS_FILE).st_size,
        "index_bytes": len(index),
        "index_crc32": zlib.crc32(index),
    }
    return json.dumps(content, indent=1).encode() + b"\n"


def is_whole(folder: Path) -> bool:
    """Whether the folder holds a pack all of whose files are as long as when it was made, with the index as it was."""
    try:
        content = json.loads((folder / PACK_FILE).read_bytes())
        index = (folder / INDEX_FILE).read_bytes()
        size = os.stat(folder / REGIONS_FILE).st_size
        actual = {"regions_bytes": size, "index_bytes": len(index), "index_crc32": zlib.crc32(index)}
        return all(content[key] == value for key, value in actual.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False
