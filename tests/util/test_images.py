"""Reading and writing images, and their way to tensors and back."""

import cv2
import numpy as np
import pytest
import torch

from util.images import ImageError, mask_to_tensor, read_grey, read_mask, read_rgb, to_tensor, to_uint8, write_png


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
