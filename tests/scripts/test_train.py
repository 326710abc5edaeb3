"""train.py and test.py, run as a user runs them, on small drawn data."""

import json
import os
import re
import shutil
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import KEY, TINY, command, draw_hand, same, write_hands
from torch.utils.tensorboard import SummaryWriter

import test as test_script
import train
from data.frames import DOMAINS
from data.samples import HandRegions
from models import MODELS
from models.hgan import HGAN
from util import files
from util.checkpoint_file import load_checkpoint, save_checkpoint
from util.images import read_mask, read_picture, read_rgb, write_png
from util.training.logger import RunLogger

METRICS = ("fd", "kid_mean", "kid_std", "kid_subset_size", "fd_patch", "feature_net", "n_generated", "n_real", "floor")
INSIDE = ("structure", "structure_chance", "texture", "tone", "fringe")


def test_a_run_leaves_the_files_of_the_contract(fit, tmp_path):
    status, said = fit("--n_epochs", 9, "--max_steps", 3, "--display_freq", 2, "--netD", "perceptual")
    assert status == 0 and re.search(r"--n_epochs is \d+ steps, --max_steps 3: training ends after 3", said), said
    folder = tmp_path / "run"
    options = yaml.safe_load((folder / "options.yaml").read_text())
    assert options["netG"] == "resnet_4blocks" and options["netD"] == "perceptual" and options["lr"] == 1e-4
    assert options["resolved"]["amp"] == "off" and options["resolved"]["device"] == "cpu"
    assert options["resolved"]["vgg_weights"]["source"] == "random"
    assert set(options["resolved"]["versions"]) >= {"python", "torch", "numpy"}
    split = json.loads((folder / "splits.json").read_text())
    assert {domain: set(parts) for domain, parts in split.items()} == dict.fromkeys(DOMAINS, {"train", "val", "test"})
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    for line in lines:
        assert {"epoch", "seconds", "G_gan", "G_cycle", "G_identity", "D_r", "D_s", "D_r_real", "D_r_fake"} <= set(line)
    assert (folder / "latest.pt").exists()

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    speed = {f"4_speed_and_memory/{name}" for name in ("seconds", "images_per_second")}
    assert {"2_generators/G_gan", "3_discriminators/D_r"} | speed <= set(board.Tags()["scalars"])
    assert {"synthetic_translated_cycle", "real_translated_cycle"} == set(board.Tags()["images"])
    assert read_rgb(folder / "synthetic_translated_cycle.png").shape[1] > 3 * 256
    assert any("options" in tag for tag in board.Tags()["tensors"])


@pytest.mark.parametrize("flags", ["--netD perceptual", "--dropout --norm batch --batch_size 2"])
def test_resuming_is_exact(fit, tmp_path, flags):
    """Six steps straight, and three, resumed, and three more, end in equal checkpoints: networks, optimizers, scaler,
    averages, pools, random states. At a constant rate, for other rates depend on the run's length."""
    flags = (*flags.split(), "--lr_decay", "none")
    assert fit("--max_steps", 6, *flags, "--name", "straight")[0] == 0
    assert fit("--max_steps", 3, *flags)[0] == 0
    assert fit("--max_steps", 6, "--continue_train", *flags)[0] == 0
    straight, resumed = (load_checkpoint(tmp_path / name / "latest.pt") for name in ("straight", "run"))
    assert straight["step"] == resumed["step"] == 6
    assert same(straight, resumed)
    logs = [list(map(json.loads, (tmp_path / name / "log.jsonl").open())) for name in ("straight", "run")]
    for line in (*logs[0], *logs[1]):
        assert all(line.pop(name) > 0 for name in ("seconds", "images_per_second"))
    assert logs[0] == logs[1]


@pytest.mark.parametrize(("more", "chosen_by"), [((), "score"), (("--paper",), "fd")])
def test_validation_keeps_the_best(fit, tmp_path, monkeypatch, more, chosen_by):
    readers, read = set(), HandRegions.readable

    def readable(regions, *, num_workers=0):
        readers.add(num_workers)
        return read(regions, num_workers=num_workers)

    monkeypatch.setattr(HandRegions, "readable", readable)
    status, said = fit("--max_steps", 4, "--val_interval", 0.1, "--val_size", 3, "--num_workers", 1, *more)
    assert status == 0 and readers == {1}, said
    folder = tmp_path / "run"
    scores = [line for line in map(json.loads, (folder / "log.jsonl").open()) if "fd" in line]
    assert [line["step"] for line in scores] == [1, 2, 3, 4]
    best, stored = min(scores, key=lambda line: line[chosen_by]), load_checkpoint(folder / "best.pt")
    assert stored["step"] == best["step"] and stored["score"] == best[chosen_by]
    assert {"structure", "texture_6", "texture_24", "tone_L", "tone_b", "fringe"} <= set(scores[0])


def test_ctrl_c_saves_stops_and_the_name_alone_goes_on_and_twice_quits_at_once(fit, run_main, tmp_path, monkeypatch):
    step, presses = HGAN.training_step, [2, 1, 0]

    def step_and_signal(self, batch):
        if self.steps == 2:
            for _ in range(presses[0]):
                os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch)

    monkeypatch.setattr(HGAN, "training_step", step_and_signal)
    go_on = partial(run_main, train.main, "--name", "run", "--checkpoints_dir", tmp_path, "--continue_train")
    for start, expected, words, steps in (
        (lambda: fit("--max_steps", 4, "--lambda_cycle", 3), 130, "interrupted; what was saved before is intact", 0),
        (go_on, 130, "SIGINT: saved at step 3; go on with --continue_train", 3),
        (lambda: go_on("--lr", 3e-4), 0, "\nlr: was 0.0001, now 0.0003\ncontinuing at step 3", 4),
    ):
        status, said = start()
        assert status == expected and words in said and "Traceback" not in said, said
        assert load_checkpoint(tmp_path / "run" / "latest.pt")["step"] == steps
        presses.pop(0)


def test_a_run_is_neither_overwritten_nor_continued_with_other_options(fit, monkeypatch):
    assert fit("--max_steps", 1)[0] == 0
    monkeypatch.setattr(train, "open_frames", None)  # it is said before images are listed or drawn
    status, said = fit("--max_steps", 1)
    assert status == 2 and "--continue_train" in said
    status, said = fit("--max_steps", 2, "--continue_train", "--lambda_cycle", 3)
    assert status == 2 and "lambda_cycle: was 10.0, now 3.0" in said and "max_steps" not in said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--synth_root", "nowhere"), "--synth_root nowhere"),
        (("--dataroot", "nowhere"), r"(?=.*--dataroot)(?=.*SynthHands_Release).*trainA"),
        (("--amp", "fp16", "--device", "cpu"), "CUDA"),
    ],
    ids=str,
)
def test_mistakes_end_with_one_sentence_and_status_2(fit, flags, words):
    status, said = fit("--max_steps", 1, *flags)
    assert status == 2 and re.search(words, said, re.S) and "Traceback" not in said


@pytest.fixture(scope="module")
def trained(tmp_path_factory, hands_root) -> Path:
    """A folder of runs: one tiny run of every name of Table I, trained for a step."""
    runs = tmp_path_factory.mktemp("runs")
    for model in MODELS:
        where = ("--name", model, "--model", model, "--dataroot", hands_root, "--checkpoints_dir", runs)
        assert command(train.main, *where, *TINY, "--max_steps", 1, "--crop_size", 64, "--lambda_geo", 0) == 0
    return runs


@pytest.fixture
def translate(run_main, trained, tmp_path):
    """translate(*flags) -> (exit status, stderr) of test.py, results in tmp_path."""

    def run(*flags: object, name: str = "mshgan4") -> tuple[int, str]:
        where = ("--checkpoints_dir", trained, "--results_dir", tmp_path, "--feature_net", "random", "--amp", "off")
        return run_main(test_script.main, "--name", *name.split(), *where, "--num_workers", 0, *flags)

    return run


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_translated_with(translate, tmp_path, model):
    status, said = translate("--no-metrics", name=model)
    assert status == 0, said
    folder = tmp_path / model / "test"
    generated, sources = (
        sorted(path.relative_to(folder / kind) for path in (folder / kind).rglob("*.png"))
        for kind in ("generated", "synthetic")
    )
    assert generated == sources and generated
    for name in generated:
        made, source = read_rgb(folder / "generated" / name), read_rgb(folder / "synthetic" / name)
        mask = read_mask(folder / "masks" / "synthetic" / name)
        assert made.shape == source.shape == (256, 256, 3)
        assert np.array_equal(made[~mask], source[~mask]) and not np.array_equal(made, source)
    assert (folder / "grid.png").exists()


def test_metrics_and_comparison(translate, tmp_path):
    status, said = translate("--phase", "all", name="mshgan4 pixcyclegan6")
    assert status == 0, said
    metrics = json.loads((tmp_path / "mshgan4" / "all" / "metrics.json").read_text())
    assert all(key in metrics and key in metrics["baseline"] for key in (*METRICS, *INSIDE))
    assert metrics["n_generated"] == 12 and metrics["n_real"] == 9 and metrics["kid_subset_size"] == 2
    assert set(metrics["texture"]) == {"6", "12", "24"} and set(metrics["tone"]) == {"L", "a", "b"}
    assert metrics["baseline"]["structure"] in (1.0, None)
    rows = (tmp_path / "mshgan4" / "all" / "hand_metrics.csv").read_text().splitlines()
    assert rows[0].startswith("file,structure,") and len(rows) == 1 + metrics["n_generated"]
    table = (tmp_path / "compare" / "table.md").read_text()
    assert "63.297" in table and "71.639" in table and "FD" in table and "untranslated" in table
    assert read_rgb(tmp_path / "compare" / "grid.png").shape[1] > 3 * 256


def test_a_run_finds_its_data_from_elsewhere(fit, run_main, hands_root, tmp_path, monkeypatch):
    monkeypatch.chdir(hands_root)
    assert fit("--max_steps", 1, "--dataroot", ".")[0] == 0
    monkeypatch.chdir(tmp_path)
    where = ("--name", "run", "--checkpoints_dir", tmp_path, "--results_dir", tmp_path / "results")
    status, said = run_main(test_script.main, *where, "--no-metrics", "--num_workers", 0)
    assert status == 0, said


def test_a_folder_of_whole_frames_keeps_names_sizes_and_annotations(translate, tmp_path):
    random = np.random.default_rng(0)
    source = tmp_path / "in put"
    image, mask = draw_hand(random, size=90)
    write_png(source / "deep er" / "0001_color.png", image[:87])
    (source / "deep er" / "0001_joint_pos.txt").write_text("1,2,3")
    (source / "deep er" / "0001.json").write_text("{}")
    (source / "deep er" / "00010_joint_pos.txt").write_text("another frame's")
    write_png(source / "deep er" / "0001_depth.png", mask)
    write_png(source / "é.png", draw_hand(random, size=130, background=KEY)[0])
    status, said = translate("--input", source, "--annotations")
    assert status == 0, said
    out = tmp_path / "mshgan4" / "input_in put" / "generated"
    grid = read_rgb(out.parent / "grid.png")  # all of its rows on the background that the networks saw
    assert not (grid == KEY).all(-1).any() and (read_rgb(out / "é.png") == KEY).all(-1).any()
    assert read_rgb(out / "deep er" / "0001_color.png").shape == (87, 90, 3)
    assert read_rgb(out / "é.png").shape == (130, 130, 3)
    assert (out / "deep er" / "0001_joint_pos.txt").read_text() == "1,2,3"
    kept = ["0001.json", "0001_color.png", "0001_depth.png", "0001_joint_pos.txt"]
    assert sorted(p.name for p in (out / "deep er").iterdir()) == kept


def test_input_keeps_what_is_outside_the_hand_and_says_where_masks_are_from(translate, tmp_path):
    random = np.random.default_rng(0)
    source = tmp_path / "renders"
    images, masks = zip(*(draw_hand(random, size=90, background=(10, 20, 30)) for _ in range(3)))
    write_png(source / "a.png", np.dstack([images[0], masks[0].astype(np.uint8) * 255]))
    write_png(source / "b.png", images[1])
    write_png(source / "b_mask.png", masks[1])
    write_png(source / "c.png", images[2])
    write_png(tmp_path / "renders_masks" / "c.png", masks[2])
    status, said = translate("--input", source)
    assert status == 0, said
    out = next((tmp_path / "mshgan4").glob("input*")) / "generated"
    for name, mask in zip("abc", masks):
        before, after = (read_picture(folder / f"{name}.png").pixels for folder in (source, out))
        assert before.shape == after.shape and np.array_equal(before[~mask], after[~mask])
        assert (before[mask] != after[mask]).any(axis=-1).mean() > 0.5
    told = next(line for line in said.splitlines() if line.startswith("masks: "))
    sources = {"1 from <name>_mask files beside them", "1 from alpha", "1 from renders_masks/"}
    assert set(told.removeprefix("masks: ").split(", ")) == sources


def test_several_inputs_are_one_folder_of_results(translate, tmp_path):
    random = np.random.default_rng(0)
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/c/3.png"):
        write_png(tmp_path / name, draw_hand(random, size=64)[0])
    status, said = translate("--input", *(tmp_path / name for name in ("a/1.png", "a/2.png", "b", "b/c")))
    assert status == 0, said
    out = tmp_path / "mshgan4" / f"input_{tmp_path.name}" / "generated"
    made = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    assert made == ["a/1.png", "a/2.png", "b/1.png", "b/c/3.png"]


def test_few_images_do_not_choose_the_best_unless_asked_and_later_ones_are_told(fit, run_main, tmp_path):
    root = write_hands(tmp_path / "data")
    data = ("--dataroot", root, "--val_interval", 0.2)  # the default
    status, said = fit("--max_steps", 2, *data)
    assert status == 0 and re.search("no validation: 1 validation images of a domain, fewer than 20", said), said
    shutil.copy(*(root / "RealHands" / "user01" / "mask" / f"image_{name}_mask.png" for name in ("0", "later")))
    shutil.copy(*(root / "RealHands" / "user01" / "color" / f"image_{name}_color.png" for name in ("0", "later")))
    again = ("--name", "run", "--checkpoints_dir", tmp_path, "--continue_train", "--max_steps", 3)
    status, said = run_main(train.main, *again)
    assert status == 0 and "1 real images are not in the run's split; they are not used" in said, said
    assert "no validation: 1" in said and not (tmp_path / "run" / "best.pt").exists()
    assert "not in the run's split" not in fit("--max_steps", 1, *data, where=tmp_path / "anew")[1]


@pytest.mark.parametrize("writer", ["log.jsonl", "tensorboard", "synthetic_translated_cycle.png"])
def test_a_write_that_fails_ends_the_run_after_a_save(fit, run_main, tmp_path, monkeypatch, writer):
    """The sentence names the file; the run goes on and ends as one that was left alone."""
    steady = ("--lr_decay", "none", "--display_freq", 1)
    assert fit("--max_steps", 4, *steady, where=tmp_path / "straight")[0] == 0
    calls = []

    def third_fails(*_, **__) -> None:
        calls.append(0)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")

    class Full:
        name = str(tmp_path / "run" / "log.jsonl")
        write = third_fails

    with monkeypatch.context() as patch:
        if writer == "log.jsonl":
            patch.setattr(RunLogger, "_log", property(lambda _: Full(), lambda *_: None), raising=False)
        elif writer == "tensorboard":
            patch.setattr(SummaryWriter, "flush", third_fails)
        else:
            patch.setattr(
                files.os, "replace", lambda part, path: third_fails() if path.name == writer else os.rename(part, path)
            )
        status, said = fit("--max_steps", 4, *steady)
    assert status == 1 and re.search(f"error: .*run/{writer}: No space left", said) and "Traceback" not in said
    assert load_checkpoint(tmp_path / "run" / "latest.pt")["step"] >= 1
    assert run_main(train.main, "--name", "run", "--checkpoints_dir", tmp_path, "--continue_train")[0] == 0
    assert same(*(load_checkpoint(tmp_path / each / "run" / "latest.pt") for each in ("", "straight")))


def test_a_new_run_starts_from_another_ones_networks(fit, tmp_path, monkeypatch):
    """From a file of all four, and from one of the generators alone."""
    started = []
    monkeypatch.setattr(HGAN, "training_step", lambda self, _: started.append(self.state_dict()) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit("--max_steps", 1)
    first = started[0]["networks"]
    for place, (source, count) in enumerate(((tmp_path / "run" / "latest.pt", 4), (tmp_path / "generators.pt", 2))):
        content = load_checkpoint(tmp_path / "run" / "latest.pt")
        content["model"]["networks"] = dict(list(content["model"]["networks"].items())[:count])
        save_checkpoint(source, content)
        with pytest.raises(ZeroDivisionError):
            fit("--max_steps", 1, "--seed", 5, "--init_from", source, where=tmp_path / str(place))
        new, mean = started[-1]["networks"], started[-1]["average"]["networks"]
        assert sum(same(first[name], new[name]) for name in first) == count and same(mean["G_r"], new["G_r"])
    status, said = fit("--max_steps", 1, "--ngf", 5, "--init_from", tmp_path / "run", where=tmp_path / "other")
    assert status == 2 and "--init_from" in said and "--ngf is 5 here, 4 there" in said
