"""Data roots in both layouts, folders of images, and what is written over them; splits."""

import json
import os
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import KEY, PHOTO, draw_hand, photographed_hands, write_hands, write_unaligned

from data.frames import Frame, Reading, find_frames, frames_in_folder
from data.hands import read_hand, read_source
from data.listing import MaskFolders
from data.samples import HandRegions
from data.splits import load_split, make_split, save_split, select, validated
from util.errors import UsageError
from util.images import ImageError, read_picture, write_png
from util.results.write import compose, output_names

IMAGE, MASK = photographed_hands(1)[0]
KEYED = np.where(MASK[..., None], IMAGE, np.uint8(KEY))


# ------------------------------------------------------------------ data roots


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
    few = find_frames(dataroot=hands_root, reading=Reading(max_dataset_size=4))  # evenly spaced
    assert {domain: len(found) for domain, found in few.items()} == {"synthetic": 4, "real": 4}
    assert len({frame.sequence for frame in few["synthetic"]}) == 4


def test_synthhands_as_published(tmp_path):
    """640x480, RGB or RGBA, deep folders, files of other kinds beside; objects only when asked for."""
    write_hands(tmp_path, frames=1)
    root = tmp_path / "SynthHands_Release"
    image, mask = draw_hand(np.random.default_rng(0), size=480)
    image = np.concatenate([image, np.full((480, 160, 3), KEY, np.uint8)], axis=1)
    folder = root / "male_noobject" / "seq07" / "cam05" / "03"
    for view in ("", "_on_depth"):
        write_png(folder / f"00000123_color{view}.png", np.dstack([image, np.full((480, 640), 255, np.uint8)]))
    cv2.imwrite(str(folder / "00000123_depth.png"), np.full((480, 640), 32001, np.uint16))
    write_png(root / "male_object" / "seq01" / "cam01" / "01" / "00000000_color.png", image)

    frames = find_frames(dataroot=tmp_path)["synthetic"]
    (frame,) = (frame for frame in frames if "seq07" in frame.relative)
    assert frame.relative == "male_noobject/seq07/cam05/03/00000123_color.png"
    assert not any("_object" in frame.relative for frame in frames)
    hand = read_hand(frame)
    assert hand.image.shape == (480, 640, 3) and (hand.image[~hand.mask] == 255).all()
    assert np.array_equal(hand.mask[:, :480], mask) and not hand.mask[:, 480:].any()
    assert len(find_frames(dataroot=tmp_path, reading=Reading(objects=True))["synthetic"]) == len(frames) + 1


def test_refined_masks_win(tmp_path):
    write_hands(tmp_path, frames=1)
    full = np.zeros((96, 96), bool)
    full[10:50, 10:50] = True
    write_png(tmp_path / "RealHands" / "user02" / "mask_refined" / "image_0_mask.png", full)
    frames = {frame.sequence: frame for frame in find_frames(dataroot=tmp_path)["real"]}
    assert [frames[user].raw for user in ("user01", "user02", "user03")] == [True, False, True]
    assert np.array_equal(read_hand(frames["user02"]).mask, full)


def test_unaligned_layout(tmp_path):
    names, random = ("a", "b", "c d é"), np.random.default_rng(0)
    for folder in ("trainA", "trainB", "testA", "testB"):
        for name in names:
            write_png(tmp_path / folder / f"{name}.png", draw_hand(random, background=PHOTO)[0])
    mask = np.zeros((96, 96), bool)
    mask[20:40, 20:40] = True
    for name in names:
        write_png(tmp_path / "trainB_masks" / f"{name}.png", mask)
    frames = find_frames(dataroot=tmp_path)
    assert Counter(frame.phase for frame in frames["synthetic"]) == {"train": 3, "test": 3}
    masked = next(frame for frame in frames["real"] if frame.relative == "trainB/a.png")
    assert np.array_equal(read_hand(masked).mask, mask)
    assert read_hand(frames["synthetic"][0]).mask.all()  # without masks the whole image is hand
    split = make_split(frames, split_by="frame", val_size=1, test_size=None, seed=0)
    assert {phase: len(names) for phase, names in split["synthetic"].items()} == {"train": 2, "val": 1, "test": 3}
    assert all(name.startswith("testA/") for name in split["synthetic"]["test"])


def test_no_data_and_roots_of_neither_layout_and_without_images_are_named(tmp_path):
    for roots in ({}, {"synth_root": tmp_path}, {"real_root": tmp_path}):
        with pytest.raises(UsageError, match="no data of its own: give --dataroot DIR"):
            find_frames(dataroot=None, **roots)
    with pytest.raises(UsageError, match="trainA") as error:
        find_frames(dataroot=tmp_path)
    assert "SynthHands_Release" in str(error.value) and str(tmp_path) in str(error.value)
    (tmp_path / "SynthHands_Release").mkdir()
    (tmp_path / "RealHands").mkdir()
    with pytest.raises(UsageError, match="no synthetic images"):
        find_frames(dataroot=tmp_path)


def test_hidden_and_system_files_are_passed_over_and_other_formats_named_once(tmp_path, caplog):
    root = write_unaligned(tmp_path)
    expected = [f"trainA/00{i}.png" for i in range(3)]
    for path in list((root / "trainA").glob("*.png")):
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\26\7" + b"\0" * 300)
        for folder in (".ipynb_checkpoints", "@eaDir", "__MACOSX"):
            (path.parent / folder).mkdir(exist_ok=True)
            shutil.copy(path, path.parent / folder / f"{path.stem}-checkpoint.png")
    for name in ("Thumbs.db", "film.mp4", "b.heic", "c.heic", "notes.txt"):
        (root / "trainA" / name).write_bytes(b"x" * 100)
    assert [frame.relative for frame in find_frames(dataroot=root)["synthetic"]] == expected
    assert caplog.text.count("2 .heic, 1 .mp4") == 1 and "notes" not in caplog.text and ".txt" not in caplog.text


def test_odd_names_and_folders(tmp_path, caplog):
    """Spaces, newlines, bytes that are no text, empty folders, links in circles and to nowhere."""
    write_hands(tmp_path, frames=1)
    root = tmp_path / "SynthHands_Release"
    odd = root / "a b" / "new\nline" / os.fsdecode(b"\xff\xe9")
    write_png(odd / "0_color.png", KEYED)
    (root / "empty").mkdir()
    (root / "a b" / "loop").symlink_to(root)
    (root / "a b" / "gone_color.png").symlink_to(root / "nowhere.png")
    frames = find_frames(dataroot=tmp_path)["synthetic"]
    (frame,) = (frame for frame in frames if frame.image.parent == odd)
    assert len(frames) == 5 and "gone_color.png" in caplog.text and "leads nowhere" in caplog.text
    (odd / "0_color.png").write_bytes(b"")
    with pytest.raises(ImageError) as error:
        read_hand(frame)
    assert "\n" not in str(error.value) and str(error.value).encode()


# ------------------------------------------------------------------ folders to translate


def test_published_data_sets_in_a_folder(tmp_path, caplog):
    here = tmp_path / "male_noobject" / "seq01"
    for folder in (here, tmp_path / "male_object" / "seq01"):
        write_png(folder / "0_color.png", KEYED)
        write_png(folder / "0_color_on_depth.png", np.roll(KEYED, 3, axis=1))
        write_png(folder / "0_mask.png", np.roll(MASK, 9, axis=0))
        write_png(folder / "0_depth.png", MASK)
    colour, on_depth = sorted(frames_in_folder(tmp_path), key=lambda frame: len(frame.relative))
    assert colour.relative == "male_noobject/seq01/0_color.png"
    assert on_depth.relative == "male_noobject/seq01/0_color_on_depth.png"
    assert "--objects takes them" in caplog.text
    assert np.array_equal(read_hand(colour).mask, np.roll(MASK, 9, axis=0))
    assert np.array_equal(read_hand(on_depth).mask, np.roll(MASK, 3, axis=1))
    assert len(frames_in_folder(tmp_path, Reading(objects=True))) == 4
    assert len(frames_in_folder(tmp_path / "male_object")) == 2  # named itself, it is asked for


def test_masks_that_fit_no_image_are_refused(tmp_path):
    for name in ("one", "two"):
        write_png(tmp_path / "in" / f"{name}.png", IMAGE)
    write_png(tmp_path / "masks" / "three.png", MASK)
    reading = Reading(masks=tmp_path / "masks")
    for given in (tmp_path / "in", tmp_path / "in" / "one.png"):
        with pytest.raises(UsageError, match=r"fits none of .* image.*one.*\.png"):
            frames_in_folder(given, reading)
    write_png(tmp_path / "masks" / "two.png", MASK)
    assert [frame.mask is None for frame in frames_in_folder(tmp_path / "in", reading)] == [True, False]


def test_one_image_and_what_is_none(tmp_path):
    write_png(tmp_path / "a" / "x.png", IMAGE)
    write_png(tmp_path / "a_masks" / "x.png", MASK)
    (frame,) = frames_in_folder(tmp_path / "a" / "x.png")
    assert frame.relative == "x.png" and np.array_equal(read_hand(frame).mask, MASK)
    (tmp_path / "film.mp4").write_bytes(b"x" * 100)
    with pytest.raises(UsageError, match="film.mp4.*PNG, JPEG, WebP, TIFF and BMP"):
        frames_in_folder(tmp_path / "film.mp4")


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("crop", [None, 48, 96])
def test_what_is_kept_outside_the_hand_is_kept_to_the_last_bit(tmp_path, depth, channels, crop):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(depth).max, (64, 64, channels), dtype=depth)
    write_png(tmp_path / "a.png", pixels)
    write_png(tmp_path / "a_mask.png", MASK)
    region = HandRegions(frames_in_folder(tmp_path), crop=crop)[0]
    assert (region.image[~region.mask] == 255).all()  # what the network sees
    painted = np.full(region.image.shape, 77, np.uint8)
    kept = compose(painted, region, "keep")
    write_png(tmp_path / "out.png", kept)
    again = read_picture(tmp_path / "out.png").pixels
    assert again.dtype == depth and np.array_equal(again, kept)
    x, y, width, height = region.box
    inside = np.s_[max(0, y) : y + height, max(0, x) : x + width]
    part, where = kept[max(0, -y) : max(0, -y) + 64, max(0, -x) : max(0, -x) + 64], MASK[inside]
    assert np.array_equal(part[~where], pixels[inside][~where])
    assert (part[where][:, :3] == (77 * 257 if depth == np.uint16 else 77)).all()
    assert (compose(painted, region, "key")[~region.mask] == KEY).all()
    assert (compose(painted, region, "white")[~region.mask] == 255).all()
    clear = compose(painted, region, "transparent")
    assert clear.shape[2] == 4 and np.array_equal(clear[..., 3] == 255, region.mask)


def test_scaling_takes_image_and_mask_along_and_mixes_no_background_in(tmp_path):
    mask = photographed_hands(1, size=96)[0][1]
    write_png(tmp_path / "a.png", np.where(mask[..., None], np.uint8((200, 120, 90)), np.uint8(KEY)))
    for scale in (0.5, 0.3, 2.0):
        (frame,) = frames_in_folder(tmp_path, Reading(load_scale=scale))
        source = read_source(frame)
        assert source.mask.shape == (round(96 * scale),) * 2
        assert (source.pixels[source.mask] == (200, 120, 90)).all() and (source.pixels[~source.mask] == KEY).all()
        assert abs(source.mask.mean() - mask.mean()) < 0.02


def test_output_names_are_unique_and_quick():
    names = ["a.jpg", "a.png", "a.jpg.png", "b.png", *(f"d/{i}.png" for i in range(20000))]
    found = output_names([Frame(Path(name), name, "") for name in names])
    assert len(set(map(str, found))) == len(names) and str(found[3]) == "b.png"


def test_masks_are_looked_up_once_a_folder(tmp_path, monkeypatch):
    """100,000 images must not list their folder of masks 100,000 times."""
    images, listed = [tmp_path / "x" / f"{name}.png" for name in range(50)], []
    (tmp_path / "x").mkdir()
    write_png(tmp_path / "x_masks" / "7.png", MASK)
    folders = MaskFolders(tmp_path / "x")
    monkeypatch.setattr("data.listing.images_below", lambda folder: listed.append(folder) or folder.iterdir())
    assert sum(folders.find(image) is not None for image in images) == 1 and len(listed) <= 2


# ------------------------------------------------------------------ splits


def draw(frames, split_by="frame", val_size=2, test_size=3, seed=0):
    return make_split(frames, split_by=split_by, val_size=val_size, test_size=test_size, seed=seed)


@pytest.mark.parametrize("split_by", ["frame", "sequence"])
def test_split_is_disjoint_complete_and_seeded(hands_root, split_by):
    frames = find_frames(dataroot=hands_root)
    split = draw(frames, split_by)
    for domain, parts in split.items():
        phases = {name: phase for phase, names in parts.items() for name in names}
        assert sorted(phases) == sorted(frame.relative for frame in frames[domain])
        assert len(phases) == sum(map(len, parts.values()))
        of_sequence = defaultdict(set)
        for frame in frames[domain]:
            of_sequence[frame.sequence].add(phases[frame.relative])
        assert split_by == "frame" or all(len(each) == 1 for each in of_sequence.values())
    assert split == draw(frames, split_by) != draw(frames, split_by, seed=1)
    if split_by == "frame":
        assert {phase: len(names) for phase, names in split["synthetic"].items()} == {"train": 7, "val": 2, "test": 3}
    with pytest.raises(UsageError, match="--test_size"):
        draw(frames, split_by, val_size=9, test_size=9)


def test_validation_reads_no_more_than_it_was_asked_for(hands_root):
    frames = find_frames(dataroot=hands_root)
    whole = select(frames, draw(frames, "sequence", test_size=1), "val")
    assert all(len(part) > 2 for part in whole.values())  # whole sequences
    assert validated(whole, 2) == {domain: [part[0], part[-1]] for domain, part in whole.items()}
    assert validated(whole, None) == validated(whole, 1000) == whole
    assert validated(whole, 0) == {domain: [] for domain in whole}


def test_split_file_round_trip_and_selection(hands_root, tmp_path):
    frames = find_frames(dataroot=hands_root)
    split, file = draw(frames), tmp_path / "splits.json"
    save_split(file, split)
    assert load_split(file) == split
    assert [frame.relative for frame in select(frames, split, "test")["real"]] == split["real"]["test"]
    assert sum(len(part) for part in select(frames, split, "all").values()) == 21
    file.write_text(json.dumps({"synthetic": {}}))
    with pytest.raises(UsageError, match="damaged"):
        load_split(file)
