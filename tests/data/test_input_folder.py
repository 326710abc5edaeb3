"""Folders to translate: which images are sources, what is kept around the hand, and names of outputs."""

from pathlib import Path

import numpy as np
import pytest
from helpers import KEY, photographed_hands

from data.frames import Reading, find_frames, frames_in_folder
from data.hands import read_hand, read_source
from data.masks.sources import MaskFolders
from data.regions import HandRegions, compose
from util.errors import UsageError
from util.images import read_picture, write_png
from util.results.write import output_names


def test_published_data_sets_in_a_folder(tmp_path, caplog):
    image, mask = photographed_hands(1)[0]
    keyed = np.where(mask[..., None], image, np.uint8(KEY))
    here = tmp_path / "male_noobject" / "seq01"
    for folder in (here, tmp_path / "male_object" / "seq01"):
        write_png(folder / "0_color.png", keyed)
        write_png(folder / "0_color_on_depth.png", np.roll(keyed, 3, axis=1))
        write_png(folder / "0_mask.png", np.roll(mask, 9, axis=0))
        write_png(folder / "0_depth.png", mask)
    frames = {frame.relative: frame for frame in frames_in_folder(tmp_path)}
    assert sorted(frames) == [f"male_noobject/seq01/0_color{view}.png" for view in ("", "_on_depth")]
    assert "--objects takes them" in caplog.text
    assert np.array_equal(read_hand(frames["male_noobject/seq01/0_color.png"]).mask, np.roll(mask, 9, axis=0))
    on_depth = read_hand(frames["male_noobject/seq01/0_color_on_depth.png"])
    assert np.array_equal(on_depth.mask, np.roll(mask, 3, axis=1))
    assert len(frames_in_folder(tmp_path, Reading(objects=True))) == 4
    assert len(frames_in_folder(tmp_path / "male_object")) == 2  # named itself, it is asked for


def test_masks_that_fit_no_image_are_refused(tmp_path):
    image, mask = photographed_hands(1)[0]
    for name in ("one", "two"):
        write_png(tmp_path / "in" / f"{name}.png", image)
    write_png(tmp_path / "masks" / "three.png", mask)
    reading = Reading(masks=tmp_path / "masks")
    for given in (tmp_path / "in", tmp_path / "in" / "one.png"):
        with pytest.raises(UsageError, match=r"fits none of .* image.*one.*\.png"):
            frames_in_folder(given, reading)
    write_png(tmp_path / "masks" / "two.png", mask)
    assert [frame.mask is None for frame in frames_in_folder(tmp_path / "in", reading)] == [True, False]


def test_one_image_and_what_is_none(tmp_path):
    image, mask = photographed_hands(1)[0]
    write_png(tmp_path / "a" / "x.png", image)
    write_png(tmp_path / "a_masks" / "x.png", mask)
    (frame,) = frames_in_folder(tmp_path / "a" / "x.png")
    assert frame.relative == "x.png" and np.array_equal(read_hand(frame).mask, mask)
    (tmp_path / "film.mp4").write_bytes(b"x" * 100)
    with pytest.raises(UsageError, match="film.mp4.*PNG, JPEG, WebP, TIFF and BMP"):
        frames_in_folder(tmp_path / "film.mp4")


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("crop", [None, 48, 96])
def test_what_is_kept_outside_the_hand_is_kept_to_the_last_bit(tmp_path, depth, channels, crop):
    random = np.random.default_rng(0)
    pixels = random.integers(0, np.iinfo(depth).max, (64, 64, channels), dtype=depth)
    mask = photographed_hands(1)[0][1]
    write_png(tmp_path / "a.png", pixels)
    write_png(tmp_path / "a_mask.png", mask)
    region = HandRegions(frames_in_folder(tmp_path), crop=crop, keep_source=True)[0]
    assert (region.image[~region.mask] == 255).all()  # what the network sees
    painted = np.full(region.image.shape, 77, np.uint8)
    kept = compose(painted, region, "keep")
    write_png(tmp_path / "out.png", kept)
    again = read_picture(tmp_path / "out.png").pixels
    assert again.dtype == depth and np.array_equal(again, kept)
    x, y, width, height = region.box
    inside = np.s_[max(0, y) : y + height, max(0, x) : x + width]
    part = kept[max(0, -y) : max(0, -y) + 64, max(0, -x) : max(0, -x) + 64]
    where = mask[inside]
    assert np.array_equal(part[~where], pixels[inside][~where])
    assert (part[where][:, :3] == (77 * 257 if depth == np.uint16 else 77)).all()
    assert (compose(painted, region, "key")[~region.mask] == KEY).all()
    assert (compose(painted, region, "white")[~region.mask] == 255).all()
    clear = compose(painted, region, "transparent")
    assert clear.shape[2] == 4 and np.array_equal(clear[..., 3] == 255, region.mask)


def test_scaling_takes_image_and_mask_along_and_mixes_no_background_in(tmp_path):
    image, mask = photographed_hands(1, size=96)[0]
    flat = np.where(mask[..., None], np.uint8((200, 120, 90)), np.uint8(KEY))
    write_png(tmp_path / "a.png", flat)
    for scale in (0.5, 0.3, 2.0):
        (frame,) = frames_in_folder(tmp_path, Reading(load_scale=scale))
        source = read_source(frame)
        assert source.mask.shape == (round(96 * scale),) * 2
        assert (source.pixels[source.mask] == (200, 120, 90)).all() and (source.pixels[~source.mask] == KEY).all()
        assert abs(source.mask.mean() - mask.mean()) < 0.02


def test_at_most_so_many_images_a_domain_evenly_spaced(hands_root):
    frames = find_frames(dataroot=hands_root, reading=Reading(max_dataset_size=4))
    assert {domain: len(found) for domain, found in frames.items()} == {"synthetic": 4, "real": 4}
    assert len({frame.sequence for frame in frames["synthetic"]}) == 4


def test_output_names_are_unique_and_quick():
    from data.frames import Frame

    names = ["a.jpg", "a.png", "a.jpg.png", "b.png", *(f"d/{i}.png" for i in range(20000))]
    found = output_names([Frame(Path(name), name, "", "none") for name in names])
    assert len(set(map(str, found))) == len(names) and str(found[3]) == "b.png"


def test_masks_are_looked_up_once_a_folder(tmp_path, monkeypatch):
    """100,000 images must not list their folder of masks 100,000 times."""
    for name in range(50):
        write_png(tmp_path / "x" / f"{name}.png", np.zeros((20, 20, 3), np.uint8))
    write_png(tmp_path / "x_masks" / "7.png", np.ones((20, 20), bool))
    folders = MaskFolders(tmp_path / "x")
    listed = []
    monkeypatch.setattr("data.masks.sources.images_below", lambda folder: listed.append(folder) or folder.iterdir())
    found = [folders.find(path) for path in sorted((tmp_path / "x").iterdir())]
    assert sum(each is not None for each in found) == 1 and len(listed) <= 2
