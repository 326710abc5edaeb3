"""Signals, failures from outside, bad images and long runs: what is there stays, and the user is told."""

import errno
import json
import logging
import math
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import TINY, draw_hand, same, write_hands

import test as test_script
import train
from models.hgan import HGAN
from util.checkpoint import load_checkpoint
from util.errors import UsageError, run_command
from util.files import strict, write_json
from util.images import write_png
from util.training import tasks

# ------------------------------------------------------------------ signals


def test_a_kill_in_validation_changes_nothing_in_the_end(fit, tmp_path, monkeypatch):
    scores = {"run": 5.0, "other": 5.0}

    def scored(_model, _frames, _net, *, cache_dir, **_):
        def validate():
            if cache_dir.parent.parent == tmp_path and scores["run"] == 4.0 and not scores.get("killed"):
                scores["killed"] = True
                raise KeyboardInterrupt
            where = "run" if cache_dir.parent.parent == tmp_path else "other"
            scores[where] -= 1
            return {"fd": scores[where]}, scores[where]

        return validate

    def net(*_, **__):
        torch.rand(5)  # as building a network does; what resumes must not depend on it
        return SimpleNamespace(name="none", sha256="0")

    flags = ("--val_interval", 0.2, "--val_size", 3, "--dropout", "--max_steps", 9)
    monkeypatch.setattr(tasks, "load_feature_net", net)
    monkeypatch.setattr(tasks, "create_validation", scored)
    assert fit(*flags)[0] == 130
    stopped = load_checkpoint(tmp_path / "run" / "latest.pt")
    assert stopped["validation_due"] and stopped["best_score"] == 4.0
    assert fit("--continue_train", *flags)[0] == 0 and fit(*flags, where=tmp_path / "other")[0] == 0
    runs = [tmp_path / "run", tmp_path / "other" / "run"]
    for name in ("latest.pt", "best.pt"):
        killed, straight = (load_checkpoint(run / name) for run in runs)
        assert same(killed, straight)
    steps = [[json.loads(line)["step"] for line in (run / "log.jsonl").open()] for run in runs]
    assert steps[0] == steps[1]


def test_a_failed_validation_does_not_end_a_run(fit, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise UsageError("a set holds 1 image")

    monkeypatch.setattr(tasks, "load_feature_net", lambda *_, **__: SimpleNamespace(name="none", sha256="0"))
    monkeypatch.setattr(tasks, "create_validation", lambda *_, **__: broken)
    status, said = fit("--max_steps", 3, "--val_interval", 0.1, "--val_size", 3)
    assert status == 0 and "no validation at step" in said
    assert load_checkpoint(tmp_path / "run" / "latest.pt")["step"] == 3


def test_ctrl_c_twice_quits_at_once(fit, tmp_path, monkeypatch):
    step = HGAN.training_step

    def signalled(self, batch):
        if self.steps == 2:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch)

    monkeypatch.setattr(HGAN, "training_step", signalled)
    status, said = fit("--max_steps", 9)
    assert status == 130 and "interrupted; what was saved before is intact" in said and "Traceback" not in said
    assert load_checkpoint(tmp_path / "run" / "latest.pt")["step"] == 0


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), 1, "--batch_size"),
        (RuntimeError("CUDA error: device-side assert"), 1, "the GPU failed"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/a/b"), 1, "/a/b: the disk quota is used up"),
        (MemoryError(), 1, "out of memory"),
        (UsageError("no"), 2, "error: no"),
    ],
)
def test_failures_from_outside_are_one_sentence_and_bugs_keep_their_traceback(run_main, error, status, words):
    def fail(error):
        raise error

    found, said = run_main(lambda: fail(error))
    assert found == status and words in said and said.count("\n") == 1
    with pytest.raises(RuntimeError, match="a bug"):
        run_command(lambda: fail(RuntimeError("a bug")))


# ------------------------------------------------------------------ data, figures


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


def test_bad_images_are_skipped_and_listed(run_main, tmp_path):
    root = write_hands(tmp_path / "data", frames=1)
    bad = sorted(root.rglob("*_color.png"))[-1]
    bad.write_bytes(bad.read_bytes()[:100])
    where = ("--name", "run", "--dataroot", root, "--checkpoints_dir", tmp_path, *TINY, "--netD", "pixel")
    status, said = run_main(train.main, *where, "--max_steps", 4, "--test_size", 0, "--val_size", 0)
    assert status == 0 and f"skipped: {bad}: " in said and "truncated" in said and "1 images were skipped" in said
    assert str(bad) in (tmp_path / "run" / "skipped.txt").read_text()


def test_json_is_strict(tmp_path):
    write_json(tmp_path / "a.json", {"psnr": math.inf, "b": [math.nan, {"c": -math.inf}], "d": (1, 2.5)})
    read = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert read == {"psnr": None, "b": [None, {"c": None}], "d": [1, 2.5]} and strict(True) is True


# ------------------------------------------------------------------ leaks


def test_memory_and_open_files_stay_flat(fit, tmp_path, monkeypatch):
    """After warm-up, hundreds of steps with logging and saving hold no more memory and no more files."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("no /proc here")
    seen = {}
    step = HGAN.training_step

    def watched(self, batch):
        if self.steps % 100 == 99:
            resident = int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
            seen[self.steps + 1] = (resident, len(os.listdir("/proc/self/fd")))
        return step(self, batch)

    monkeypatch.setattr(HGAN, "training_step", watched)
    logging.getLogger().setLevel(logging.WARNING)
    flags = [
        "--max_steps",
        "300",
        "--log_freq",
        "10",
        "--save_freq",
        "50",
        "--pool_size",
        "5",
        "--lambda_identity",
        "0",
    ]
    assert fit(*flags)[0] == 0
    (first, files), (last, files_later) = seen[100], seen[300]
    assert files_later <= files and last - first < 16, seen
