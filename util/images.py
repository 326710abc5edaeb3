"""Images on disk, as arrays and as tensors. Three forms, and only these, travel through the project:

- array: uint8 RGB of shape (H, W, 3), as read from or written to a file
- mask: bool of shape (H, W), True on the hand
- tensor: float32 of shape (3, H, W) in [-1, 1]; a mask's is (1, H, W) in {0, 1}

Pillow reads all files. Of PNGs with 16 bits a colour it keeps 8, so OpenCV decodes those.
"""

from __future__ import annotations  # tensors are named in signatures before torch is imported

import contextlib
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from util.files import printable, write_bytes

if TYPE_CHECKING:  # torch takes seconds to import, and processes that only read and write images need none of it
    import torch

cv2.setNumThreads(1)  # images are read and computed in processes and threads of our own
warnings.filterwarnings("ignore", module="PIL")  # on damaged metadata; the pixels are what counts

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp")
FORMATS = "PNG, JPEG, WebP, TIFF and BMP"
MAX_PIXELS = 2**26  # 8192 x 8192; larger images are refused, as they would fill the memory
AGAIN = 1.0  # seconds after a fault of the disk
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit

_TO_RGB = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}  # by the number of channels; each undoes itself


class ImageError(Exception):
    """A file that is missing, damaged, too large or not an image; the message names it."""


class Picture(NamedTuple):
    """A decoded file. pixels: uint8 or uint16 RGB or RGBA (H, W, 3 or 4), turned upright by the EXIF tag `orientation` from
    (height, width) `stored`. grey: (H, W), of a grey file; indices: uint8 (H, W), of a palette file. lossy: as JPEG is."""

    pixels: np.ndarray
    stored: tuple[int, int]
    orientation: int
    grey: np.ndarray | None = None
    indices: np.ndarray | None = None
    lossy: bool = False

    @property
    def rgb(self) -> np.ndarray:
        """uint8 (H, W, 3). Alpha is dropped, not blended: SynthHands' key colour must arrive unchanged."""
        return np.ascontiguousarray(to_bytes(self.pixels[..., :3]))

    @property
    def alpha(self) -> np.ndarray | None:
        """uint8 (H, W), None where the file has none."""
        return to_bytes(self.pixels[..., 3]) if self.pixels.shape[2] == 4 else None


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Image.Image]:
    """The file with its header read; pixels are decoded at first use. Errors within the block become ImageErrors."""
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP", "TIFF", "BMP")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} pixels; at most {MAX_PIXELS:,} are read")
            if image.mode in ("I", "F"):
                raise ValueError("32-bit pixels; 8-bit and 16-bit images are read")
            yield image
    except UnidentifiedImageError:
        reason = f"damaged, or not an image of a known format ({FORMATS})" if os.path.getsize(path) else "an empty file"
        raise ImageError(f"{printable(path)}: {reason}") from None
    except Exception as error:  # damaged files make Pillow raise errors of any kind
        fault = isinstance(error, OSError) and error.errno and f"{error.strerror} (errno {error.errno})"
        reason = fault or " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{printable(path)}: {reason}") from error


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation tag, 1 (upright) to 8; 1 where it is missing or damaged."""
    tag = 1
    if image.format != "TIFF":  # Pillow turns these itself
        with contextlib.suppress(Exception):
            tag = Image.Image.getexif(image).get(ExifTags.Base.Orientation)  # PNG's own getexif decodes the pixels
    return tag if tag in range(1, 9) else 1


def header_has_alpha(path: str | os.PathLike) -> bool:
    """Whether a file has alpha, by its header. Raises ImageError."""
    with _opened(path) as image:
        return image.has_transparency_data


def unread_parts(path: str | os.PathLike) -> list[str]:
    """What a file holds that is not read, by its header: "pages or frames after the first", "a colour profile". [] where it
    cannot be read."""
    with contextlib.suppress(ImageError), _opened(path) as image:
        found = ["pages or frames after the first"] if getattr(image, "n_frames", 1) > 1 else []
        if (profile := image.info.get("icc_profile")) and b"sRGB" not in profile.replace(b"\0", b""):
            found.append("a colour profile other than sRGB")
        if abs(image.info.get("gamma", 0.45455) - 0.45455) > 0.01:
            found.append("a gamma other than sRGB's")
        return found
    return []


def read_picture(path: str | os.PathLike) -> Picture:
    """Read a grey, RGB, RGBA, palette or CMYK file with its alpha and its depth of 8 or 16 bits. Raises ImageError.

    After a fault of the disk it is read once more: a network drive may be away for a second.
    """
    try:
        return _read_picture(path)
    except ImageError as error:
        if not of_disk(error):
            raise
        time.sleep(AGAIN)
    return _read_picture(path)


def of_disk(error: ImageError) -> bool:
    """Whether the disk, not the file, is at fault, and may be well again later."""
    cause = error.__cause__
    lasting = FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError
    return isinstance(cause, OSError) and bool(cause.errno) and not isinstance(cause, lasting)


def _read_picture(path: str | os.PathLike) -> Picture:
    with _opened(path) as image:
        orientation, stored = _orientation(image), image.size[::-1]
        deep = image.format == "PNG" and image.tile[0][3].endswith(";16B")
        kind = "RGBA" if image.has_transparency_data else "RGB"
        grey, indices = None, turn(np.array(image), orientation) if image.mode == "P" else None
        if kind == "RGB" and (image.mode == "L" or image.mode.startswith("I;16")):
            pixels = np.array(image).astype(np.uint8 if image.mode == "L" else np.uint16)
            grey = turn(pixels, orientation)
            pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
        elif deep:
            image.load()  # OpenCV fills up truncated files silently
            pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
            pixels = cv2.cvtColor(pixels, _TO_RGB[len(kind)])
        else:
            pixels = np.array(image if image.mode == kind else image.convert(kind))
        lossy = image.format == "JPEG" or image.format == "WEBP" and b"VP8L" not in Path(path).read_bytes()
    return Picture(turn(pixels, orientation), stored, orientation, grey, indices, lossy)


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels (H, W, ...) -> as EXIF's tag says that they are shown; (W, H, ...) for orientations 5 to 8."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    """uint16 to uint8, rounded; uint8 as it is. 65535 = 257 * 255: exact at both ends."""
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8) if pixels.dtype == np.uint16 else pixels


def read_rgb(path: str | os.PathLike) -> np.ndarray:
    """Read a file of any kind as uint8 RGB (H, W, 3), without its alpha. Raises ImageError."""
    return read_picture(path).rgb


def read_mask(path: str | os.PathLike) -> np.ndarray:
    """Read a mask that this project wrote (0 and 255) as bool (H, W). Masks that people bring: data.mask_values."""
    return read_rgb(path)[..., 0] > 127


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Write uint8 or uint16 RGB or RGBA (H, W, 3 or 4), grey (H, W) or a bool mask (as 0/255), making parent folders."""
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
    scaled = tensor.detach().float().add(1.0).mul(127.5).round().clamp(0, 255)
    return scaled.byte().movedim(-3, -1).cpu().numpy()
