"""Reading frames, crops of them, and the streams of training samples."""

import os
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import KEY, draw_hand, write_hands
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data import samples
from data.crops import box_around, centred_box, cut, flip, random_hand_crop
from data.frames import Frame, find_frames
from data.hands import Hand, read_hand, read_source
from data.loader import stream_loader, to_device
from data.samples import HandRegions, UnpairedHands, report_skipped, same_sized_batches
from models.translation import hand_bounds
from util.images import ImageError, write_png


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(b""), "an empty file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "truncated"),
        (lambda path: path.write_bytes(b"GIF89a" + bytes(50)), "not an image of a known format"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40)), "damaged"),
        (lambda path: path.write_bytes(sized_anew(path, 1 << 20)), "at most 67,108,864"),
        (lambda path: (path.unlink(), path.symlink_to("/nowhere")), "No such file"),
        (lambda path: write_png(path, np.ones((20, 30), bool)), "a mask of 30x20 for an image of 96x96"),
    ],
    ids=["empty", "truncated", "gif", "png", "bomb", "link", "size"],
)
def test_each_fault_has_its_reason(tmp_path, spoil, reason):
    write_hands(tmp_path, frames=1)
    frame = find_frames(dataroot=tmp_path)["real"][0]
    read_hand(frame)
    spoil(frame.mask)
    with pytest.raises(ImageError, match="image_0_mask.png") as error:
        read_hand(frame)
    assert reason in str(error.value)


def sized_anew(path: Path, side: int) -> bytes:
    """A PNG's bytes with another width and height in its header."""
    whole = path.read_bytes()
    header = b"IHDR" + side.to_bytes(4, "big") * 2 + whole[24:29]
    return whole[:12] + header + zlib.crc32(header).to_bytes(4, "big") + whole[33:]


def test_a_camera_s_bytes_behind_a_jpeg_are_no_fault(tmp_path):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), draw_hand(np.random.default_rng(0))[0])
    frame, whole = Frame(path, "a.jpg", "", mask_origin="none"), path.read_bytes()
    for tail in (b"", bytes(10), bytes(200_000)):
        path.write_bytes(whole + tail)
        assert read_hand(frame).image.shape == (96, 96, 3)
    path.write_bytes(whole[:-30])
    with pytest.raises(ImageError, match="truncated"):
        read_hand(frame)


def test_backgrounds_and_images_without_a_hand(tmp_path):
    image, mask = draw_hand(np.random.default_rng(0))
    frame = Frame(tmp_path / "a_color.png", "a_color.png", "", mask_origin="the key colour")
    write_png(frame.image, np.full((20, 20, 3), KEY, np.uint8))
    with pytest.raises(ImageError, match="a_color.png: no hand"):
        read_hand(frame)
    write_png(frame.image, image)
    assert np.array_equal(read_source(frame).pixels, image)
    white = read_hand(frame).image
    assert (white[~mask] == 255).all() and np.array_equal(white[mask], image[mask])


def test_real_hands_are_read(real_hands):
    for domain, found in find_frames(dataroot=real_hands).items():
        for frame in found[:: max(1, len(found) // 10)]:
            assert 0.02 < read_hand(frame).mask.mean() < 0.7, (domain, frame.image)


# ------------------------------------------------------------------ crops

SIDES = st.integers(1, 40)


@st.composite
def hands(draw) -> Hand:
    """An image whose red channel marks the mask, so that what goes through together can be told."""
    mask = draw(hnp.arrays(bool, (draw(SIDES), draw(SIDES)), elements=st.booleans(), fill=st.just(False)))
    image = np.full((*mask.shape, 3), 255, np.uint8)
    image[mask] = (10, 20, 30)
    return Hand(image, mask)


@given(hands(), st.integers(1, 50), st.integers(0, 2**32), st.integers(-5, 45), st.integers(-5, 45))
@settings(max_examples=150, deadline=None)
def test_crops_have_their_size_and_keep_image_and_mask_together(hand, size, seed, y, x):
    around = cut(hand, box_around(hand.mask, y, x, size, size))
    crops = [cut(hand, centred_box(hand.mask, size, size)), around, flip(around)]
    if hand.mask.any():
        crops.append(random_hand_crop(hand, size, np.random.default_rng(seed)))
        assert crops[-1].mask.any()  # a crop around a pixel of the hand holds it
    for crop in crops:
        assert crop.image.shape == (size, size, 3) and crop.mask.shape == (size, size)
        assert np.array_equal(crop.mask, (crop.image == (10, 20, 30)).all(-1))
        assert crop.mask.sum() <= hand.mask.sum()
    assert np.array_equal(flip(hand).image, hand.image[:, ::-1]) and np.array_equal(flip(hand).mask, hand.mask[:, ::-1])
    rows, columns = hand_bounds(hand.mask)
    assert hand.mask[rows, columns].sum() == hand.mask.sum() and hand.mask[rows, columns].size


def hand_of(shape: tuple[int, int], where: tuple) -> Hand:
    """A black image whose mask is `where`."""
    mask = np.zeros(shape, bool)
    mask[where] = True
    return Hand(np.zeros((*shape, 3), np.uint8), mask)


def test_crops_by_hand():
    hand, random = hand_of((200, 200), np.s_[60:140, 60:140]), np.random.default_rng(0)
    assert all(random_hand_crop(hand, 64, random).mask[32, 32] for _ in range(50))  # centred on the hand
    # The hand vanishes under erosion, lies at the border, and the image is lower than the crop.
    crop = random_hand_crop(hand_of((50, 300), (2, 298)), 128, np.random.default_rng(0))
    assert crop.mask.sum() == 1
    assert (crop.image[:39] == 255).all() and (crop.image[39:89] == 0).all()
    hand = hand_of((480, 640), np.s_[100:200, 300:420])
    crop = cut(hand, centred_box(hand.mask, 256, 256))
    rows, columns = (np.flatnonzero(crop.mask.any(axis=axis)) for axis in (1, 0))
    assert (rows[0], rows[-1]) == (78, 177) and (columns[0], columns[-1]) == (68, 187)


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


def test_a_sample_is_a_function_of_seed_and_number_and_each_pass_pairs_afresh(hands_root):
    first, again, other = make_stream(hands_root), make_stream(hands_root), make_stream(hands_root, seed=4)
    samples = [first[k] for k in range(36)]
    assert all(torch.equal(samples[k][key], again[k][key]) for k in (5, 0, 17) for key in ("synthetic", "real"))
    assert any(not torch.equal(samples[k]["real"], other[k]["real"]) for k in range(5))
    passes = [samples[start : start + 12] for start in (0, 12, 24)]
    assert all(len({sample["synthetic_path"] for sample in each}) == 12 for each in passes)
    real = [sample["real_path"] for sample in samples]
    assert len(set(real[:9])) == len(set(real[9:18])) == 9
    pairs = [{(sample["synthetic_path"], sample["real_path"]) for sample in each} for each in passes]
    assert len(pairs[0] & pairs[1]) < 6  # unpaired: hardly any pair meets again


def test_an_unreadable_image_is_replaced_and_reported_once(tmp_path, caplog):
    """Read by one process or by several: the samples are the same."""
    write_hands(tmp_path, frames=1)
    bad, blank = sorted((tmp_path / "SynthHands_Release").rglob("*_color.png"))[:2]
    bad.write_bytes(b"\x89PNG")
    write_png(blank, np.full((96, 96, 3), KEY, np.uint8))  # whole, but without a hand
    streams = []
    for workers in (0, 2):
        caplog.clear()
        loader = iter(stream_loader(make_stream(tmp_path), 2, num_workers=workers))
        streams.append([batch for _, batch in zip(range(6), report_skipped(loader, tmp_path))])
        told = [record.message for record in caplog.records if record.message.startswith("skipped")]
        assert [sum(str(path) in message for message in told) for path in (bad, blank)] == [1, 1]
        assert (tmp_path / "skipped.txt").read_text().count("\n") == len(told)
    for one, other in zip(*streams):
        assert not {str(bad), str(blank)} & set(one["synthetic_path"])
        assert torch.equal(one["synthetic"], other["synthetic"]) and one["real_path"] == other["real_path"]


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


def test_unreadable_regions_are_skipped_aloud_and_only_bad_images_are_an_error(tmp_path, caplog):
    write_hands(tmp_path, frames=1)
    paths = sorted((tmp_path / "SynthHands_Release").rglob("*_color.png"))
    paths[1].write_bytes(b"")
    regions = HandRegions(find_frames(dataroot=tmp_path)["synthetic"], crop=64)
    assert [index for index, _ in regions.readable()] == [0, 2, 3]
    assert str(paths[1]) in caplog.text
    for path in paths:
        path.write_bytes(b"")
    with pytest.raises(ImageError, match="cannot be used"):
        make_stream(tmp_path)[0]


def test_mixed_sizes_are_batched_with_their_like():
    sides = {0: 4, 1: 4, 3: 4, 4: 8, 5: 4}
    stream = ((k, hand_of((side, side), np.s_[:])) for k, side in sides.items())
    assert [indices for indices, _ in same_sized_batches(stream, 2)] == [[0, 1], [3], [4], [5]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_arrive_on_the_device_unchanged(hands_root):
    stream = make_stream(hands_root)
    batches = iter(stream_loader(stream, 4, num_workers=1))
    for step in range(20):
        batch = to_device(next(batches), torch.device("cuda"))
        torch.cuda._sleep(10**7)
        assert batch["real"].is_cuda
        assert all(torch.equal(batch["real"][i].cpu(), stream[4 * step + i]["real"]) for i in range(4))


def test_an_image_that_the_disk_withholds_for_a_while_is_not_lost(hands_root, monkeypatch):
    away, read = set(), samples.read_hand

    def read_hand(frame):
        if frame.image in away:
            raise ImageError(f"{frame.image}: Input/output error (errno 5)") from OSError(5, "Input/output error")
        return read(frame)

    monkeypatch.setattr(samples, "read_hand", read_hand)
    stream = make_stream(hands_root)
    plain = stream[0]
    away |= {Path(plain["synthetic_path"])}
    assert stream[0]["synthetic_path"] != plain["synthetic_path"] and "errno 5" in str(stream[0]["skipped"])
    away.clear()
    assert stream[0]["synthetic_path"] == plain["synthetic_path"]
    away |= {frame.image for frame in stream.frames["real"]}
    with pytest.raises(ImageError, match=r"real images in a row cannot be used .*errno 5"):
        stream[0]
