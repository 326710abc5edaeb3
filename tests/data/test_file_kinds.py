"""Files of every kind and format are read as other programs read them, or named."""

import shutil

import numpy as np
import pytest
from helpers import photographed_hands, write_unaligned
from PIL import Image

from data.frames import find_frames, frames_in_folder
from util.images import ImageError, read_header, read_picture, read_rgb, write_png


def test_hidden_and_system_files_are_passed_over(tmp_path):
    root = write_unaligned(
        tmp_path, lambda d, n, image, _: write_png(d / f"{n}.png", image), lambda d, n, m: write_png(d / f"{n}.png", m)
    )
    for path in list((root / "trainA").glob("*.png")):
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\26\7" + b"\0" * 300)
        for folder in (".ipynb_checkpoints", "@eaDir", "__MACOSX"):
            (path.parent / folder).mkdir(exist_ok=True)
            shutil.copy(path, path.parent / folder / f"{path.stem}-checkpoint.png")
    (root / "trainA" / "Thumbs.db").write_bytes(b"x")
    assert [frame.relative for frame in find_frames(dataroot=root)["synthetic"]] == [
        f"trainA/00{i}.png" for i in range(3)
    ]


def test_formats_that_are_not_read_are_named_once(tmp_path, caplog):
    write_png(tmp_path / "a.png", photographed_hands(1)[0][0])
    for name in ("film.mp4", "b.heic", "c.heic", "notes.txt"):
        (tmp_path / name).write_bytes(b"x" * 100)
    assert len(frames_in_folder(tmp_path)) == 1
    assert caplog.text.count("2 .heic, 1 .mp4") == 1 and "notes" not in caplog.text and ".txt" not in caplog.text


KINDS = ("L", "LA", "P", "1", "CMYK", "I;16", "RGBA")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_orientation_and_size_agree_with_pillow(tmp_path, suffix, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photographed_hands(1)[0][0][:40]).save(path, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")).astype(int)
    assert read_header(path).size == expected.shape[1::-1]
    read = read_rgb(path)
    assert read.shape == expected.shape and np.abs(read - expected).max() <= 2
    assert np.array_equal(read_picture(path).rgb, read)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp"])
def test_every_kind_of_file_is_read_like_pillow_or_refused(tmp_path, suffix, kind):
    picture = Image.fromarray(photographed_hands(1)[0][0])
    picture = (
        Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
        if kind == "I;16"
        else picture.convert(kind)
    )
    path = tmp_path / f"a.{suffix}"
    try:
        picture.save(path, **({"lossless": True} if suffix == "webp" else {}))
    except (OSError, KeyError, ValueError):
        pytest.skip("no such file exists")
    read = read_picture(path)
    assert np.array_equal(read.rgb, read_rgb(path)) and read.rgb.shape == (64, 64, 3)
    if kind != "I;16" and suffix != "jpg":  # decoders of JPEG differ by a few levels
        opened = Image.open(path)
        expected = np.asarray(opened.convert("RGB")).astype(int)
        opaque = np.asarray(opened.convert("RGBA"))[..., 3] > 0
        assert np.abs(read.rgb.astype(int) - expected)[opaque].max() <= 1


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif"])
def test_truncated_files_of_every_format_are_named(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    random = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(random).save(path)
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2])
    with pytest.raises(ImageError, match=f"a.{suffix}"):
        read_rgb(path)
