"""Files of every kind and format are read as other programs read them, or named; images go to tensors and back."""

import errno
import os

import cv2
import numpy as np
import pytest
import torch
from helpers import photographed_hands
from PIL import Image, ImageCms, ImageOps

from util import images
from util.images import ImageError, of_disk, read_mask, read_picture, read_rgb, to_uint8, unread_parts, write_png


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)


def test_png_is_lossless_and_masks_are_binary(tmp_path, rgb):
    path = tmp_path / "new folder" / "naïve\nname.png"
    write_png(path, rgb)
    assert np.array_equal(read_rgb(path), rgb)
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # no temporary file stays
    write_png(path, rgb[..., 0] > 99)
    assert np.array_equal(read_mask(path), rgb[..., 0] > 99)
    assert set(np.unique(read_picture(path).grey)) == {0, 255}


def test_pngs_with_alpha_or_16_bits(tmp_path, rgb):
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    clear = np.dstack([bgr, np.zeros((7, 5), np.uint8)])  # alpha is dropped, not blended
    for pixels in (clear, clear.astype(np.uint16) * 257, bgr.astype(np.uint16) * 257):
        cv2.imwrite(str(tmp_path / "a.png"), pixels)
        assert np.array_equal(read_rgb(tmp_path / "a.png"), rgb)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_orientation_and_size_agree_with_pillow(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photographed_hands(1)[0][0][:40]).save(path, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")).astype(int)
    read = read_rgb(path)
    assert read.shape == expected.shape and np.abs(read - expected).max() <= 2


@pytest.mark.parametrize("kind", ["L", "LA", "P", "1", "CMYK", "I;16", "RGBA"])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp"])
def test_every_kind_of_file_is_read_like_pillow(tmp_path, suffix, kind):
    hand = Image.fromarray(photographed_hands(1)[0][0])
    deep = Image.fromarray(np.asarray(hand.convert("L")).astype(np.uint16) * 257)
    path = tmp_path / f"a.{suffix}"
    try:
        (deep if kind == "I;16" else hand.convert(kind)).save(path, **{"lossless": True} if suffix == "webp" else {})
    except (OSError, KeyError, ValueError):
        pytest.skip("no such file exists")
    read = read_rgb(path)
    assert read.shape == (64, 64, 3)
    opened = Image.open(path)
    if opened.mode == "I;16":
        assert np.array_equal(read[..., 0], np.asarray(hand.convert("L")))
    elif kind != "I;16" and suffix != "jpg":  # decoders of JPEG differ by a few levels
        opaque = np.asarray(opened.convert("RGBA"))[..., 3] > 0
        assert np.abs(read - np.asarray(opened.convert("RGB")).astype(int))[opaque].max() <= 1


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif"])
def test_missing_and_truncated_files_of_every_format_are_named(tmp_path, rgb, suffix):
    path = tmp_path / f"a.{suffix}"
    with pytest.raises(ImageError, match=f"a.{suffix}: No such file"):
        read_rgb(path)
    Image.fromarray(np.tile(rgb, (9, 9, 1))).save(path)
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2])
    with pytest.raises(ImageError, match=f"a.{suffix}"):
        read_rgb(path)


def test_every_grey_level_survives_the_tensor_and_others_are_clipped():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    tensor = images.to_tensor(image)
    assert tensor.min() == -1 and tensor.max() == 1 and tensor.shape == (3, 16, 16)
    assert np.array_equal(to_uint8(tensor), image)
    assert to_uint8(torch.tensor([-3.0, 3.0, 0.0]).view(3, 1, 1)).tolist() == [[[0, 255, 128]]]
    assert images.mask_to_tensor(np.array([[True, False]])).tolist() == [[[1.0, 0.0]]]


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_fault_of_the_disk_is_tried_again_and_then_told_with_its_number(tmp_path, rgb, monkeypatch, number):
    write_png(tmp_path / "a.png", rgb)
    opened, faults = Image.open, []

    def flaky(*args, **kwargs):
        if faults:
            raise faults.pop()
        return opened(*args, **kwargs)

    monkeypatch.setattr(Image, "open", flaky)
    monkeypatch.setattr(images, "AGAIN", 0.0)
    faults += [OSError(number, os.strerror(number))]
    assert np.array_equal(read_rgb(tmp_path / "a.png"), rgb)
    faults += [OSError(number, os.strerror(number))] * 2
    with pytest.raises(ImageError, match=rf"a\.png: .*errno {number}") as error:
        read_rgb(tmp_path / "a.png")
    assert of_disk(error.value)
    with pytest.raises(ImageError) as error:
        read_rgb(tmp_path / "missing.png")
    assert not of_disk(error.value) and not faults


def test_parts_of_a_file_that_are_not_read_are_told(tmp_path):
    pages = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    for suffix in ("tif", "webp", "png"):  # pages, an animation, and an animation again
        pages[0].save(tmp_path / f"pages.{suffix}", save_all=True, append_images=pages[1:])
        assert unread_parts(tmp_path / f"pages.{suffix}") == ["pages or frames after the first"], suffix
    plain, wide = (ImageCms.ImageCmsProfile(ImageCms.createProfile(kind)).tobytes() for kind in ("sRGB", "LAB"))
    for profile, told in ((plain, []), (wide, ["a colour profile other than sRGB"])):
        pages[0].save(tmp_path / "a.jpg", icc_profile=profile)
        assert unread_parts(tmp_path / "a.jpg") == told
    assert unread_parts(tmp_path / "missing.png") == []
