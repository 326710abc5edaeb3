"""The classification study from folders to tables: what trains, what is tested, what is written."""

import csv
import dataclasses
import itertools
import json
import logging
from pathlib import Path
from unittest.mock import DEFAULT, Mock

import cv2
import numpy as np
import pytest
import torch
from helpers import same

import classify
import test as test_script
from data import labelled_hands
from data.labelled_hands import KINDS, PARTS, HandFile, HandsOnBackgrounds, Sample, divide, find_fault, find_hands
from data.pasting import open_backgrounds
from data.splits import load_split
from models import VITS
from models.supervised import HandClassifier
from options.classify_options import parse_classify
from util.checkpoint_file import load_checkpoint
from util.errors import UsageError
from util.images import write_png
from util.studies.classification import EXPERIMENTS, report, training_samples

COLOURS = {"synthetic": (230, 60, 60), "real": (40, 80, 220), "generated": (60, 90, 200)}  # generated look nearly real


def write_hand(path: Path, kind: str, seed: int) -> None:
    """A blob in its kind's colour, 48 x 48 on white."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((48, 48), np.uint8)
    cv2.ellipse(mask, tuple(rng.uniform(18, 30, 2).astype(int).tolist()), (14, 9), rng.uniform(0, 180), 0, 360, 1, -1)
    colour = np.clip(np.array(COLOURS[kind]) + rng.normal(0, 15, (48, 48, 3)), 0, 250).astype(np.uint8)
    write_png(path, np.where(mask[..., None] > 0, colour, 255).astype(np.uint8))


def write_hands(root: Path, count: int) -> dict[str, Path]:
    for kind, i in itertools.product(KINDS, range(count)):
        folder = "user01/color" if kind == "real" else f"female_noobject/seq0{i % 3}"
        write_hand(root / kind / folder / f"{i:03d}_color.png", kind, 3 * i + KINDS.index(kind))
    return {kind: root / kind for kind in KINDS}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    return write_hands(tmp_path_factory.mktemp("hands"), 40)


@pytest.fixture
def run(monkeypatch):
    """run(folders, results, flags): classify.py with a small ViT."""
    monkeypatch.setitem(VITS, "tiny", {"width": 32, "depth": 2, "heads": 2})

    def call(folders: dict[str, Path], results: Path, flags: str) -> None:
        argv = ["--synth_dir", folders["synthetic"], "--real_dir", folders["real"], "--gen_dir", folders["generated"]]
        small = f"--vit tiny --img_size 32 --batch_size 12 --lr 3e-3 --num_workers 0 --device cpu --amp off {flags}"
        argv = ["classify.py", "--results_dir", results, *argv, *small.split()]
        monkeypatch.setattr("sys.argv", [str(each) for each in argv])
        assert classify.main() == 0

    return call


@pytest.mark.parametrize("experiment", ["table2", "table3"])
def test_a_study_writes_all_it_promises(experiment, folders, tmp_path, run, capsys) -> None:
    run(folders, tmp_path, f"--experiment {experiment} --max_steps 3 --train_per_class 30 --test_per_class 12")
    study = tmp_path / "classify" / experiment
    printed = capsys.readouterr().out
    metrics = json.loads((study / "metrics.json").read_text())
    table = (study / "table.md").read_text()
    assert metrics["answer"] in table and metrics["answer"] in printed and "% of generated hands" in metrics["answer"]
    assert "*published*" in table and "29 training images a class, not the 30" in table  # 40 divided as 30 : 12
    assert metrics["images_per_class"] == {"train": 29, "test": 11}
    assert all((study / name).stat().st_size > 100 for name in ("confusion.png", "samples.png", "options.yaml"))
    assert list((study / "tensorboard").rglob("events.out*"))

    classes = list(EXPERIMENTS[experiment].classes)
    rows = list(csv.DictReader((study / "predictions.csv").read_text().splitlines()))
    for train_set, tests in metrics["results"].items():
        for test_set, ours in tests.items():
            chosen = [row for row in rows if (row["train_set"], row["test_set"]) == (train_set, test_set)]
            assert len(chosen) == 11 * len(test_set.split("_"))
            matrix = np.zeros((len(classes),) * 2, int)
            for row in chosen:
                matrix[classes.index(row["predicted"]), classes.index(row["true"])] += 1
                chances = {name: float(row[f"p_{name}"]) for name in classes}
                assert sum(chances.values()) == pytest.approx(1, abs=1e-6)
                assert row["predicted"] == max(chances, key=chances.get)
            assert report(matrix, classes) == ours


def test_a_stopped_study_goes_on_exactly_and_is_not_overwritten(folders, tmp_path, monkeypatch, run) -> None:
    flags = "--experiment table3 --train_per_class 20 --test_per_class 8 --save_freq 3"
    six, stopped = f"{flags} --max_steps 6", (folders, tmp_path / "stopped")
    run(folders, tmp_path / "straight", six)
    with monkeypatch.context() as patch:  # as if the machine had died after the save of step 3
        step = Mock(side_effect=[DEFAULT] * 3 + [KeyboardInterrupt], wraps=HandClassifier.training_step)
        patch.setattr(HandClassifier, "training_step", lambda self, batch: step(self, batch))
        with pytest.raises(KeyboardInterrupt):
            run(*stopped, six)
    with pytest.raises(UsageError, match="unfinished.*--continue_train"):
        run(*stopped, six)
    with pytest.raises(UsageError, match="lr: was 0.003, now 0.5"):
        run(*stopped, f"{six} --continue_train --lr 0.5")
    run(*stopped, f"{six} --continue_train")

    studies = [tmp_path / name / "classify" / "table3" for name in ("straight", "stopped")]
    straight, resumed = (load_checkpoint(each / "runs/syn_rea_gen/latest.pt")["model"]["networks"] for each in studies)
    assert same(straight, resumed)
    assert studies[0].joinpath("predictions.csv").read_bytes() == studies[1].joinpath("predictions.csv").read_bytes()
    run(*stopped, f"{flags} --max_steps 2")  # a finished one is replaced


def test_it_learns_hands_and_neither_backgrounds_nor_shuffled_labels(tmp_path, monkeypatch, run) -> None:
    hands = write_hands(tmp_path / "hands", 80)
    one = dataclasses.replace(EXPERIMENTS["table2"], training_sets={"syn_rea": {"synthetic": 1.0, "real": 1.0}})
    monkeypatch.setitem(EXPERIMENTS, "table2", one)
    flags = "--experiment table2 --max_steps 60 --train_per_class 50 --test_per_class 30"
    accuracy = {}

    def shuffled_labels(*which) -> list[Sample]:
        samples = training_samples(*which)
        order = np.random.default_rng(3).permutation(len(samples))
        return [sample._replace(label=samples[i].label) for sample, i in zip(samples, order)]

    for control, name, other in (
        ("hands", "classify.training_samples", training_samples),
        ("backgrounds", "data.labelled_hands.paste_hand", lambda image, mask, background, **_: background),
        ("shuffled", "classify.training_samples", shuffled_labels),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(name, other)
            run(hands, tmp_path / control, flags)
        metrics = json.loads((tmp_path / control / "classify" / "table2" / "metrics.json").read_text())
        accuracy[control] = metrics["results"]["syn_rea"]["syn_rea"]["accuracy"]
    # 60 hands: chance stays within four deviations of a half, 0.26
    assert accuracy["hands"] > 0.9
    assert abs(accuracy["backgrounds"] - 0.5) < 0.26 and abs(accuracy["shuffled"] - 0.5) < 0.26


def test_generated_hands_go_where_their_sources_go() -> None:
    pool = {kind: {f"seq/{i:03d}": HandFile(Path(kind, str(i)), None) for i in range(100)} for kind in KINDS}
    pool["generated"].pop("seq/007")
    parts = divide(pool, seed=0, test_share=0.25)
    assert all(set(part["generated"]) == set(part["synthetic"]) - {"seq/007"} for part in parts.values())
    assert {part: len(parts[part]["real"]) for part in parts} == {"train": 75, "test": 25}
    assert not any(parts["train"][kind].keys() & parts["test"][kind].keys() for kind in KINDS)
    assert parts == divide(pool, seed=0, test_share=0.25) != divide(pool, seed=1, test_share=0.25)


def test_a_run_is_divided_as_its_split_says(tmp_path) -> None:
    names = [f"u/{i}.jpg" for i in range(7)]
    split = dict.fromkeys(("synthetic", "real"), {"train": names[:4], "val": names[4:5], "test": names[5:]})
    for kind, i in itertools.product(KINDS, range(7)):
        write_hand(tmp_path / "all" / kind / f"u/{i}.png", kind, i)
    parts = labelled_hands.pools_of_split(tmp_path / "all", split)
    for kind in KINDS:
        assert sorted(parts["train"][kind]) == ["u/0", "u/1", "u/2", "u/3"]
        assert sorted(parts["test"][kind]) == ["u/5", "u/6"]


def test_hands_that_lack_are_translated_once(demo_run, tmp_path, monkeypatch) -> None:
    where = f"--checkpoints_dir {demo_run} --results_dir {tmp_path} --device cpu --num_workers 0 --amp off"
    opt = parse_classify(["--experiment", "table3", "--name", "run", *where.split()])
    split = load_split(demo_run / "run" / "splits.json")
    for wanted in ({"train": 2, "test": 1}, {"train": 3, "test": 9}):  # of two test images
        translating = Mock(wraps=test_script.main)
        monkeypatch.setattr(test_script, "main", translating)
        for _ in range(2):
            found = classify.pools(opt, wanted)
            for part, kind in itertools.product(PARTS, KINDS):
                there = len(split["real" if kind == "real" else "synthetic"][part])
                assert min(wanted[part], there) <= len(found[part][kind]) <= there
        assert translating.call_count == 1


def test_folders_are_read_without_annotations_and_masks(tmp_path) -> None:
    folders = write_hands(tmp_path, 3)
    write_png(folders["synthetic"] / "female_noobject/seq00/000_depth.png", np.zeros((8, 8), np.uint8))
    write_png(folders["real"] / "user01/mask/000_mask.png", np.zeros((8, 8), np.uint8))
    assert [len(find_hands(folders[kind], kind)) for kind in KINDS] == [3, 3, 3]
    with pytest.raises(UsageError, match="--gen_dir .*empty holds no image"):
        labelled_hands.pools_of_folders(folders | {"generated": tmp_path / "empty"}, seed=0, test_share=0.3)


def test_classes_are_balanced_and_faulty_files_counted(tmp_path, caplog) -> None:
    folders = write_hands(tmp_path, 20)
    damaged = sorted(folders["real"].rglob("*.png"))
    damaged[0].write_bytes(b"no image")
    for path, grey in zip(damaged[1:3], (255, 90)):
        write_png(path, np.full((48, 48, 3), grey, np.uint8))
    pool = {kind: find_hands(folders[kind], kind) for kind in KINDS}
    with caplog.at_level(logging.WARNING):
        hands = labelled_hands.draw_balanced(pool, per_class=18, seed=0)
    assert {kind: len(set(files)) for kind, files in hands.items()} == dict.fromkeys(KINDS, 17)
    assert not {file.image for file in hands["real"]} & set(damaged[:3]) and "3 real hands skipped" in caplog.text
    by_source = [{file.image.parts[-3:] for file in hands[kind]} for kind in ("synthetic", "generated")]
    assert by_source[0] == by_source[1]  # same shapes, other looks
    for path in damaged:
        write_png(path, np.full((48, 48, 3), 90, np.uint8))
    with pytest.raises(UsageError, match="no usable real hand.*exactly white"):
        labelled_hands.draw_balanced(pool, per_class=18, seed=0)


def test_masks_beside_the_folders_are_used(tmp_path) -> None:
    folders = write_hands(tmp_path, 2)
    mask = np.zeros((48, 48), bool)
    mask[20:30, 20:30] = True
    for kind in ("synthetic", "real"):
        for path in folders[kind].rglob("*.png"):
            write_png(tmp_path / "masks" / kind / path.relative_to(folders[kind]), mask)
    for path in folders["generated"].rglob("*.png"):
        write_png(path, np.full((48, 48, 3), 90, np.uint8))  # a model trained without masks changes the white, too
    for kind in KINDS:
        for name, file in find_hands(folders[kind], kind).items():
            assert labelled_hands.read_hand_file(file)[1].sum() == 100 and find_fault(file) is None
            assert file.mask.parts[-4] == ("real" if kind == "real" else "synthetic")
            assert file.mask.with_suffix("").as_posix().endswith(name)
    write_png(file.mask, np.ones((9, 9), bool))
    assert "not of the size" in find_fault(file)


def test_training_sets_of_table_2_are_balanced() -> None:
    hands = {kind: [HandFile(Path(kind, str(i)), None) for i in range(11)] for kind in KINDS}
    for name, counts in (("syn_rea", (11, 11, 0)), ("syn_gen", (11, 0, 11)), ("syn_half", (11, 5, 6))):
        samples = training_samples(EXPERIMENTS["table2"], name, hands)
        assert tuple(sum(sample.kind == kind for sample in samples) for kind in KINDS) == counts
        assert all(sample.label == (sample.kind != "synthetic") for sample in samples)
        assert len({sample.file for sample in samples}) == 22


def stream(folders, *, train: bool, flip_labels: bool = False) -> HandsOnBackgrounds:
    paths = [(path, kind) for kind in ("synthetic", "real") for path in sorted(folders[kind].rglob("*.png"))[:5]]
    samples = [Sample(HandFile(path, None), kind, (kind == "real") ^ flip_labels) for path, kind in paths]
    background = open_backgrounds(None, size=32, part="train")
    return HandsOnBackgrounds(samples, background=background, seed=3, train=train)


def test_the_stream_passes_over_all_hands_and_repeats_itself(folders) -> None:
    first, again = stream(folders, train=True), stream(folders, train=True)
    items = [first[k] for k in range(20)]
    one, two = ([item["hand_path"] for item in part] for part in (items[:10], items[10:]))
    assert len(set(one)) == 10 and set(one) == set(two) and one != two
    assert torch.equal(again[17]["image"], items[17]["image"])  # whatever was asked before
    assert items[0]["image"].shape == (3, 32, 32) and items[0]["image"].abs().max() <= 1
    assert all(item["label"].item() == ("real" in item["hand_path"]) for item in items)
    test = stream(folders, train=False)
    assert len(test) == 10 and [test[k]["label"].item() for k in range(10)] == [0] * 5 + [1] * 5


@pytest.mark.parametrize("train", [True, False])
def test_backgrounds_do_not_know_the_class(folders, train: bool) -> None:
    plain, swapped = (stream(folders, train=train, flip_labels=flip) for flip in (False, True))
    assert any(plain[k]["label"] != swapped[k]["label"] for k in range(10))
    assert all(torch.equal(plain[k]["image"], swapped[k]["image"]) for k in range(10))
