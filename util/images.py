"""Images on disk, as arrays and as tensors.

Three forms, and only these, travel through the project:

- array: uint8 RGB of shape (H, W, 3), as read from or written to a file
- mask: bool of shape (H, W), True on the hand
- tensor: float32 of shape (3, H, W) in [-1, 1]; a mask's is (1, H, W) in {0, 1}
"""

from __future__ import annotations  # tensors are named in signatures before torch is imported

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from util.exif import UPRIGHT, turn
from util.files import printable, write_bytes
from util.image_header import ASSOCIATED_ALPHA, FORMATS, MAX_BYTES, Header, HeaderError, check_bytes, check_file  # noqa: F401, FORMATS are for those who name them

if TYPE_CHECKING:  # torch takes seconds to import, and processes that only read and write images need none of it
    import torch

# Reading is spread over processes and threads of our own, so one thread each is enough.
cv2.setNumThreads(1)

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp")
# Other files that folders of images hold. They are not read; the scan of a data set names them.
_FILMS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".gif")
_PHOTOGRAPHS = (".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw")
_OTHERS = (".exr", ".hdr", ".psd", ".svg", ".pdf", ".ppm", ".pgm", ".npy", ".npz", ".zip", ".rar", ".7z")
OTHER_SUFFIXES = frozenset(_FILMS + _PHOTOGRAPHS + _OTHERS)

_TO_RGB = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}  # by the number of channels; each undoes itself


class ImageError(Exception):
    """A file that is missing, truncated or not an image; the message names it."""


class Picture(NamedTuple):
    """A decoded file. pixels: uint8 or uint16 RGB or RGBA (H, W, 3 or 4), turned upright; stored: (height, width) in the
    file; orientation: the tag by which pixels were turned."""

    pixels: np.ndarray
    stored: tuple[int, int]
    orientation: int

    @property
    def rgb(self) -> np.ndarray:
        """uint8 (H, W, 3). Alpha is dropped, not blended: SynthHands' key colour must arrive unchanged."""
        return np.ascontiguousarray(to_bytes(self.pixels[..., :3]))

    @property
    def alpha(self) -> np.ndarray | None:
        """uint8 (H, W), None where the file has none."""
        return to_bytes(self.pixels[..., 3]) if self.pixels.shape[2] == 4 else None


@contextlib.contextmanager
def _naming(path: str | os.PathLike) -> Iterator[None]:
    """Errors within the block become ImageErrors, which name the file."""
    try:
        yield
    except OSError as error:
        raise ImageError(f"{printable(path)}: {error.strerror or error}") from error
    except HeaderError as error:
        raise ImageError(f"{printable(path)}: {error}") from None


def read_header(path: str | os.PathLike) -> Header:
    """A file's header, by a few kilobytes of it. Raises ImageError."""
    with _naming(path):
        return check_file(path)


def load(path: str | os.PathLike) -> tuple[np.ndarray, Header]:
    """A file's bytes, uint8 (n,), and its checked header. Unlike cv2.imread, this takes any file name. Raises ImageError."""
    with _naming(path):
        if os.path.getsize(path) > MAX_BYTES:
            raise HeaderError(f"larger than {MAX_BYTES >> 20} MiB")
        data = np.fromfile(path, np.uint8)
        return data, check_bytes(data.data)  # decoders fill up truncated images silently and trust any size


def decode(path: str | os.PathLike, data: np.ndarray, header: Header, flags: int) -> np.ndarray:
    """Decode what `load` gave with OpenCV: uint8 or uint16 (H, W, ...), BGR, turned by the orientation tag.

    path: for the message of the ImageError that it raises.
    """
    if header.tag_at and header.orientation != UPRIGHT:  # OpenCV turns some TIFFs and not others: it is done here
        data = _with_tag(data, header.tag_at, UPRIGHT)
    if header.alpha_at:  # OpenCV multiplies colours by alpha, of 8 bits, unless that is said to have been done
        data = _with_tag(data, header.alpha_at, ASSOCIATED_ALPHA)
    try:
        image = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION if flags >= 0 else flags)
    except (cv2.error, MemoryError):
        image = None
    if image is None:
        raise ImageError(f"{printable(path)}: damaged, it cannot be decoded")
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{printable(path)}: {image.dtype} pixels; 8-bit and 16-bit images are read")
    return image if header.orientation == UPRIGHT else turn(image, header.orientation)


def _with_tag(tiff: np.ndarray, at: int, value: int) -> np.ndarray:
    """A copy of a TIFF's bytes with another value of a tag."""
    tiff = tiff.copy()
    tiff[at : at + 2] = np.frombuffer(value.to_bytes(2, "little" if tiff[0] == ord("I") else "big"), np.uint8)
    return tiff


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    """uint16 to uint8, rounded; uint8 as it is. 65535 = 257 * 255: exact at both ends."""
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8) if pixels.dtype == np.uint16 else pixels


def read_picture(path: str | os.PathLike) -> Picture:
    """Read a file of any kind with its alpha and its full depth of 8 or 16 bits. Raises ImageError."""
    data, header = load(path)
    if header.alpha:
        pixels = decode(path, data, header, cv2.IMREAD_UNCHANGED)
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else _TO_RGB[pixels.shape[2]])
        if header.premultiplied and pixels.shape[2] == 4:
            pixels = _straight(pixels)
    else:
        pixels = cv2.cvtColor(decode(path, data, header, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH), cv2.COLOR_BGR2RGB)
    return Picture(pixels, header.stored[::-1], header.orientation)


def _straight(pixels: np.ndarray) -> np.ndarray:
    """RGBA whose colours are multiplied by alpha -> RGBA with the colours themselves, as far as they can be told."""
    top = np.iinfo(pixels.dtype).max
    colours = pixels[..., :3] * (top / np.maximum(pixels[..., 3:], 1))
    return np.dstack([np.clip(np.rint(colours), 0, top).astype(pixels.dtype), pixels[..., 3]])


def read_rgb(path: str | os.PathLike) -> np.ndarray:
    """Read a grey, RGB, RGBA, palette or CMYK file of 8 or 16 bits as uint8 RGB (H, W, 3), without its alpha.

    Raises ImageError.
    """
    return read_picture(path).rgb


def read_grey(path: str | os.PathLike) -> np.ndarray:
    """Read a file of any kind that read_rgb reads as uint8 grey (H, W). Raises ImageError."""
    return to_bytes(decode(path, *load(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH))


def read_mask(path: str | os.PathLike) -> np.ndarray:
    """Read a mask that this project wrote (0 and 255) as bool (H, W). Masks that people bring: data.masks.values."""
    return read_grey(path) > 127


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Write uint8 or uint16 RGB or RGBA (H, W, 3 or 4), grey (H, W) or a bool mask (as 0/255), making parent folders.

    The file appears whole or not at all: it is written beside its place and renamed.
    """
    if image.dtype == bool:
        image = image.astype(np.uint8) * 255
    if image.ndim == 3:
        image = cv2.cvtColor(image, _TO_RGB[image.shape[2]])
    write_bytes(path, cv2.imencode(".png", image)[1].tobytes())


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """uint8 (H, W, 3) -> float32 (3, H, W) in [-1, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float().div_(127.5).sub_(1.0)


def mask_to_tensor(mask: np.ndarray) -> torch.Tensor:
    """bool (H, W) -> float32 (1, H, W) in {0, 1}."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(mask))[None].float()


def to_uint8(tensor: torch.Tensor) -> np.ndarray:
    """float (..., 3, H, W) in [-1, 1] -> uint8 (..., H, W, 3), rounded, so that it undoes to_tensor exactly."""
    import torch

    scaled = tensor.detach().float().add(1.0).mul(127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).movedim(-3, -1).cpu().numpy()
