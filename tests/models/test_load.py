"""load_translator: the generator of a run, from Python."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers import KEY, TINY, command, draw_hand, same

import test as test_script
import train
from data.frames import find_frames
from data.splits import make_split
from models.load import load_translator
from util.checkpoint_file import load_checkpoint, save_checkpoint
from util.errors import UsageError
from util.images import read_mask, read_rgb, write_png


@pytest.fixture(scope="module")
def run_folder(hands_root, tmp_path_factory):
    """A run of one step."""
    runs = tmp_path_factory.mktemp("runs")
    where = ("--name", "a", "--dataroot", hands_root, "--checkpoints_dir", runs)
    assert command(train.main, *where, *TINY, "--netD", "patch", "--max_steps", 1) == 0
    return runs / "a"


@pytest.fixture(scope="module")
def translate(run_folder):
    return load_translator(str(run_folder), device="cpu")


def tested(run_main, run_folder, results, *flags, names=("a",), expected=0) -> str:
    """What test.py says."""
    where = ("--name", *names, "--checkpoints_dir", run_folder.parent, "--results_dir", results)
    status, said = run_main(test_script.main, *where, "--no-metrics", "--num_workers", 0, "--device", "cpu", *flags)
    assert status == expected, said
    return said


@pytest.mark.parametrize("direction", ["StoR", "RtoS"])
def test_python_gives_the_pixels_that_test_py_writes_in_place_of_stale_ones(
    run_folder, run_main, tmp_path, direction, monkeypatch
):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # rounding depends on their number
    folder = tmp_path / "a" / ("test" if direction == "StoR" else "test_RtoS")
    stale = folder / "generated" / "old.png"
    write_png(stale, np.zeros((4, 4, 3), np.uint8))
    tested(run_main, run_folder, tmp_path, "--direction", direction)
    assert not stale.exists()
    domain = "synthetic" if direction == "StoR" else "real"
    translate = load_translator(run_folder, device="cpu", direction=direction)
    names = sorted(path.relative_to(folder / domain) for path in (folder / domain).rglob("*.png"))
    images = [read_rgb(folder / domain / name) for name in names]
    masks = [read_mask(folder / "masks" / domain / name) for name in names]
    masks[0] = masks[0].astype(np.uint8) * 255
    for name, made in zip(names, translate(images, masks), strict=True):
        assert np.array_equal(made, read_rgb(folder / "generated" / name))
    assert names


def test_without_a_mask_the_key_colour_tells_the_hand(translate):
    image, mask = draw_hand(np.random.default_rng(0), size=90, background=KEY)
    made = translate(image)
    assert np.array_equal(made, translate(image, mask)) and np.array_equal(made[~mask], image[~mask])
    whole = np.random.default_rng(1).integers(0, 255, (40, 50, 3), np.uint8)
    assert translate(whole).shape == whole.shape and not (translate(whole) == whole).all(-1).any(0).all()
    assert len(translate([image, whole], [mask, None])) == 2


IMAGE, MASK = draw_hand(np.random.default_rng(0), size=64)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((IMAGE / 255,), TypeError, r"got float64 \(64, 64, 3\)"),
        ((IMAGE[..., 0],), TypeError, r"got uint8 \(64, 64\)"),
        (([IMAGE.tolist()],), TypeError, "got int"),
        ((IMAGE, MASK[:-1]), TypeError, r"mask must be a bool or uint8 array of shape \(64, 64\)"),
        ((IMAGE, np.zeros_like(MASK)), ValueError, "empty"),
        (([IMAGE, IMAGE], [MASK]), ValueError, "shorter"),
    ],
    ids=["float", "grey", "list", "shape", "empty", "few masks"],
)
def test_arrays_of_other_kinds_are_refused(translate, arguments, error, words):
    with pytest.raises(error, match=words):
        translate(*arguments)


def test_what_cannot_be_loaded_is_explained(run_folder, tmp_path):
    with pytest.raises(ValueError, match="direction"):
        load_translator(run_folder, direction="AtoB")
    with pytest.raises(UsageError, match="no run in"):
        load_translator(run_folder.parent)
    other = shutil.copytree(run_folder, tmp_path / "b")
    (other / "best.pt").write_bytes(b"no checkpoint")
    with pytest.raises(UsageError, match="best.pt cannot be read"):
        load_translator(other, device="cpu")
    shutil.copy(other / "latest.pt", other / "epoch_3.pt")
    for epoch in ("latest", 3):
        assert load_translator(other, device="cpu", epoch=epoch).step == 1
    with pytest.raises(UsageError, match="no epoch_7.pt; checkpoints there: best.pt, epoch_3.pt, latest.pt"):
        load_translator(other, epoch=7)
    stored = yaml.safe_load((other / "options.yaml").read_text())
    wrong = {"netG": "resnet_5blocks", "ngf": -1, "norm": "batch", "mask": None, "crop_to_hand": None}
    for name, value in wrong.items():
        changed = {key: each for key, each in (stored | {name: value}).items() if each is not None}
        (other / "options.yaml").write_text(yaml.safe_dump(changed))
        with pytest.raises(UsageError, match=r"latest.pt does not fit the options.yaml beside it \(.*\)$"):
            load_translator(other, device="cpu", epoch="latest")
    (other / "options.yaml").write_text(yaml.safe_dump(stored | {"ngf": -1, "training_version": 3}))
    with pytest.raises(UsageError, match=r"\(.*\); the run has training version 3, here it is \d+$"):
        load_translator(other, device="cpu", epoch="latest")


def test_latest_translates_by_the_mean_of_weights_and_the_tones_that_it_holds(run_folder, tmp_path):
    """Runs of an older version have neither, nor the switches."""
    other = shutil.copytree(run_folder, tmp_path / "b")
    content = load_checkpoint(other / "latest.pt")
    state = content["model"]
    for name, value in state["average"]["networks"]["G_r"].items():
        value.copy_(state["networks"]["G_r"][name] + 1)
    real = torch.tensor([1, 0.25, 0.5, 0])  # after 1, the colour of all real hands
    state["tones"]["moments"].zero_()[1] = real[:, None] * real
    save_checkpoint(other / "latest.pt", content)
    made = load_translator(other, device="cpu", epoch="latest")
    assert same(made.net.state_dict(), state["average"]["networks"]["G_r"])
    torch.testing.assert_close(made.tones(torch.zeros(1, 3), to_real=True), real[None, 1:])
    state["tones"]["seen"].zero_()  # as before the first step
    save_checkpoint(other / "latest.pt", content)
    assert load_translator(other, device="cpu", epoch="latest").tones is None
    stored = yaml.safe_load((other / "options.yaml").read_text())
    del stored["average_weights"], stored["match_tone"], state["average"], state["tones"]
    (other / "options.yaml").write_text(yaml.safe_dump(stored))
    save_checkpoint(other / "latest.pt", content)
    old = load_translator(other, device="cpu", epoch="latest")
    assert same(old.net.state_dict(), state["networks"]["G_r"]) and old.tones is None


def test_whole_frames_of_a_folder_too(run_folder, run_main, tmp_path, translate):
    image, mask = draw_hand(np.random.default_rng(3), size=120, background=(90, 20, 160))
    write_png(tmp_path / "in" / "x.png", image)
    write_png(tmp_path / "in" / "x_mask.png", mask)
    tested(run_main, run_folder, tmp_path / "out", "--input", tmp_path / "in", "--background", "white")
    (written,) = (tmp_path / "out" / "a").rglob("generated/x.png")
    made = translate(image, mask)
    assert np.array_equal(made[mask], read_rgb(written)[mask]) and np.array_equal(made[~mask], image[~mask])


def test_runs_of_different_splits_are_compared_on_what_none_has_trained_on(run_folder, run_main, tmp_path, caplog):
    """The second run's test split is the first's without one frame of each domain."""
    other = run_folder.parent / "b"
    shutil.copytree(run_folder, other)
    split = json.loads((other / "splits.json").read_text())
    for part in split.values():
        part["train"].append(part["test"].pop())
    (other / "splits.json").write_text(json.dumps(split))
    count = len(split["synthetic"]["test"])
    said = tested(run_main, run_folder, tmp_path, names="ab")
    for name in ("a", "b"):
        assert len(list((tmp_path / name / "test" / "generated").rglob("*.png"))) == count
    assert f"compared on the {count} synthetic images" in caplog.text + said
    assert {path.name for path in (tmp_path / "compare").iterdir()} == {"grid.png", "index.html"}
    split["real"]["test"] = []
    (other / "splits.json").write_text(json.dumps(split))
    assert "real" in tested(run_main, run_folder, tmp_path, names="ab", expected=2)


def test_a_translator_comes_with_the_project():
    """By name, whatever the folder; it paints hands as it should: lighter than black, and only where the mask says."""
    translate = load_translator("pretrained", device="cpu")
    assert translate.step == 7000 and translate.options.mean_of_views
    image, mask = draw_hand(np.random.default_rng(0), size=96)
    image[mask] = (150, 60, 40)  # a red one
    out = translate(image, mask)
    assert np.array_equal(out[~mask], image[~mask])
    red, green, blue = out[mask].mean(0)
    assert red > green > blue > 40 and green > 80


def test_it_translates_a_split_of_any_data(run_folder, run_main, hands_root, tmp_path):
    """It was trained on other frames, so the split is one that is drawn anew."""
    tested(run_main, run_folder, tmp_path, "--dataroot", hands_root, names=("pretrained",))
    frames, folder = find_frames(dataroot=hands_root), tmp_path / "pretrained" / "test"
    split = make_split(frames, split_by="frame", val_size=None, test_size=None, seed=1)
    for domain, part in (("synthetic", "generated"), ("real", "real")):
        written = {path.relative_to(folder / part).with_suffix("") for path in (folder / part).rglob("*.png")}
        assert written == {Path(name).with_suffix("") for name in split[domain]["test"]}
