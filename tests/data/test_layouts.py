"""Data roots in both layouts, and folders of images, become frames."""

from collections import Counter

import numpy as np
import pytest
from helpers import KEY, draw_hand, write_hands

from data.frames import Reading, find_frames
from data.hands import read_hand
from data.splits import make_split
from util.errors import UsageError
from util.images import write_png


def test_hands_layout(hands_root):
    frames = find_frames(dataroot=hands_root)
    assert len(frames["synthetic"]) == 12 and len(frames["real"]) == 9
    assert frames["synthetic"][0].relative == "female_noobject/seq01/cam01/01/00000000_color.png"
    assert {frame.sequence for frame in frames["synthetic"]} == {
        f"{gender}_noobject/seq0{n}" for gender in ("female", "male") for n in (1, 2)
    }
    assert {frame.sequence for frame in frames["real"]} == {"user01", "user02", "user03"}
    separate = {"synth_root": hands_root / "SynthHands_Release", "real_root": hands_root / "RealHands"}
    assert find_frames(dataroot=None, **separate) == frames


def test_synthhands_as_published(tmp_path):
    """640x480, RGB or RGBA, deep folders, files of other kinds beside; objects only when asked for."""
    import cv2

    write_hands(tmp_path, frames=1)
    root = tmp_path / "SynthHands_Release"
    image, mask = draw_hand(np.random.default_rng(0), size=480)
    image = np.concatenate([image, np.full((480, 160, 3), KEY, np.uint8)], axis=1)
    folder = root / "male_noobject" / "seq07" / "cam05" / "03"
    folder.mkdir(parents=True)
    rgba = np.dstack([image[..., ::-1], np.full(image.shape[:2], 255, np.uint8)])
    cv2.imwrite(str(folder / "00000123_color.png"), rgba)
    cv2.imwrite(str(folder / "00000123_color_on_depth.png"), rgba)
    cv2.imwrite(str(folder / "00000123_depth.png"), np.full((480, 640), 32001, np.uint16))
    write_png(root / "male_object" / "seq01" / "cam01" / "01" / "00000000_color.png", image)

    frames = find_frames(dataroot=tmp_path)["synthetic"]
    assert [f.relative for f in frames if "seq07" in f.relative] == ["male_noobject/seq07/cam05/03/00000123_color.png"]
    assert not any("_object" in f.relative for f in frames)
    hand = read_hand(next(f for f in frames if "seq07" in f.relative))
    assert hand.image.shape == (480, 640, 3)
    assert np.array_equal(hand.mask[:, :480], mask) and not hand.mask[:, 480:].any()
    assert (hand.image[~hand.mask] == 255).all()

    objects = find_frames(dataroot=tmp_path, reading=Reading(objects=True))["synthetic"]
    assert len(objects) == len(frames) + 1


def test_refined_masks_win(tmp_path):
    write_hands(tmp_path, frames=1)
    full = np.zeros((96, 96), bool)
    full[10:50, 10:50] = True
    write_png(tmp_path / "RealHands" / "user02" / "mask_refined" / "image_0_mask.png", full)
    frames = {frame.sequence: frame for frame in find_frames(dataroot=tmp_path)["real"]}
    assert [frames[user].mask_kind for user in ("user01", "user02", "user03")] == ["raw", "file", "raw"]
    assert np.array_equal(read_hand(frames["user02"]).mask, full)


def test_unaligned_layout(tmp_path):
    random = np.random.default_rng(0)
    for folder in ("trainA", "trainB", "testA", "testB"):
        for name in ("a", "b", "c d é"):
            write_png(tmp_path / folder / f"{name}.png", draw_hand(random, background=(90, 160, 90))[0])
    mask = np.zeros((96, 96), bool)
    mask[20:40, 20:40] = True
    for name in ("a", "b", "c d é"):
        write_png(tmp_path / "trainB_masks" / f"{name}.png", mask)
    frames = find_frames(dataroot=tmp_path)
    assert Counter(frame.phase for frame in frames["synthetic"]) == {"train": 3, "test": 3}
    masked = next(frame for frame in frames["real"] if frame.relative == "trainB/a.png")
    assert np.array_equal(read_hand(masked).mask, mask)
    assert read_hand(frames["synthetic"][0]).mask.all()  # without masks the whole image is hand
    split = make_split(frames, split_by="frame", val_size=1, test_size=None, seed=0)
    assert {phase: len(names) for phase, names in split["synthetic"].items()} == {"train": 2, "val": 1, "test": 3}
    assert all(name.startswith("testA/") for name in split["synthetic"]["test"])


def test_roots_of_neither_layout_and_without_images_are_named(tmp_path):
    with pytest.raises(UsageError, match="trainA") as error:
        find_frames(dataroot=tmp_path)
    assert "SynthHands_Release" in str(error.value) and str(tmp_path) in str(error.value)
    (tmp_path / "SynthHands_Release").mkdir()
    (tmp_path / "RealHands").mkdir()
    with pytest.raises(UsageError, match="no synthetic images"):
        find_frames(dataroot=tmp_path)
