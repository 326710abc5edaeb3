"""The size, orientation and completeness of an image from its file's bytes, without decoding it.

PNG, JPEG, WebP, TIFF and BMP are recognised by their first bytes, not by the file's name.
"""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from util.exif import TURNED, UPRIGHT, orientation_of_tiff

MAX_PIXELS = 2**26  # 8192 x 8192: larger images are left out, as they would fill the memory
MAX_BYTES = 2**29  # of a file
FORMATS = "PNG, JPEG, WebP, TIFF and BMP"
_PNG, _JPEG, _TIFFS = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", (b"II*\0", b"MM\0*")
_TAIL = 2**16  # bytes at the end of a file in which its end mark lies, unless a camera appended more of its own
# Start-of-frame markers of JPEG, which hold the size; C4, C8 and CC among them mean something else.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

ASSOCIATED_ALPHA = 1  # in a TIFF: colours are stored multiplied by alpha


class HeaderError(Exception):
    """Why a file is no image that may be decoded, in a few words."""


@dataclass(frozen=True)
class Header:
    """stored: (width, height) of the pixels in the file; size: of the image as it is to be shown, turned by its
    orientation tag. complete: False where only decoding tells whether the file is whole. alpha: the file has an alpha
    channel or a transparent colour. lossy: pixels come out only about as they went in (JPEG, most WebP). tag_at, alpha_at:
    where in a TIFF the orientation's value and that of the kind of alpha stand (2 bytes each), 0 elsewhere. premultiplied:
    stored colours are multiplied by alpha."""

    stored: tuple[int, int]
    orientation: int
    complete: bool
    alpha: bool = False
    lossy: bool = False
    tag_at: int = 0
    alpha_at: int = 0
    premultiplied: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as shown."""
        return self.stored[::-1] if self.orientation in TURNED else self.stored


def check_bytes(data: bytes) -> Header:
    """The header of a whole file's bytes. Raises HeaderError, also where the file is truncated."""
    return _check(io.BytesIO(data), len(data), whole=True)


def check_file(path: str | os.PathLike) -> Header:
    """The header of a file, by a few kilobytes of it. Raises HeaderError, OSError."""
    with open(path, "rb") as file:
        return _check(file, os.fstat(file.fileno()).st_size, whole=False)


def _check(file: BinaryIO, length: int, *, whole: bool) -> Header:
    if length == 0:
        raise HeaderError("an empty file")
    if length > MAX_BYTES:
        raise HeaderError(f"a file of {length >> 20} MiB; at most {MAX_BYTES >> 20} MiB are read")
    head = file.read(12)
    if head.startswith(_PNG):
        header = _png(file, length, whole)
    elif head.startswith(_JPEG):
        header = _jpeg(file, length, whole)
    elif head[:4] == b"RIFF" and head[8:] == b"WEBP":
        header = _webp(file, length, int.from_bytes(head[4:8], "little") + 8)
    elif head[:4] in _TIFFS:
        header = _tiff(file, length, "little" if head[:2] == b"II" else "big")
    elif head[:2] == b"BM":
        header = _bmp(file, length)
    else:
        raise HeaderError(f"not an image of a known format ({FORMATS})")
    width, height = header.stored
    if width < 1 or height < 1:
        raise HeaderError(f"a size of {width}x{height}")
    if width * height > MAX_PIXELS:
        raise HeaderError(f"{width}x{height} pixels; at most {MAX_PIXELS:,} are read")
    if whole and not header.complete and head[:4] not in _TIFFS:
        raise HeaderError("truncated")
    return header


def _ends_with(file: BinaryIO, mark: bytes, start: int, length: int, whole: bool) -> bool:
    """Whether the end mark follows `start`. Within compressed pixels none can occur: any one behind is the end."""
    file.seek(start if whole else max(start, length - _TAIL))
    return mark in file.read()


# ------------------------------------------------------------------ PNG


def _png(file: BinaryIO, length: int, whole: bool) -> Header:
    chunks = _png_chunks(file, length)
    name, header = next(chunks, (b"", b""))
    if name != b"IHDR" or len(header) < 10:
        raise HeaderError("a PNG without a header")
    size = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    alpha, orientation = header[9] in (4, 6), UPRIGHT
    for name, content in chunks:
        alpha |= name == b"tRNS"
        if name == b"eXIf":
            orientation = orientation_of_tiff(content)
        if name == b"IDAT" and not whole:
            break  # orientation behind the pixels is not written by any common program
    return Header(size, orientation, _ends_with(file, b"IEND", 8, length, whole), alpha)


def _png_chunks(file: BinaryIO, length: int) -> Iterator[tuple[bytes, bytes]]:
    """(name, content) of each chunk; only short ones that matter here are read."""
    at = 8
    while at + 12 <= length:
        file.seek(at)
        head = file.read(8)
        size, name = int.from_bytes(head[:4], "big"), head[4:]
        yield name, file.read(min(size, 2**16)) if name in (b"IHDR", b"eXIf") else b""
        if name == b"IEND":
            return
        at += 12 + size


# ------------------------------------------------------------------ JPEG


def _jpeg(file: BinaryIO, length: int, whole: bool) -> Header:
    file.seek(2)
    size, orientation = None, UPRIGHT
    while True:
        byte = file.read(1)
        while byte == b"\xff":  # fill bytes may precede a marker
            byte = file.read(1)
        count = file.read(2)
        if len(count) < 2:
            raise HeaderError("truncated")
        marker, count = byte[0], int.from_bytes(count, "big")
        if count < 2:
            raise HeaderError("a damaged JPEG")
        behind = file.tell() + count - 2
        if marker in _FRAMES:
            frame = file.read(5)  # precision, height, width
            if len(frame) < 5:
                raise HeaderError("truncated")
            size = int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")
        elif marker == 0xE1 and file.read(6) == b"Exif\0\0":
            orientation = orientation_of_tiff(file.read(count - 8))
        elif marker == 0xDA:  # start of scan
            if size is None:
                raise HeaderError("a JPEG without a size")
            complete = _ends_with(file, b"\xff\xd9", behind - count + 2, length, whole)
            return Header(size, orientation, complete, lossy=True)
        file.seek(behind)
        if file.read(1) != b"\xff":
            raise HeaderError("a damaged JPEG")


# ------------------------------------------------------------------ WebP, TIFF, BMP


def _webp(file: BinaryIO, length: int, declared: int) -> Header:
    size, orientation, alpha, lossy, at = None, UPRIGHT, False, False, 12
    while at + 8 <= min(declared, length):
        file.seek(at)
        head = file.read(8)
        name, count = head[:4], int.from_bytes(head[4:], "little")
        body = file.read(min(count, 2**16 if name == b"EXIF" else 10))
        if name == b"VP8X" and len(body) == 10:
            size = 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
            alpha |= bool(body[0] & 0x10)
        elif name == b"VP8L" and len(body) >= 5:
            bits = int.from_bytes(body[1:5], "little")
            size = size or (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
            alpha |= bool(bits >> 28 & 1)
        elif name == b"VP8 " and len(body) == 10:
            size = size or tuple(int.from_bytes(body[i : i + 2], "little") & 0x3FFF for i in (6, 8))
            lossy = True
        elif name == b"EXIF":
            orientation = orientation_of_tiff(body.removeprefix(b"Exif\0\0"))
        at += 8 + count + count % 2
    if size is None:
        raise HeaderError("truncated" if length < declared else "a damaged WebP")
    return Header(size, orientation, length >= declared, alpha, lossy)


def _tiff(file: BinaryIO, length: int, order: str) -> Header:
    """Of the first page. A TIFF has no end mark, so `complete` is False: only decoding tells."""

    def number(at: int, size: int) -> int:
        file.seek(at)
        return int.from_bytes(file.read(size), order)

    start = number(4, 4)
    fields, places = {}, {}
    for entry in range(start + 2, start + 2 + 12 * number(start, 2), 12):
        if entry + 12 > length:
            raise HeaderError("truncated")
        short = number(entry + 2, 2) == 3
        tag = number(entry, 2)
        fields[tag] = number(entry + 8, 2 if short else 4)
        if number(entry + 4, 4) == 1:
            places[tag] = entry + 8
    if 256 not in fields or 257 not in fields:
        raise HeaderError("truncated" if start + 2 > length else "a TIFF without a size")
    orientation = fields.get(274, UPRIGHT)
    orientation = orientation if orientation in range(1, 9) else UPRIGHT
    return Header(
        (fields[256], fields[257]),
        orientation,
        False,
        alpha=338 in fields or (fields.get(262), fields.get(277)) == (2, 4),  # RGB and a fourth channel
        tag_at=places.get(274, 0),
        alpha_at=places.get(338, 0),
        premultiplied=fields.get(338) == ASSOCIATED_ALPHA,
    )


def _bmp(file: BinaryIO, length: int) -> Header:
    file.seek(0)
    head = file.read(30)
    if len(head) < 30:
        raise HeaderError("truncated")
    width = int.from_bytes(head[18:22], "little", signed=True)
    height = abs(int.from_bytes(head[22:26], "little", signed=True))
    return Header((width, height), UPRIGHT, length >= int.from_bytes(head[2:6], "little"))
