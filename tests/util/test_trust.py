"""Broken steps and checkpoints, failures from outside, bad images, odd names, long runs: what is there stays, and it is told."""

import errno
import json
import logging
import math
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import TINY, draw_hand, write_hands

import test as test_script
import train
from data.labelled_hands import HandFile, Sample
from models.hgan import HGAN
from util.checkpoint_file import load_checkpoint, save_checkpoint
from util.errors import RunError, UsageError, run_command
from util.files import strict, write_json
from util.images import write_png
from util.run import load_options
from util.studies.classification import EXPERIMENTS, write_predictions
from util.training import logger, tasks


def weights_are_finite(checkpoint: Path) -> bool:
    networks = load_checkpoint(checkpoint)["model"]["networks"]
    return all(value.isfinite().all() for net in networks.values() for value in net.values())


def spoil_steps(monkeypatch, steps) -> None:
    """Have train.py meet images that are no numbers at these steps (from 0)."""
    step = HGAN.training_step

    def spoilt(self, batch):
        if self.steps in steps:
            batch["real"] = torch.full_like(batch["real"], math.nan)
        return step(self, batch)

    monkeypatch.setattr(HGAN, "training_step", spoilt)


@pytest.mark.parametrize("flags", [(), ("--norm", "batch")], ids=["instance", "batch"])
def test_broken_steps_are_skipped_named_and_logged(fit, tmp_path, monkeypatch, flags):
    spoil_steps(monkeypatch, {2, 3})
    status, said = fit("--max_steps", 6, "--log_freq", 5, "--pool_size", 3, *flags)
    assert status == 0 and said.count("update skipped") == 2
    assert "step 3: " in said and "step 4: " in said and "_color.png" in said
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    assert [line.get("skipped") for line in lines] == [None, 2, None]
    assert all(math.isfinite(value) for line in lines for value in line.values())
    assert weights_are_finite(tmp_path / "run" / "latest.pt")
    (state,) = load_checkpoint(tmp_path / "run" / "latest.pt")["ranks"]
    assert all(state["pools"][name]["images"].isfinite().all() for name in "rs")


def test_too_many_broken_steps_end_the_run_with_the_checkpoint_from_before(fit, tmp_path, monkeypatch):
    monkeypatch.setattr(logger, "MOST_SKIPPED", 4)
    spoil_steps(monkeypatch, range(3, 99))
    status, said = fit("--max_steps", 50, "--save_freq", 3)
    assert status == 1 and "in 4 steps in a row, up to step 7" in said and "Traceback" not in said
    assert load_checkpoint(tmp_path / "run" / "latest.pt")["step"] == 6  # among skipped steps, which changed nothing
    assert weights_are_finite(tmp_path / "run" / "latest.pt")


def test_a_failed_validation_does_not_end_a_run(fit, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise UsageError("a set holds 1 image")

    monkeypatch.setattr(tasks, "load_feature_net", lambda *_, **__: SimpleNamespace(name="none", sha256="0"))
    monkeypatch.setattr(tasks.TranslatorTask, "create_validation", lambda *_: (broken, {}))
    status, said = fit("--max_steps", 3, "--val_interval", 0.1, "--val_size", 3)
    assert status == 0 and "no validation at step" in said
    assert load_checkpoint(tmp_path / "run" / "latest.pt")["step"] == 3


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "lower --batch_size"),
        (MemoryError(), "out of memory"),
        (RuntimeError("GET was unable to find an engine to execute this computation"), "lower --batch_size"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "the GPU failed"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "the GPU failed"),
        (RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer"), "another process of this run"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/a/b"), "/a/b: Disk quota exceeded"),
        (OSError(errno.ENOSPC, "No space left on device", b"a/events"), "error: a/events: No space left on device"),
        (RuntimeError("can't start new thread"), "starts no more threads: lower --num_workers"),
        (RuntimeError("Failed to find C compiler. Please specify via CC"), "or drop --compile"),  # Triton's
        (type("InductorError", (RuntimeError,), {})("No working C++ compiler found"), "or drop --compile"),
        (RunError("the disk is full"), "error: the disk is full"),
        (UsageError("no"), "error: no"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_failures_from_outside_are_one_sentence_and_bugs_keep_their_traceback(run_main, error, words):
    def fail(error):
        raise error

    status, said = run_main(lambda: fail(error))
    assert status == (2 if isinstance(error, UsageError) else 1) and words in said and said.count("\n") == 1
    with pytest.raises(RuntimeError, match="a bug"):
        run_command(lambda: fail(RuntimeError("a bug")))


@pytest.mark.parametrize("damage", ["cut", "empty", "no zip", "no checkpoint"])
def test_a_damaged_checkpoint_is_refused_in_one_sentence(fit, run_main, tmp_path, damage):
    assert fit("--max_steps", 1)[0] == 0
    latest = tmp_path / "run" / "latest.pt"
    data = latest.read_bytes()
    latest.write_bytes({"cut": data[:-100], "empty": b"", "no zip": b"x" * 1000}.get(damage, data))
    if damage == "no checkpoint":
        torch.save([1, 2], latest)
    where = ("--checkpoints_dir", tmp_path, "--results_dir", tmp_path / "out", "--no-metrics", "--amp", "off")
    tested, continued = run_main(test_script.main, "--name", "run", *where), fit("--max_steps", 2, "--continue_train")
    for status, said in (tested, continued):
        assert status == 2 and "checkpoint" in said and "latest.pt" in said and "Traceback" not in said, said


def test_another_architecture_names_the_option(fit, run_main, tmp_path):
    assert fit("--max_steps", 1)[0] == 0
    options = tmp_path / "run" / "options.yaml"
    options.write_text(options.read_text().replace("ngf: 4\n", "ngf: 8\n"))
    status, said = run_main(test_script.main, "--name", "run", "--checkpoints_dir", tmp_path, "--amp", "off")
    assert status == 2 and "--ngf is 8 here, 4 there" in said and "norm" not in said
    status, said = fit("--max_steps", 2, "--continue_train", "--ngf", 8)
    assert status == 2 and "--ngf is 8 here, 4 there" in said


@pytest.mark.parametrize(("code", "words"), [(errno.ENOSPC, "No space left"), (errno.EIO, "Input/output error")])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch, code, words):
    save_checkpoint(tmp_path / "a.pt", {"step": 1, "x": torch.ones(9)})

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError, match=f"a.pt could not be written .*{words}.* --continue_train"):
        save_checkpoint(tmp_path / "a.pt", {"step": 2})
    assert load_checkpoint(tmp_path / "a.pt")["step"] == 1 and [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_one_image_a_side_trains(run_main, tmp_path):
    for folder in ("trainA", "trainB", "testA", "testB"):
        write_png(tmp_path / "data" / folder / "0.png", draw_hand(np.random.default_rng(0))[0])
    where = ("--name", "run", "--checkpoints_dir", tmp_path)
    flags = ("--dataroot", tmp_path / "data", *TINY, "--netD", "pixel", "--max_steps", 2, "--val_interval", 1)
    status, said = run_main(train.main, *where, *flags)
    assert status == 0, said
    results = ("--results_dir", tmp_path / "out", "--num_workers", 0, "--amp", "off", "--feature_net", "random")
    status, said = run_main(test_script.main, *where, *results, "--num_test", 5, "--no-metrics")
    assert status == 0 and "1 synthetic images to test on, fewer than --num_test 5" in said, said
    status, said = run_main(test_script.main, *where, *results, "--num_test", 5)
    assert status == 2 and "give --phase all, or give --no-metrics" in said, said


def test_bad_images_are_skipped_and_listed(fit, tmp_path):
    root = write_hands(tmp_path / "data", frames=1)
    bad = sorted(root.rglob("*_color.png"))[-1]
    bad.write_bytes(bad.read_bytes()[:100])
    status, said = fit("--dataroot", root, "--max_steps", 4, "--test_size", 0, "--val_size", 0)
    assert status == 0 and f"skipped: {bad}: " in said and "truncated" in said and "1 so far, see skipped.txt" in said
    assert str(bad) in (tmp_path / "run" / "skipped.txt").read_text()


def test_json_is_strict(tmp_path):
    write_json(tmp_path / "a.json", {"psnr": math.inf, "b": [math.nan, {"c": -math.inf}], "d": (1, 2.5)})
    read = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert read == {"psnr": None, "b": [None, {"c": None}], "d": [1, 2.5]} and strict(True) is True


def test_memory_and_open_files_stay_flat(fit, monkeypatch):
    """After warm-up, hundreds of steps with logging and saving hold no more memory and no more files."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("no /proc here")
    seen, step = {}, HGAN.training_step

    def watched(self, batch):
        if self.steps % 100 == 99:
            resident = int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
            seen[self.steps + 1] = (resident, len(os.listdir("/proc/self/fd")))
        return step(self, batch)

    monkeypatch.setattr(HGAN, "training_step", watched)
    logging.getLogger().setLevel(logging.WARNING)
    flags = "--max_steps 300 --log_freq 10 --save_freq 50 --pool_size 5 --lambda_identity 0"
    assert fit(*flags.split())[0] == 0
    (first, files), (last, files_later) = seen[100], seen[300]
    assert files_later <= files and last - first < 16, seen


@pytest.fixture
def odd(tmp_path) -> Path:
    folder = tmp_path / os.fsdecode(b"caf\xe9 \xff")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    return folder


def test_a_run_on_data_below_such_a_folder_trains_and_goes_on(run_main, odd, tmp_path):
    root = write_hands(odd / "data", frames=1, size=48)
    flags = ["--name", "run", "--dataroot", root, "--checkpoints_dir", tmp_path, *TINY, "--netD", "pixel"]
    for steps, more in ((1, ["--save_epoch_freq", 1]), (2, ["--continue_train"])):
        status, said = run_main(train.main, *flags, "--max_steps", steps, "--display_freq", 1, *more)
        assert status == 0, said
    assert load_checkpoint(tmp_path / "run" / "latest.pt")["step"] == 2
    assert load_options(tmp_path / "run")["dataroot"] == str(root)


def test_a_studys_tables_name_such_files(odd):
    sample = Sample(HandFile(odd / "a.png", None), "real", 1)
    judged = {"syn_rea": np.array([[0.25, 0.75]])}
    write_predictions(odd / "predictions.csv", EXPERIMENTS["table2"], [sample], judged)
    assert "caf\\xe9 \\xff/a.png,real" in (odd / "predictions.csv").read_text(encoding="utf-8")
