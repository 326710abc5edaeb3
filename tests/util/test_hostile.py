"""Two thousand bad files and odd option sets: no traceback, nothing written elsewhere, the right exit status."""

import math
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from helpers import TINY, contents, draw_hand, parser_of
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import preprocess_masks
import test as test_script
import train
from data.frames import Frame
from data.hands import read_hand
from data.listing import KEY, WHOLE
from options.classify_options import parse_classify
from options.test_options import parse_test
from options.train_options import parse_train
from util.errors import UsageError
from util.images import ImageError

SMALL = (*TINY, "--netD", "pixel")
NO_CHECKS = {"deadline": None, "suppress_health_check": list(HealthCheck)}
KINDS = ("noise", "cut", "flip", "header", "empty", "text", "bomb", "tiny", "grey16", "whole", "joined", "marker")


def spoiled(kind: str, seed: int) -> bytes:
    """A file's content: an image, or what is left of one."""
    random = np.random.default_rng(seed)
    image = draw_hand(random, size=int(random.integers(24, 64)))[0]
    if kind == "tiny":
        image = image[: random.integers(1, 3), : random.integers(1, 40)]
    if kind == "grey16":
        image = image[..., 0].astype(np.uint16) * 257
    suffix = ".png" if kind == "grey16" or random.integers(2) else ".jpg"
    data = bytearray(cv2.imencode(suffix, image)[1].tobytes())
    if kind in ("flip", "header"):
        for _ in range(random.integers(1, 20)):
            data[random.integers(len(data) if kind == "flip" else 40)] = random.integers(256)
    if kind == "bomb":
        data[16:24] = random.bytes(8)
    others = {
        "noise": random.bytes(int(random.integers(1, 400))),
        "cut": data[: random.integers(1, len(data))],
        "joined": data[: len(data) // 2] + data,
        "marker": b"\xff\xd8\xff\xe0" + random.bytes(60),
        "empty": b"",
        "text": b"hello\n" * 9,
    }
    return bytes(others.get(kind, data))


FILES = st.builds(spoiled, st.sampled_from(KINDS), st.integers(0, 2**32 - 1))
NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0"), min_size=1, max_size=12)


@given(image=FILES, mask=st.none() | FILES, origin=st.sampled_from([KEY, WHOLE, "", "file", "raw"]))
@settings(max_examples=450, **NO_CHECKS)
def test_loaders_take_or_name_every_file(tmp_path_factory, image, mask, origin):
    folder = tmp_path_factory.getbasetemp()
    paths = [folder / "image_color.png", folder / "image_mask.png"]
    for path, data in zip(paths, (image, mask)):
        path.write_bytes(data or b"")
    mask = paths[1] if origin in ("file", "raw") else None
    frame = Frame(paths[0], "image_color.png", "", mask, origin, raw=origin == "raw")
    try:
        hand = read_hand(frame)
    except ImageError as error:
        assert str(error).startswith(tuple(map(str, paths))) and "\n" not in str(error)
    else:
        assert hand.image.dtype == np.uint8 and hand.image.shape == (*hand.mask.shape, 3) and hand.mask.any()


@given(files=st.dictionaries(NAMES, st.tuples(FILES, FILES), min_size=1, max_size=15))
@example(files={"\r": (spoiled("whole", 0), spoiled("whole", 1))})
@settings(max_examples=10, **NO_CHECKS)
def test_preprocess_masks_survives_any_tree(run_main, tmp_path, files):
    shutil.rmtree(tmp_path)
    files |= {"a": next(iter(files.values()))}  # names that begin with a dot are hidden files
    for name, pair in files.items():
        for folder, data in zip(("color", "mask"), pair):
            path = tmp_path / "user" / folder / f"{name}_{folder}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    before = contents(tmp_path)
    status, said = run_main(preprocess_masks.main, "--dataroot", tmp_path, "--num_workers", 0)
    assert status == (not list(tmp_path.rglob("mask_refined/*.png"))) and "Traceback" not in said, said
    after = contents(tmp_path)
    assert all(after[path] == data for path, data in before.items())
    made = {Path(name) for name in ("masks_report.csv", "masks_options.json", "masks_preview.png", ".lock")}
    assert all(path in made or path.parent.name == "mask_refined" for path in after.keys() - before.keys())


@pytest.fixture(scope="module")
def runs(small_root, tmp_path_factory) -> Path:
    """A folder with a run of the least network, one step old."""
    folder = tmp_path_factory.mktemp("runs")
    argv = ["--name", "run", "--dataroot", small_root, "--checkpoints_dir", folder, *SMALL, "--max_steps", 1]
    assert train.main(parse_train([*map(str, argv)])) == 0
    return folder


WORDS = ["", "nan", "inf", "-inf", "1e999", "9" * 5000, "../x", "/etc", "a/b", "None", "True", "0x1", "1_0"]
NUMBERS = (st.integers(-3, 300), st.floats(allow_nan=True), st.integers())
VALUES = st.one_of(*(numbers.map(str) for numbers in NUMBERS), st.text(max_size=8), st.sampled_from(WORDS))


@pytest.mark.parametrize(
    ("script", "parse", "fixed"),
    [
        ("train", parse_train, ["--name", "x"]),
        ("test", parse_test, ["--name", "x"]),
        ("classify", parse_classify, ["--experiment", "table2", "--name", "x"]),
        ("preprocess_masks", None, []),
    ],
)
@given(data=st.data())
@settings(max_examples=250, **NO_CHECKS)
def test_parsers_take_or_refuse_any_options(script, parse, fixed, data):
    parser = parser_of(script)
    flags = sorted(flag for action in parser.flags() for flag in action.option_strings)
    argv = list(fixed)
    for flag in data.draw(st.lists(st.sampled_from(flags), min_size=1, max_size=4)):
        argv += [flag, *data.draw(st.lists(VALUES, min_size=0 if "no-" in flag else 1, max_size=1))]
    try:
        opt = parse(argv) if parse else parser.parse_args(argv)
    except UsageError as error:
        assert 0 < len(str(error)) < 2000
        return
    for key, value in vars(opt).items():
        if isinstance(value, (int, float)):
            assert math.isfinite(value) and abs(value) < 2**31, key
    name = getattr(opt, "name", None)
    for each in name if isinstance(name, list) else [name] * (name is not None):
        assert each not in (".", "..") and os.sep not in each and each.strip()


class Bomb:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize(
    "content",
    [
        "!!python/object/apply:os.mkdir ['exploded']",
        "[" * 600,
        "just text",
        "\x00\x01",
        {"_use_new_zipfile_serialization": True},
        {"_use_new_zipfile_serialization": False},
    ],
    ids=["code", "deep", "text", "bytes", "checkpoint", "old checkpoint"],
)
def test_crafted_options_and_checkpoints_are_refused_in_one_sentence(run_main, runs, tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(runs / "run", tmp_path / "runs" / "run")
    root = yaml.safe_load((folder / "options.yaml").read_text())["dataroot"]
    if isinstance(content, str):
        (folder / "options.yaml").write_text(content)
    else:
        torch.save({"format": 1, "step": 1, "model": Bomb()}, folder / "latest.pt", **content)
    for main, more in ((test_script.main, ()), (train.main, (*SMALL, "--max_steps", 2, "--continue_train"))):
        status, said = run_main(main, "--name", "run", "--checkpoints_dir", folder.parent, "--dataroot", root, *more)
        assert status == 2 and "Traceback" not in said, said
        assert ("options.yaml" if isinstance(content, str) else "cannot be read as a checkpoint") in said
    assert not (tmp_path / "exploded").exists()
