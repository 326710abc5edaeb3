"""load_translator: the generator of a run, from Python."""

import json
import shutil

import numpy as np
import pytest
import yaml
from helpers import KEY, TINY, draw_hand

import test as test_script
import train
from models.load import load_translator
from util.errors import UsageError, run_command
from util.images import read_mask, read_rgb, write_png


@pytest.fixture(scope="module")
def run_folder(hands_root, tmp_path_factory):
    """A run of one step."""
    runs = tmp_path_factory.mktemp("runs")
    flags = ["--name", "a", "--dataroot", hands_root, "--checkpoints_dir", runs, *TINY, "--netD", "patch"]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as exit_:
        patch.setattr("sys.argv", ["train.py", *map(str, flags), "--max_steps", "1"])
        run_command(train.main)
    assert exit_.value.code == 0
    return runs / "a"


def tested(run_main, run_folder, results, *flags):
    where = ("--name", run_folder.name, "--checkpoints_dir", run_folder.parent, "--results_dir", results)
    status, said = run_main(test_script.main, *where, "--no-metrics", "--num_workers", 0, "--device", "cpu", *flags)
    assert status == 0, said


@pytest.mark.parametrize("direction", ["StoR", "RtoS"])
def test_python_gives_the_pixels_that_test_py_writes(run_folder, run_main, tmp_path, direction):
    tested(run_main, run_folder, tmp_path, "--direction", direction)
    folder = tmp_path / "a" / ("test" if direction == "StoR" else "test_RtoS")
    domain = "synthetic" if direction == "StoR" else "real"
    translate = load_translator(run_folder, device="cpu", direction=direction)
    names = sorted(path.relative_to(folder / domain) for path in (folder / domain).rglob("*.png"))
    assert names
    images = [read_rgb(folder / domain / name) for name in names]
    masks = [read_mask(folder / "masks" / domain / name) for name in names]
    for name, made in zip(names, translate(images, masks)):
        assert np.array_equal(made, read_rgb(folder / "generated" / name))
    as_bytes = translate(images[0], masks[0].astype(np.uint8) * 255)
    assert np.array_equal(as_bytes, read_rgb(folder / "generated" / names[0]))


def test_without_a_mask_the_key_colour_tells_the_hand(run_folder):
    translate = load_translator(str(run_folder), device="cpu")
    image, mask = draw_hand(np.random.default_rng(0), size=90, background=KEY)
    made = translate(image)
    assert np.array_equal(made, translate(image, mask)) and np.array_equal(made[~mask], image[~mask])
    whole = np.random.default_rng(1).integers(0, 255, (40, 50, 3), np.uint8)
    assert translate(whole).shape == whole.shape and not (translate(whole) == whole).all(-1).any(0).all()
    assert len(translate([image, whole], [mask, None])) == 2


def test_arrays_of_other_kinds_are_refused(run_folder):
    translate = load_translator(run_folder, device="cpu")
    image, mask = draw_hand(np.random.default_rng(0), size=64)
    for wrong in (image / 255, image[..., 0], image.tolist()[0][0]):
        with pytest.raises((TypeError, ValueError)):
            translate(wrong if isinstance(wrong, np.ndarray) else [wrong])
    with pytest.raises(TypeError, match=r"mask must be a bool or uint8 array of shape \(64, 64\)"):
        translate(image, mask[:-1])
    with pytest.raises(ValueError, match="empty"):
        translate(image, np.zeros_like(mask))
    with pytest.raises(ValueError, match="list of 2 masks"):
        translate([image, image], mask)
    with pytest.raises(TypeError, match="NoneType: was the file read"):
        translate(None)
    with pytest.raises(ValueError, match="direction"):
        load_translator(run_folder, direction="AtoB")


def test_a_folder_that_is_no_run_a_damaged_best_and_other_options_are_explained(run_folder, tmp_path):
    with pytest.raises(UsageError, match="give one that train.py wrote"):
        load_translator(run_folder.parent)
    other = shutil.copytree(run_folder, tmp_path / "b")
    (other / "best.pt").write_bytes(b"no checkpoint")
    with pytest.raises(UsageError, match="--epoch latest"):
        load_translator(other, device="cpu")
    load_translator(other, device="cpu", epoch="latest")
    stored = yaml.safe_load((other / "options.yaml").read_text())
    for name, value in {
        "netG": "resnet_5blocks",
        "ngf": -1,
        "norm": "batch",
        "mask": None,
        "crop_to_hand": None,
    }.items():
        changed = {key: each for key, each in (stored | {name: value}).items() if each is not None}
        (other / "options.yaml").write_text(yaml.safe_dump(changed))
        with pytest.raises(UsageError, match="latest.pt does not fit the options.yaml beside it"):
            load_translator(other, device="cpu", epoch="latest")


def test_an_epoch_that_was_not_kept_is_named(run_folder):
    with pytest.raises(UsageError, match="--epoch 7.*keeps no epoch"):
        load_translator(run_folder, epoch=7)
    (run_folder / "epoch_3.pt").write_bytes((run_folder / "latest.pt").read_bytes())
    assert load_translator(run_folder, epoch=3, device="cpu").checkpoint.name == "epoch_3.pt"
    with pytest.raises(UsageError, match="keeps epochs 3"):
        load_translator(run_folder, epoch=7)
    (run_folder / "epoch_3.pt").unlink()


def test_whole_frames_of_a_folder_too(run_folder, run_main, tmp_path):
    image, mask = draw_hand(np.random.default_rng(3), size=120, background=(90, 20, 160))
    write_png(tmp_path / "in" / "x.png", image)
    write_png(tmp_path / "in" / "x_mask.png", mask)
    tested(run_main, run_folder, tmp_path / "out", "--input", tmp_path / "in", "--background", "white")
    (written,) = (tmp_path / "out" / "a").rglob("generated/x.png")
    made = load_translator(run_folder, device="cpu")(image, mask)
    assert np.array_equal(made[mask], read_rgb(written)[mask]) and np.array_equal(made[~mask], image[~mask])


def test_runs_of_different_splits_are_compared_on_what_none_has_trained_on(
    run_folder, run_main, tmp_path, caplog, hands_root
):
    """The second run's test split is the first's without one frame of each domain."""
    other = run_folder.parent / "b"
    shutil.copytree(run_folder, other)
    split = json.loads((other / "splits.json").read_text())
    for domain in ("synthetic", "real"):
        moved = split[domain]["test"].pop()
        split[domain]["train"].append(moved)
    (other / "splits.json").write_text(json.dumps(split))
    count = len(split["synthetic"]["test"])
    where = ("--checkpoints_dir", run_folder.parent, "--results_dir", tmp_path, "--num_workers", 0, "--device", "cpu")
    status, said = run_main(test_script.main, "--name", "a", "b", *where, "--no-metrics")
    assert status == 0, said
    for name in ("a", "b"):
        assert len(list((tmp_path / name / "test" / "generated").rglob("*.png"))) == count
    assert f"compared on the {count} synthetic images" in caplog.text + said
    assert {path.name for path in (tmp_path / "compare").iterdir()} == {"grid.png", "index.html"}

    split["real"]["train"] += split["real"]["test"]
    split["real"]["test"] = []
    (other / "splits.json").write_text(json.dumps(split))
    status, said = run_main(test_script.main, "--name", "a", "b", *where, "--no-metrics")
    assert status == 2 and "real" in said
