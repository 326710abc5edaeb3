"""What the ends of a PNG or JPEG file tell, without decoding it: its size, and whether it is all there."""

import io
import os
from typing import BinaryIO

MAX_PIXELS = 2**26  # 8192 x 8192: larger images are left out, decoded they would fill the memory
MAX_BYTES = 2**29  # of a file
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_TAIL = 2**16  # bytes at the end of a file in which its end mark lies, unless a camera appended more of its own
# Start-of-frame markers of JPEG, which hold the size; C4, C8 and CC among them mean something else.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class HeaderError(Exception):
    """Why a file is no image that may be decoded, in a few words."""


def check_bytes(data: bytes) -> tuple[int, int]:
    """(width, height) of a whole file's bytes. Raises HeaderError."""
    return _check(io.BytesIO(data), len(data), whole=True)[:2]


def check_file(path: str | os.PathLike) -> tuple[int, int, bool]:
    """(width, height, complete) of a file, by a few kilobytes of it.

    complete is False where the end mark is not near the end: only decoding tells then. Raises HeaderError, OSError.
    """
    with open(path, "rb") as file:
        return _check(file, os.fstat(file.fileno()).st_size, whole=False)


def _check(file: BinaryIO, length: int, *, whole: bool) -> tuple[int, int, bool]:
    if length == 0:
        raise HeaderError("an empty file")
    if length > MAX_BYTES:
        raise HeaderError(f"a file of {length >> 20} MiB; at most {MAX_BYTES >> 20} MiB are read")
    head = file.read(8)
    if head == _PNG:
        (width, height), body, end = _png_size(file), 8, b"IEND"
    elif head.startswith(_JPEG):
        (width, height), body, end = *_jpeg_size(file), b"\xff\xd9"
    else:
        raise HeaderError("neither PNG nor JPEG")
    if width < 1 or height < 1:
        raise HeaderError(f"a size of {width}x{height}")
    if width * height > MAX_PIXELS:
        raise HeaderError(f"{width}x{height} pixels; at most {MAX_PIXELS:,} are read")
    # Within compressed pixels no end mark can occur, so that any one behind their start is the end.
    file.seek(body if whole else max(body, length - _TAIL))
    complete = end in file.read()
    if whole and not complete:
        raise HeaderError("truncated")
    return width, height, complete


def _png_size(file: BinaryIO) -> tuple[int, int]:
    chunk = file.read(16)  # length, "IHDR", width, height
    if len(chunk) < 16 or chunk[4:8] != b"IHDR":
        raise HeaderError("a PNG without a header")
    return int.from_bytes(chunk[8:12], "big"), int.from_bytes(chunk[12:16], "big")


def _jpeg_size(file: BinaryIO) -> tuple[tuple[int, int], int]:
    """((width, height), where the compressed pixels start)."""
    file.seek(2)
    size = None
    while True:
        byte = file.read(1)
        while byte == b"\xff":  # fill bytes may precede a marker
            byte = file.read(1)
        length = file.read(2)
        if len(length) < 2:
            raise HeaderError("truncated")
        marker, length = byte[0], int.from_bytes(length, "big")
        if length < 2:
            raise HeaderError("a damaged JPEG")
        if marker in _FRAMES:
            frame = file.read(5)  # precision, height, width
            if len(frame) < 5:
                raise HeaderError("truncated")
            size = int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")
            length -= 5
        elif marker == 0xDA:  # start of scan
            if size is None:
                raise HeaderError("a JPEG without a size")
            return size, file.tell()
        file.seek(length - 2, os.SEEK_CUR)
        if file.read(1) != b"\xff":
            raise HeaderError("a damaged JPEG")
