"""Checkpoints: written whole or not at all, and refused if they are damaged."""

import errno
import os
import subprocess

import pytest
import torch

import test as test_script
from util.checkpoint import load_checkpoint, save_checkpoint
from util.errors import RunError


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


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 12 MB in memory; skips where mounting is not allowed."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_keeps_the_last_good_checkpoint(fit, small_disk):
    """Training ends with a sentence, and goes on when there is room again."""
    latest = small_disk / "run" / "latest.pt"
    assert fit("--max_steps", 3, where=small_disk)[0] == 0
    with open(small_disk / "filler", "wb", buffering=0) as filler, pytest.raises(OSError):
        while True:
            filler.write(bytes(4096))
    status, said = fit("--max_steps", 6, "--save_freq", 1, "--continue_train", where=small_disk)
    assert status == 1 and "disk is full" in said and "--continue_train" in said and "Traceback" not in said, said
    assert load_checkpoint(latest)["step"] == 3
    os.unlink(small_disk / "filler")
    assert fit("--max_steps", 6, "--continue_train", where=small_disk)[0] == 0
    assert load_checkpoint(latest)["step"] == 6


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch, code):
    save_checkpoint(tmp_path / "a.pt", {"step": 1, "x": torch.ones(9)})

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError, match="a.pt could not be written"):
        save_checkpoint(tmp_path / "a.pt", {"step": 2})
    assert load_checkpoint(tmp_path / "a.pt")["step"] == 1 and [path.name for path in tmp_path.iterdir()] == ["a.pt"]
