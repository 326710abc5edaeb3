"""Packed hands: equal samples, and packs that are whole or not there, whatever happens to their builders."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import KEY, TINY, draw_hand, same, write_hands

import train
from data.frames import find_frames
from data.hands import Hand, whiten
from data.loader import on_device, stream_loader
from data.packs.build import open_packs
from data.packs.format import INDEX_FILE, REGIONS_FILE, Pack, encode, is_whole
from data.transforms import random_hand_crop
from data.unpaired import UnpairedHands
from util import locks
from util.checkpoint import load_checkpoint
from util.errors import UsageError
from util.images import write_png

ROOT = Path(__file__).parents[2]


def make_packs(frames: dict, where: Path, **changes) -> dict[str, Pack]:
    asked = {"cache": True, "crop_size": 32, "background": "white", "n_samples": 0, "num_workers": 2, **changes}
    return open_packs(frames, cache_dir=where, **asked)


def content(where: Path) -> dict[str, bytes]:
    """{path: bytes} of all files below a folder, locks apart."""
    return {
        str(path.relative_to(where)): path.read_bytes()
        for path in sorted(where.rglob("*"))
        if path.is_file() and not path.name.startswith(".lock-")
    }


def assert_same_samples(frames: dict, packs: dict[str, Pack], *, crop_size: int, background: str, n: int = 24) -> None:
    plain, packed = (
        UnpairedHands(frames, crop_size=crop_size, seed=1, background=background, packs=p) for p in (None, packs)
    )
    for k in range(n):
        assert same(plain[k], packed[k]), (crop_size, background, k)


# ------------------------------------------------------------------ the same samples


@pytest.mark.parametrize("background", ["white", "keep"])
@pytest.mark.parametrize("crop_size", [32, 33, 64, 96, 160])  # of images of 96 x 96
def test_samples_are_those_of_the_image_files(hands_root, tmp_path, crop_size, background, monkeypatch):
    frames = find_frames(dataroot=hands_root)
    packs = make_packs(frames, tmp_path, crop_size=crop_size, background=background)
    assert_same_samples(frames, packs, crop_size=crop_size, background=background)
    monkeypatch.setattr("data.unpaired.read_hand", None)  # and no image is read for them
    UnpairedHands(frames, crop_size=crop_size, seed=1, background=background, packs=packs)[0]


@pytest.mark.parametrize("background", ["white", "keep"])
def test_unaligned_images_of_all_sizes_with_and_without_masks(tmp_path, background):
    random = np.random.default_rng(0)
    for folder in ("trainA", "trainB", "testA", "testB"):
        for number, (height, width) in enumerate([(20, 90), (90, 20), (31, 33), (100, 150), (64, 64)]):
            image, mask = draw_hand(random, size=150, background=KEY)
            write_png(tmp_path / folder / f"{number}.png", image[:height, :width])
            if folder == "trainB" and mask[:height, :width].any():
                write_png(tmp_path / "trainB_masks" / f"{number}.png", mask[:height, :width])
    frames = find_frames(dataroot=tmp_path)
    packs = make_packs(frames, tmp_path / "packs", crop_size=64, background=background)
    assert packs["real"].find("trainB/3.png") is not None and packs["real"].find("testB/3.png") is None
    frames = {domain: [f for f in found if f.phase == "train"] for domain, found in frames.items()}
    assert_same_samples(frames, packs, crop_size=64, background=background, n=40)


@pytest.mark.parametrize("background", ["white", "keep"])
def test_crops_of_masks_of_all_kinds(tmp_path, background):
    """Masks that touch borders, vanish under erosion, are speckle, are everything, or a pixel in a corner."""
    random = np.random.default_rng(0)
    masks = {"speckle": random.random((70, 50)) < 0.02, "all": np.ones((40, 90), bool)}
    masks["corner"] = np.zeros((60, 60), bool)
    masks["corner"][-1, 0] = True
    masks["ring"] = cv2.circle(np.zeros((120, 80), np.uint8), (30, 60), 40, 1, 18) > 0
    masks["border"] = np.zeros((128, 128), bool)
    masks["border"][90:, 100:] = True
    masks["low"] = np.zeros((1, 200), bool)
    masks["low"][0, 150:] = True
    for name, mask in masks.items():
        image = random.integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
        hand = Hand(whiten(image, mask) if background == "white" else image, mask)
        for crop_size in (32, 48, 101):
            folder = tmp_path / f"{name}{crop_size}"
            folder.mkdir()
            fields, record = encode(hand, background=background, crop_size=crop_size)
            (folder / REGIONS_FILE).write_bytes(bytes(64) + record)
            np.save(folder / INDEX_FILE, np.array([[64, *fields]], np.int64))
            pack = Pack(folder, [name])
            for seed in range(30):
                expected = random_hand_crop(hand, crop_size, np.random.default_rng(seed))
                cut = pack.random_crop(0, crop_size, np.random.default_rng(seed))
                assert cut.image.dtype == np.uint8 and cut.mask.dtype == bool
                assert all(np.array_equal(*pair) for pair in zip(cut, expected)), (name, crop_size, seed)


def test_one_white_pack_serves_every_crop_size_and_a_kept_one_its_own(hands_root, tmp_path):
    frames = find_frames(dataroot=hands_root)
    folder = lambda **changes: make_packs(frames, tmp_path, **changes)["real"].folder  # noqa: E731
    assert folder(crop_size=32) == folder(crop_size=96)
    assert folder(crop_size=32, background="keep") != folder(crop_size=96, background="keep")
    assert folder() != folder(background="keep")


def test_packs_travel_to_spawned_workers(hands_root, tmp_path):
    frames = find_frames(dataroot=hands_root)
    stream = UnpairedHands(frames, crop_size=32, seed=1, packs=make_packs(frames, tmp_path))
    first = stream[0]  # the file is mapped here already
    assert same(first, pickle.loads(pickle.dumps(stream))[0])
    batch = next(iter(stream_loader(stream, 1, num_workers=1)))
    assert torch.equal(batch["real"][0], first["real"])


def test_open_files_do_not_grow(hands_root, tmp_path):
    frames = find_frames(dataroot=hands_root)
    stream = UnpairedHands(frames, crop_size=32, seed=1, packs=make_packs(frames, tmp_path))
    stream[0]
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else pytest.skip("no /proc")
    for k in range(50):
        stream[k]
    assert len(os.listdir("/proc/self/fd")) == before


def test_unreadable_images_are_left_out_as_without_a_pack(tmp_path, caplog):
    root = write_hands(tmp_path / "data", frames=1)
    bad = sorted((root / "SynthHands_Release").rglob("*_color.png"))
    bad[0].write_bytes(b"\x89PNG")
    write_png(bad[1], np.full((96, 96, 3), KEY, np.uint8))  # without a hand
    frames = find_frames(dataroot=root)
    packs = make_packs(frames, tmp_path / "packs")
    assert "2 of 4 synthetic images cannot be used" in caplog.text
    assert_same_samples(frames, packs, crop_size=32, background="white")
    for used in (packs, None):
        dataset, told = UnpairedHands(frames, crop_size=32, seed=0, packs=used), []
        for k in range(8):
            told += dataset[k]["left_out"]
        assert sorted(told) == sorted(path.relative_to(root / "SynthHands_Release").as_posix() for path in bad[:2])


# ------------------------------------------------------------------ whether to pack


def test_packs_are_made_where_they_pay_and_used_where_they_are(hands_root, tmp_path):
    frames = find_frames(dataroot=hands_root)  # 12 synthetic, 9 real
    make = lambda n, cache: set(make_packs(frames, tmp_path, cache=cache, n_samples=n))  # noqa: E731
    assert make(10**6, False) == set() and not list(tmp_path.iterdir())
    assert make(17, None) == set()
    assert make(18, None) == {"real"}
    assert make(0, None) == {"real"}  # it is there
    assert make(24, None) == {"synthetic", "real"}
    shutil.rmtree(tmp_path)
    assert make(0, True) == {"synthetic", "real"}


def test_too_little_room_is_told_before_the_disk_is_full(hands_root, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 1000))
    with pytest.raises(
        UsageError, match=r"no room for another .* GB of synthetic images.*give another folder, or --no-cache"
    ):
        make_packs(find_frames(dataroot=hands_root), tmp_path)
    assert not list(tmp_path.glob("[!.]*"))


def test_a_disk_that_fills_up_leaves_nothing(hands_root, tmp_path, monkeypatch):
    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UsageError, match="--cache_dir .*: No space left on device"):
        make_packs(find_frames(dataroot=hands_root), tmp_path)
    assert not content(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(hands_root, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=f"--cache_dir {tmp_path}/file"):
        make_packs(find_frames(dataroot=hands_root), tmp_path / "file")


# ------------------------------------------------------------------ stale and damaged packs


def test_a_changed_source_makes_another_pack(tmp_path):
    root = write_hands(tmp_path / "data", frames=1)

    def folders() -> dict[str, Path]:
        packs = make_packs(find_frames(dataroot=root), tmp_path / "packs")
        return {domain: pack.folder for domain, pack in packs.items()}

    before = folders()
    assert folders() == before

    photograph = sorted((root / "RealHands").rglob("*_color.png"))[0]
    photograph.touch()
    touched = folders()
    assert touched["real"] != before["real"] and touched["synthetic"] == before["synthetic"]

    mask = sorted((root / "RealHands").rglob("*_mask.png"))[0]
    write_png(root / "RealHands" / "user01" / "mask_refined" / mask.name, cv2.imread(str(mask))[..., 0] > 0)
    refined = folders()
    assert refined["real"] not in (touched["real"], before["real"])

    image = sorted((root / "SynthHands_Release").rglob("*_color.png"))[0]
    image.unlink()
    frames = find_frames(dataroot=root)
    assert folders()["synthetic"] != before["synthetic"]
    assert_same_samples(frames, make_packs(frames, tmp_path / "packs"), crop_size=32, background="white")


def test_a_moved_data_set_keeps_its_packs(tmp_path):
    root = write_hands(tmp_path / "data", frames=1)
    before = make_packs(find_frames(dataroot=root), tmp_path / "packs")["real"].folder
    root.rename(tmp_path / "moved")
    assert make_packs(find_frames(dataroot=tmp_path / "moved"), tmp_path / "packs")["real"].folder == before


@pytest.mark.parametrize("name", [REGIONS_FILE, INDEX_FILE])
@pytest.mark.parametrize("damage", ["truncated", "empty", "missing"])
def test_a_damaged_pack_is_made_anew(hands_root, tmp_path, name, damage):
    frames = {"synthetic": find_frames(dataroot=hands_root)["synthetic"], "real": []}
    frames["real"] = frames["synthetic"][:2]
    folder = make_packs(frames, tmp_path)["synthetic"].folder
    before = content(tmp_path)
    file = folder / name
    whole = file.read_bytes()
    file.unlink() if damage == "missing" else file.write_bytes(whole[: len(whole) // 2 if damage == "truncated" else 0])
    assert not is_whole(folder)
    packs = make_packs(frames, tmp_path)
    assert content(tmp_path) == before
    assert_same_samples(frames, packs, crop_size=32, background="white", n=4)


# ------------------------------------------------------------------ interrupted and concurrent builders

BUILDER = """
import logging, os, signal, sys, time
from pathlib import Path
from data.packs import build as packing
from data.frames import find_frames
from util import locks

moment, root, where = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
die = lambda: os.kill(os.getpid(), signal.SIGKILL)

def dying_at(count, real):
    calls = iter(range(1, 10**6))
    return lambda *args, **kwargs: die() if next(calls) == count else real(*args, **kwargs)

def slowly(*args, **kwargs):
    time.sleep(0.02)
    return encode(*args, **kwargs)

logging.basicConfig(level=logging.INFO)
encode = packing.encode
if moment == "no lock":
    locks.try_lock = lambda handle: None
if moment in ("lock", "no lock"):
    packing.encode = slowly
elif moment.isdigit():
    packing.encode = dying_at(int(moment), encode)
elif moment == "sync":
    os.fsync = dying_at(1, os.fsync)
elif moment == "index":
    packing.np.save = dying_at(1, packing.np.save)
elif moment == "rename":
    Path.rename = dying_at(1, Path.rename)
print("ready", flush=True)
sys.stdin.readline()
packing.open_packs(find_frames(dataroot=root), cache=True, cache_dir=where, crop_size=32, background="white",
                   n_samples=0, num_workers=1)
"""


def start_builder(moment: str, root: Path, where: Path) -> subprocess.Popen:
    """A process that is about to pack the hands, or to be killed at that moment; it waits for a line."""
    command = [sys.executable, "-c", BUILDER, moment, str(root), str(where)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize("moment", ["6", "sync", "index", "rename"])
def test_a_killed_builder_leaves_nothing_that_counts(hands_root, tmp_path, moment):
    frames = find_frames(dataroot=hands_root)
    make_packs(frames, tmp_path / "straight")
    process = start_builder(moment, hands_root, tmp_path / "killed")
    process.communicate("\n")
    assert process.returncode == -signal.SIGKILL
    assert list((tmp_path / "killed").glob(".part-*")) and not list((tmp_path / "killed").glob("[!.]*"))
    make_packs(frames, tmp_path / "killed")
    assert content(tmp_path / "killed") == content(tmp_path / "straight")


@pytest.mark.parametrize("moment", ["lock", "no lock"])
def test_concurrent_builders_end_with_one_pack(hands_root, tmp_path, moment):
    make_packs(find_frames(dataroot=hands_root), tmp_path / "straight")
    builders = [start_builder(moment, hands_root, tmp_path / "shared") for _ in range(2)]
    for process in builders:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate()[1] for process in builders]
    assert [process.returncode for process in builders] == [0, 0], said
    built = sum("packing 12 synthetic images" in text for text in said)
    assert built == (1 if moment == "lock" and locks.fcntl else 2)
    assert content(tmp_path / "shared") == content(tmp_path / "straight")


def test_other_ranks_wait_for_the_builder(hands_root, tmp_path, monkeypatch):
    frames = find_frames(dataroot=hands_root)
    naps = []

    def nap(seconds):
        naps.append(seconds)
        make_packs(frames, tmp_path)  # what the builder does meanwhile

    monkeypatch.setattr("time.sleep", nap)
    assert set(make_packs(frames, tmp_path, builder=False)) == {"synthetic", "real"}
    assert len(naps) == 1


# ------------------------------------------------------------------ training


def test_a_run_may_go_on_with_or_without_packs(run_main, hands_root, tmp_path):
    """Four steps decoding, and two from packs and two more decoding, end in equal checkpoints."""

    def fit(name: str, steps: int, *flags: object) -> None:
        where = ("--name", name, "--dataroot", hands_root, "--checkpoints_dir", tmp_path)
        small = (*TINY, "--netD", "pixel", "--lambda_identity", 0, "--lr_decay", "none", "--max_steps", steps)
        status, said = run_main(train.main, *where, "--cache_dir", tmp_path / "packs", *small, *flags)
        assert status == 0, said

    fit("decoding", 4, "--no-cache")
    assert not (tmp_path / "packs").exists()
    fit("mixed", 2, "--cache")
    fit("mixed", 4, "--no-cache", "--continue_train")
    assert same(*(load_checkpoint(tmp_path / name / "latest.pt") for name in ("decoding", "mixed")))


def test_real_hands_are_cut_the_same(real_hands, tmp_path):
    frames = {domain: found[:: max(1, len(found) // 6)] for domain, found in find_frames(dataroot=real_hands).items()}
    packs = make_packs(frames, tmp_path, crop_size=128)
    assert_same_samples(frames, packs, crop_size=128, background="white", n=8)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_arrive_on_the_device_unchanged(hands_root):
    device = torch.device("cuda")
    stream = UnpairedHands(find_frames(dataroot=hands_root), crop_size=32, seed=1)
    batches = on_device(iter(stream_loader(stream, 4, num_workers=1)), device)
    for step in range(20):
        batch = next(batches)
        torch.cuda._sleep(10**7)
        assert batch["real"].is_cuda
        assert all(torch.equal(batch["real"][i].cpu(), stream[4 * step + i]["real"]) for i in range(4))
