"""Reading data roots, splitting them, and cutting crops."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import KEY, draw_hand, write_hands

from data.frames import Frame, Reading, find_frames
from data.hands import Hand, read_hand
from data.input_folder import frames_in_folder
from data.loader import StreamSampler, stream_loader
from data.regions import HandRegions, readable, same_sized_batches
from data.scan import LeftOut, fault, scan
from data.splits import load_split, make_split, save_split, select, validated
from data.transforms import centred_hand_crop, flip, random_hand_crop
from data.unpaired import UnpairedHands
from util.errors import UsageError
from util.images import ImageError, write_png

# ------------------------------------------------------------------ layouts


def test_hands_layout(hands_root):
    frames = find_frames(dataroot=hands_root)
    assert len(frames["synthetic"]) == 12 and len(frames["real"]) == 9
    assert frames["synthetic"][0].relative == "female_noobject/seq01/cam01/01/00000000_color.png"
    assert {frame.sequence for frame in frames["synthetic"]} == {
        f"{gender}_noobject/seq0{n}" for gender in ("female", "male") for n in (1, 2)
    }
    assert {frame.sequence for frame in frames["real"]} == {"user01", "user02", "user03"}


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


def test_separate_roots(hands_root, tmp_path):
    frames = find_frames(
        dataroot=None, synth_root=hands_root / "SynthHands_Release", real_root=hands_root / "RealHands"
    )
    assert len(frames["synthetic"]) == 12 and len(frames["real"]) == 9


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


def test_a_root_of_neither_layout_is_named_with_the_trees_expected(tmp_path):
    with pytest.raises(UsageError, match="trainA") as error:
        find_frames(dataroot=tmp_path)
    assert "SynthHands_Release" in str(error.value) and str(tmp_path) in str(error.value)


def test_empty_domain_is_an_error(tmp_path):
    (tmp_path / "SynthHands_Release").mkdir()
    (tmp_path / "RealHands").mkdir()
    with pytest.raises(UsageError, match="no synthetic images"):
        find_frames(dataroot=tmp_path)


def test_frames_in_a_folder(tmp_path):
    random = np.random.default_rng(0)
    keyed, mask = draw_hand(random)
    write_png(tmp_path / "x" / "0_color.png", keyed)
    write_png(tmp_path / "x" / "0_depth.png", keyed)
    write_png(tmp_path / "y" / "photo.png", draw_hand(random, background=(90, 160, 90))[0])
    write_png(tmp_path / "y" / "other.png", keyed)
    write_png(tmp_path / "y" / "other_mask.png", ~mask)
    frames = {frame.relative: frame for frame in frames_in_folder(tmp_path)}
    assert sorted(frames) == ["x/0_color.png", "y/other.png", "y/photo.png"]
    assert np.array_equal(read_hand(frames["x/0_color.png"]).mask, mask)
    assert np.array_equal(read_hand(frames["y/other.png"]).mask, ~mask)
    assert read_hand(frames["y/photo.png"]).mask.all()


# ------------------------------------------------------------------ reading


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_damaged_images_are_named(tmp_path, content):
    path = tmp_path / "bad_color.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="bad_color.png"):
        read_hand(Frame(path, "bad_color.png", "", "key"))


def test_mask_of_another_size_is_named(tmp_path):
    write_png(tmp_path / "a.png", np.zeros((20, 30, 3), np.uint8))
    write_png(tmp_path / "m.png", np.ones((20, 20), bool))
    with pytest.raises(ImageError, match="20x20 for an image of 30x20"):
        read_hand(Frame(tmp_path / "a.png", "a.png", "", "file", tmp_path / "m.png"))


def test_frame_without_a_hand_is_named(tmp_path):
    write_png(tmp_path / "a_color.png", np.full((20, 20, 3), KEY, np.uint8))
    with pytest.raises(ImageError, match="no hand"):
        read_hand(Frame(tmp_path / "a_color.png", "a_color.png", "", "key"))


def test_backgrounds(tmp_path):
    image, mask = draw_hand(np.random.default_rng(0))
    write_png(tmp_path / "a_color.png", image)
    frame = Frame(tmp_path / "a_color.png", "a_color.png", "", "key")
    assert np.array_equal(read_hand(frame, background="keep").image, image)
    white = read_hand(frame).image
    assert (white[~mask] == 255).all() and np.array_equal(white[mask], image[mask])


# ------------------------------------------------------------------ splits


@pytest.mark.parametrize("split_by", ["frame", "sequence"])
def test_split_is_disjoint_complete_and_seeded(hands_root, split_by):
    frames = find_frames(dataroot=hands_root)
    make = lambda seed: make_split(frames, split_by=split_by, val_size=2, test_size=3, seed=seed)  # noqa: E731
    split = make(0)
    for domain, parts in split.items():
        names = [name for phase in parts.values() for name in phase]
        assert sorted(names) == sorted(frame.relative for frame in frames[domain])
        assert len(set(names)) == len(names)
    assert split == make(0)
    assert split != make(1)


def test_split_by_frame_has_the_sizes_asked_for(hands_root):
    split = make_split(find_frames(dataroot=hands_root), split_by="frame", val_size=2, test_size=3, seed=0)
    assert {phase: len(names) for phase, names in split["synthetic"].items()} == {"train": 7, "val": 2, "test": 3}


def test_split_by_sequence_keeps_sequences_whole(hands_root):
    frames = find_frames(dataroot=hands_root)
    split = make_split(frames, split_by="sequence", val_size=1, test_size=1, seed=0)
    for domain, found in frames.items():
        phase_of = {name: phase for phase, names in split[domain].items() for name in names}
        by_sequence = {}
        for frame in found:
            by_sequence.setdefault(frame.sequence, set()).add(phase_of[frame.relative])
        assert all(len(phases) == 1 for phases in by_sequence.values())


def test_validation_reads_no_more_than_it_was_asked_for(hands_root):
    frames = find_frames(dataroot=hands_root)
    split = make_split(frames, split_by="sequence", val_size=2, test_size=1, seed=0)
    whole = select(frames, split, "val")
    assert all(len(part) > 2 for part in whole.values())  # whole sequences
    read = validated(whole, 2)
    assert {domain: [part[0], part[-1]] for domain, part in whole.items()} == read
    assert validated(whole, None) == validated(whole, 1000) == whole
    assert validated(whole, 0) == {domain: [] for domain in whole}


def test_split_that_leaves_nothing_to_train_on(hands_root):
    with pytest.raises(UsageError, match="--test_size"):
        make_split(find_frames(dataroot=hands_root), split_by="frame", val_size=5, test_size=5, seed=0)


def test_split_file_round_trip_and_selection(hands_root, tmp_path):
    frames = find_frames(dataroot=hands_root)
    split = make_split(frames, split_by="frame", val_size=2, test_size=3, seed=0)
    save_split(tmp_path / "splits.json", split)
    assert load_split(tmp_path / "splits.json") == split
    assert [f.relative for f in select(frames, split, "test")["real"]] == split["real"]["test"]
    assert sum(len(part) for part in select(frames, split, "all").values()) == 21
    (tmp_path / "splits.json").write_text(json.dumps({"synthetic": {}}))
    with pytest.raises(UsageError, match="damaged"):
        load_split(tmp_path / "splits.json")


# ------------------------------------------------------------------ crops


def test_random_crops_are_centred_on_the_hand():
    mask = np.zeros((200, 200), bool)
    mask[60:140, 60:140] = True
    image = np.full((200, 200, 3), 255, np.uint8)
    image[mask] = 10
    random = np.random.default_rng(0)
    for _ in range(50):
        crop = random_hand_crop(Hand(image, mask), 64, random)
        assert crop.image.shape == (64, 64, 3) and crop.mask.shape == (64, 64)
        assert crop.mask[32, 32]
        assert np.array_equal(crop.mask, (crop.image == 10).all(-1))  # image and mask went through together


def test_small_and_bordering_hands_are_cropped_inside_the_image():
    image = np.zeros((50, 300, 3), np.uint8)
    mask = np.zeros((50, 300), bool)
    mask[2, 298] = True  # vanishes under erosion; at the border; image lower than the crop
    crop = random_hand_crop(Hand(image, mask), 128, np.random.default_rng(0))
    assert crop.mask.sum() == 1
    assert (crop.image[:39] == 255).all() and (crop.image[39:89] == 0).all()


def test_crop_of_an_empty_mask_is_the_middle():
    crop = random_hand_crop(
        Hand(np.zeros((100, 100, 3), np.uint8), np.zeros((100, 100), bool)), 32, np.random.default_rng(0)
    )
    assert crop.image.shape == (32, 32, 3)


def test_centred_crop():
    mask = np.zeros((480, 640), bool)
    mask[100:200, 300:420] = True
    crop = centred_hand_crop(Hand(np.zeros((480, 640, 3), np.uint8), mask), 256)
    rows, columns = (np.flatnonzero(crop.mask.any(axis=axis)) for axis in (1, 0))
    assert (rows[0], rows[-1]) == (78, 177) and (columns[0], columns[-1]) == (68, 187)


def test_flip_mirrors_both():
    hand = Hand(np.arange(12, dtype=np.uint8).reshape(2, 2, 3), np.array([[True, False], [False, False]]))
    mirrored = flip(hand)
    assert mirrored.mask.tolist() == [[False, True], [False, False]]
    assert mirrored.image[0, 1].tolist() == [0, 1, 2]


# ------------------------------------------------------------------ streams


def make_stream(root: Path, **changes) -> UnpairedHands:
    return UnpairedHands(find_frames(dataroot=root), **{"crop_size": 32, "seed": 3, **changes})


def test_samples_have_their_documented_form(hands_root):
    sample = make_stream(hands_root)[0]
    for domain in ("synthetic", "real"):
        image, mask = sample[domain], sample[f"{domain}_mask"]
        assert image.shape == (3, 32, 32) and image.min() >= -1 and image.max() <= 1
        assert mask.shape == (1, 32, 32) and set(mask.unique().tolist()) <= {0.0, 1.0}
        assert (image.masked_select(mask.expand(3, -1, -1) == 0) == 1).all()  # white
        assert os.path.exists(sample[f"{domain}_path"])


def test_a_sample_is_a_function_of_seed_and_number(hands_root):
    again, other = make_stream(hands_root), make_stream(hands_root, seed=4)
    first = make_stream(hands_root)
    picked = [first[k] for k in (5, 0, 17)]
    for k, sample in zip((5, 0, 17), picked):
        assert all(torch.equal(sample[key], again[k][key]) for key in ("synthetic", "real"))
    assert any(not torch.equal(first[k]["real"], other[k]["real"]) for k in range(5))


def test_each_pass_shows_every_image_once_and_pairs_afresh(hands_root):
    stream = make_stream(hands_root)
    assert stream.epoch_length == 12
    pairs = []
    for epoch in range(3):
        samples = [stream[k] for k in range(12 * epoch, 12 * epoch + 12)]
        assert len({s["synthetic_path"] for s in samples}) == 12
        pairs.append({(s["synthetic_path"], s["real_path"]) for s in samples})
    real = [stream[k]["real_path"] for k in range(18)]
    assert len(set(real[:9])) == len(set(real[9:])) == 9
    assert len(pairs[0] & pairs[1]) < 6  # unpaired: hardly any pair meets again


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_replaced_and_reported_once(tmp_path, caplog, workers):
    """Found by the scan or when it is read, by one process or by several: the samples are the same."""
    write_hands(tmp_path, frames=1)
    bad, blank = sorted((tmp_path / "SynthHands_Release").rglob("*_color.png"))[:2]
    bad.write_bytes(b"\x89PNG")
    write_png(blank, np.full((96, 96, 3), KEY, np.uint8))  # whole, but without a hand: no header tells
    frames = find_frames(dataroot=tmp_path)
    faults = scan(frames, strict=False)
    assert [frame.image for frame in faults] == [bad]
    streams = [stream_loader(make_stream(tmp_path, bad=found), 2, num_workers=workers) for found in (faults, {})]
    caplog.clear()
    batches = [
        [batch for _, batch in zip(range(6), LeftOut({}, folder=tmp_path, strict=False).watch(iter(loader)))]
        for loader in streams
    ]
    for one, two in zip(*batches):
        assert torch.equal(one["synthetic"], two["synthetic"]) and one["real_path"] == two["real_path"]
        assert not {str(bad), str(blank)} & set(one["synthetic_path"])
    told = [record.message for record in caplog.records]
    assert sum(str(bad) in message for message in told) == 1 and sum(str(blank) in message for message in told) == 2
    assert (tmp_path / "left_out.txt").read_text().count("\n") == 2
    with pytest.raises(UsageError, match="--no-strict.*00000000_color.png"):
        scan(frames, strict=True)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(b""), "an empty file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "truncated"),
        (lambda path: path.write_bytes(b"GIF89a" + bytes(50)), "not an image of a known format"),
        (lambda path: path.write_bytes(patched(path, 16, (1 << 20).to_bytes(4, "big") * 2)), "at most 67,108,864"),
        (lambda path: (path.unlink(), path.symlink_to("/nowhere")), "No such file"),
        (lambda path: write_png(path, np.ones((20, 30), bool)), "a mask of 30x20 for an image of 96x96"),
    ],
    ids=["empty", "truncated", "gif", "bomb", "link", "size"],
)
def test_each_fault_has_its_reason(tmp_path, spoil, reason):
    write_hands(tmp_path, frames=1)
    frame = find_frames(dataroot=tmp_path)["real"][0]
    assert fault(frame) is None
    spoil(frame.mask)
    assert reason in fault(frame) and str(frame.mask) in fault(frame)
    with pytest.raises(ImageError, match="image_0_mask.png"):
        read_hand(frame)


def patched(path: Path, offset: int, data: bytes) -> bytes:
    whole = path.read_bytes()
    return whole[:offset] + data + whole[offset + len(data) :]


def test_a_camera_s_bytes_behind_a_jpeg_are_no_fault(tmp_path):
    import cv2

    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), draw_hand(np.random.default_rng(0))[0])
    frame = Frame(path, "a.jpg", "", "none")
    whole = path.read_bytes()
    for tail in (b"", bytes(10), bytes(200_000)):
        path.write_bytes(whole + tail)
        assert fault(frame) is None and read_hand(frame).image.shape == (96, 96, 3)
    path.write_bytes(whole[:-30])
    assert "truncated" in fault(frame)


def test_odd_names_and_folders(tmp_path, caplog):
    """Spaces, newlines, bytes that are no text, empty folders, links in circles and to nowhere."""
    write_hands(tmp_path, frames=1)
    root = tmp_path / "SynthHands_Release"
    image = draw_hand(np.random.default_rng(0))[0]
    odd = root / "a b" / "new\nline" / os.fsdecode(b"\xff\xe9")
    write_png(odd / "0_color.png", image)
    (root / "empty").mkdir()
    (root / "a b" / "loop").symlink_to(root)
    (root / "a b" / "gone_color.png").symlink_to(root / "nowhere.png")
    frames = find_frames(dataroot=tmp_path)["synthetic"]
    assert len(frames) == 5 and sum(frame.image.parent == odd for frame in frames) == 1
    assert "gone_color.png" in caplog.text and "leads nowhere" in caplog.text
    (odd / "0_color.png").write_bytes(b"")
    reason = fault(next(frame for frame in frames if frame.image.parent == odd))
    assert "\n" not in reason and reason.encode()


def test_only_bad_images_is_an_error(tmp_path):
    write_hands(tmp_path, frames=1)
    for path in (tmp_path / "SynthHands_Release").rglob("*_color.png"):
        path.write_bytes(b"")
    with pytest.raises(ImageError, match="cannot be used"):
        make_stream(tmp_path)[0]


def test_ranks_and_resumed_samplers_share_out_the_stream():
    whole = [n for _, batch in zip(range(6), StreamSampler(2)) for n in batch]
    assert whole == list(range(12))
    resumed = [n for _, batch in zip(range(3), StreamSampler(2, start_step=3)) for n in batch]
    assert resumed == whole[6:]
    ranks = [[n for _, b in zip(range(3), StreamSampler(2, rank=r, world_size=2)) for n in b] for r in range(2)]
    assert sorted(ranks[0] + ranks[1]) == whole and not set(ranks[0]) & set(ranks[1])


def test_workers_do_not_change_the_stream(hands_root):
    batches = []
    for workers in (0, 2):
        loader = iter(stream_loader(make_stream(hands_root), 2, num_workers=workers))
        batches.append([next(loader) for _ in range(4)])
        del loader
    for plain, worked in zip(*batches):
        assert torch.equal(plain["synthetic"], worked["synthetic"]) and plain["real_path"] == worked["real_path"]


def test_mixed_sizes_are_batched_with_their_like():
    hand = lambda side: Hand(np.zeros((side, side, 3), np.uint8), np.ones((side, side), bool))  # noqa: E731
    stream = iter([(0, hand(4)), (1, hand(4)), (3, hand(4)), (4, hand(8)), (5, hand(4))])
    assert [indices for indices, _ in same_sized_batches(stream, 2)] == [[0, 1], [3], [4], [5]]


def test_unreadable_regions_are_skipped_aloud(tmp_path, caplog):
    write_hands(tmp_path, frames=1)
    bad = sorted((tmp_path / "SynthHands_Release").rglob("*_color.png"))[1]
    bad.write_bytes(b"")
    regions = HandRegions(find_frames(dataroot=tmp_path)["synthetic"], crop=64)
    assert [index for index, _ in readable(regions)] == [0, 2, 3]
    assert str(bad) in caplog.text


def test_real_hands_are_read(real_hands):
    frames = find_frames(dataroot=real_hands)
    for domain, found in frames.items():
        for frame in found[:: max(1, len(found) // 10)]:
            hand = read_hand(frame)
            assert 0.02 < hand.mask.mean() < 0.7, (domain, frame.image)
