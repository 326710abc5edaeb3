"""Reading and writing images, and their way to tensors and back."""

import struct

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from util.images import (
    ImageError,
    mask_to_tensor,
    read_grey,
    read_mask,
    read_picture,
    read_rgb,
    to_tensor,
    to_uint8,
    write_png,
)


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)


def test_png_is_lossless(tmp_path, rgb):
    path = tmp_path / "new folder" / "naïve\nname.png"
    write_png(path, rgb)
    assert np.array_equal(read_rgb(path), rgb)
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # no temporary file stays


def test_masks_are_lossless_and_binary(tmp_path):
    mask = np.random.default_rng(0).random((6, 9)) > 0.5
    write_png(tmp_path / "m.png", mask)
    assert np.array_equal(read_mask(tmp_path / "m.png"), mask)
    assert set(np.unique(read_grey(tmp_path / "m.png"))) == {0, 255}


def test_other_kinds_of_png(tmp_path, rgb):
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    cv2.imwrite(str(tmp_path / "rgba.png"), np.dstack([bgr, np.zeros((7, 5), np.uint8)]))
    cv2.imwrite(str(tmp_path / "deep.png"), bgr.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "grey.png"), rgb[..., 0])
    assert np.array_equal(read_rgb(tmp_path / "rgba.png"), rgb)  # alpha is dropped, not blended
    assert np.array_equal(read_rgb(tmp_path / "deep.png"), rgb)
    assert np.array_equal(read_rgb(tmp_path / "grey.png"), np.repeat(rgb[..., :1], 3, 2))


OPACITY = np.repeat(np.array([0, 1, 100, 254, 255], np.uint8)[None], 7, 0)


def write_tiff(path, colours, kind):
    """An RGBA TIFF by Pillow; kind: of its alpha, 0 unspecified, 1 colours are multiplied by it, 2 they are not."""
    Image.fromarray(np.dstack([colours, OPACITY])).save(path)
    entry = struct.pack("<HHI", 338, 3, 1)
    assert entry in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(entry + b"\2", entry + bytes([kind])))


@pytest.mark.parametrize("kind", [0, 2])
def test_alpha_of_a_tiff_does_not_darken(tmp_path, rgb, kind):
    """A fourth channel that is not said to be alpha is none."""
    write_tiff(tmp_path / "a.tif", rgb, kind)
    picture = read_picture(tmp_path / "a.tif")
    assert np.array_equal(picture.rgb, rgb) and (
        picture.alpha is None if kind == 0 else np.array_equal(picture.alpha, OPACITY)
    )
    assert np.array_equal(read_rgb(tmp_path / "a.tif"), rgb)


def test_colours_that_a_tiff_stores_multiplied_by_alpha_come_back(tmp_path, rgb):
    write_tiff(tmp_path / "a.tif", np.rint(rgb * (OPACITY[..., None] / 255)).astype(np.uint8), 1)
    picture = read_picture(tmp_path / "a.tif")
    assert np.array_equal(picture.alpha, OPACITY) and np.array_equal(picture.rgb, read_rgb(tmp_path / "a.tif"))
    assert np.abs(picture.rgb[:, 2:].astype(int) - rgb[:, 2:]).max() <= 2
    assert np.array_equal(picture.rgb[:, 4], rgb[:, 4]) and not picture.rgb[:, 0].any()


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_alpha_of_a_tiff_that_does_not_name_it(tmp_path, rgb, depth):
    pixels = np.dstack([rgb[..., ::-1], OPACITY]).astype(depth) * (np.iinfo(depth).max // 255)
    cv2.imwrite(str(tmp_path / "a.tif"), pixels)
    picture = read_picture(tmp_path / "a.tif")
    assert np.array_equal(picture.rgb, rgb) and np.array_equal(picture.alpha, OPACITY)


def test_missing_files_are_image_errors(tmp_path):
    with pytest.raises(ImageError, match="nowhere.png"):
        read_rgb(tmp_path / "nowhere.png")


def test_every_grey_level_survives_the_tensor():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    tensor = to_tensor(image)
    assert tensor.min() == -1 and tensor.max() == 1 and tensor.shape == (3, 16, 16)
    assert np.array_equal(to_uint8(tensor), image)


def test_out_of_range_is_clipped():
    assert to_uint8(torch.tensor([-3.0, 3.0, 0.0]).view(3, 1, 1)).tolist() == [[[0, 255, 128]]]


def test_mask_tensor():
    assert mask_to_tensor(np.array([[True, False]])).tolist() == [[[1.0, 0.0]]]
