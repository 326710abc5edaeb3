"""Reading frames, and the streams of training samples."""

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import KEY, draw_hand, write_hands

from data.checks import SkippedImages, check_images, invalid
from data.frames import Frame, find_frames
from data.hands import Hand, read_hand
from data.loader import on_device, stream_loader
from data.regions import HandRegions, readable, same_sized_batches
from data.unpaired import UnpairedHands
from util.images import ImageError, write_png


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_damaged_images_are_named(tmp_path, content):
    path = tmp_path / "bad_color.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="bad_color.png"):
        read_hand(Frame(path, "bad_color.png", "", "key"))
    write_png(path, np.full((20, 20, 3), KEY, np.uint8))
    with pytest.raises(ImageError, match="bad_color.png: no hand"):
        read_hand(Frame(path, "bad_color.png", "", "key"))


def test_backgrounds(tmp_path):
    image, mask = draw_hand(np.random.default_rng(0))
    write_png(tmp_path / "a_color.png", image)
    frame = Frame(tmp_path / "a_color.png", "a_color.png", "", "key")
    assert np.array_equal(read_hand(frame, background="keep").image, image)
    white = read_hand(frame).image
    assert (white[~mask] == 255).all() and np.array_equal(white[mask], image[mask])


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
    found = check_images(frames, crop_size=32, batch_size=1)
    assert [frame.image for frame in found] == [bad]
    streams = [stream_loader(make_stream(tmp_path, invalid=known), 2, num_workers=workers) for known in (found, {})]
    caplog.clear()
    batches = [
        [batch for _, batch in zip(range(6), SkippedImages({}, folder=tmp_path).watch(iter(loader)))]
        for loader in streams
    ]
    for one, two in zip(*batches):
        assert torch.equal(one["synthetic"], two["synthetic"]) and one["real_path"] == two["real_path"]
        assert not {str(bad), str(blank)} & set(one["synthetic_path"])
    told = [record.message for record in caplog.records]
    assert sum(str(bad) in message for message in told) == 1 and sum(str(blank) in message for message in told) == 2
    assert (tmp_path / "skipped.txt").read_text().count("\n") == 2


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(b""), "an empty file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "truncated"),
        (lambda path: path.write_bytes(b"GIF89a" + bytes(50)), "not an image of a known format"),
        (lambda path: path.write_bytes(sized_anew(path, 1 << 20)), "at most 67,108,864"),
        (lambda path: (path.unlink(), path.symlink_to("/nowhere")), "No such file"),
        (lambda path: write_png(path, np.ones((20, 30), bool)), "a mask of 30x20 for an image of 96x96"),
    ],
    ids=["empty", "truncated", "gif", "bomb", "link", "size"],
)
def test_each_fault_has_its_reason(tmp_path, spoil, reason):
    write_hands(tmp_path, frames=1)
    frame = find_frames(dataroot=tmp_path)["real"][0]
    assert invalid(frame) is None
    spoil(frame.mask)
    assert reason in invalid(frame) and str(frame.mask) in invalid(frame)
    with pytest.raises(ImageError, match="image_0_mask.png") as error:
        read_hand(frame)
    assert reason in str(error.value)


def sized_anew(path: Path, side: int) -> bytes:
    """A PNG's bytes with another width and height in its header."""
    whole = path.read_bytes()
    header = b"IHDR" + side.to_bytes(4, "big") * 2 + whole[24:29]
    return whole[:12] + header + zlib.crc32(header).to_bytes(4, "big") + whole[33:]


def test_a_camera_s_bytes_behind_a_jpeg_are_no_fault(tmp_path):
    import cv2

    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), draw_hand(np.random.default_rng(0))[0])
    frame = Frame(path, "a.jpg", "", "none")
    whole = path.read_bytes()
    for tail in (b"", bytes(10), bytes(200_000)):
        path.write_bytes(whole + tail)
        assert invalid(frame) is None and read_hand(frame).image.shape == (96, 96, 3)
    path.write_bytes(whole[:-30])
    assert "truncated" in invalid(frame)


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
    reason = invalid(next(frame for frame in frames if frame.image.parent == odd))
    assert "\n" not in reason and reason.encode()


def test_only_bad_images_is_an_error(tmp_path):
    write_hands(tmp_path, frames=1)
    for path in (tmp_path / "SynthHands_Release").rglob("*_color.png"):
        path.write_bytes(b"")
    with pytest.raises(ImageError, match="cannot be used"):
        make_stream(tmp_path)[0]


def test_ranks_and_resumed_streams_share_out_the_samples():
    class Numbers(torch.utils.data.Dataset):
        def __getitem__(self, k: int) -> dict:
            return {"k": torch.tensor(k)}

    def numbers(steps: int, **place) -> list[int]:
        batches = stream_loader(Numbers(), 2, num_workers=0, **place)
        return [k for _, batch in zip(range(steps), batches) for k in batch["k"].tolist()]

    whole = numbers(6)
    assert whole == list(range(12))
    assert numbers(3, start_step=3) == whole[6:]
    ranks = [numbers(3, rank=r, world_size=2) for r in range(2)]
    assert sorted(ranks[0] + ranks[1]) == whole and not set(ranks[0]) & set(ranks[1])


def test_workers_do_not_change_the_stream(hands_root):
    batches = []
    for workers in (0, 2):
        loader = iter(stream_loader(make_stream(hands_root), 2, num_workers=workers))
        batches.append([next(loader) for _ in range(4)])
        del loader
    for plain, worked in zip(*batches):
        assert torch.equal(plain["synthetic"], worked["synthetic"]) and plain["real_path"] == worked["real_path"]


def test_unreadable_regions_are_skipped_aloud(tmp_path, caplog):
    write_hands(tmp_path, frames=1)
    bad = sorted((tmp_path / "SynthHands_Release").rglob("*_color.png"))[1]
    bad.write_bytes(b"")
    regions = HandRegions(find_frames(dataroot=tmp_path)["synthetic"], crop=64)
    assert [index for index, _ in readable(regions)] == [0, 2, 3]
    assert str(bad) in caplog.text


def test_mixed_sizes_are_batched_with_their_like():
    sides = {0: 4, 1: 4, 3: 4, 4: 8, 5: 4}
    stream = ((k, Hand(np.zeros((side, side, 3), np.uint8), np.ones((side, side), bool))) for k, side in sides.items())
    assert [indices for indices, _ in same_sized_batches(stream, 2)] == [[0, 1], [3], [4], [5]]


def test_real_hands_are_read(real_hands):
    frames = find_frames(dataroot=real_hands)
    for domain, found in frames.items():
        for frame in found[:: max(1, len(found) // 10)]:
            hand = read_hand(frame)
            assert 0.02 < hand.mask.mean() < 0.7, (domain, frame.image)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_arrive_on_the_device_unchanged(hands_root):
    stream = make_stream(hands_root)
    batches = on_device(iter(stream_loader(stream, 4, num_workers=1)), torch.device("cuda"))
    for step in range(20):
        batch = next(batches)
        torch.cuda._sleep(10**7)
        assert batch["real"].is_cuda
        assert all(torch.equal(batch["real"][i].cpu(), stream[4 * step + i]["real"]) for i in range(4))
