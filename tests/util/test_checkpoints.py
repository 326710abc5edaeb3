"""Checkpoints: written whole or not at all, checked when they are read, and replaced by the one before if damaged."""

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import stored_weights

import test as test_script
from util.checkpoint import check_config, load_checkpoint, save_checkpoint
from util.errors import RunError, UsageError


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """An empty file system in memory, mounted with these options at a new folder; skips where that is not allowed."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no right to mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(fit, run_main, tmp_path, damage):
    assert fit("--max_steps", 4, "--save_freq", 2)[0] == 0
    latest = tmp_path / "run" / "latest.pt"
    assert [load_checkpoint(tmp_path / "run" / name)["step"] for name in ("latest.pt", "previous.pt")] == [4, 2]
    straight = stored_weights(tmp_path / "run")
    data = bytearray(latest.read_bytes())
    latest.unlink()
    if damage != "gone":
        data[len(data) // 2] ^= 1  # torch.load alone would not see it
        latest.write_bytes({"flip": bytes(data), "cut": bytes(data[:-100]), "empty": b""}[damage])
    where = ("--checkpoints_dir", tmp_path, "--results_dir", tmp_path / "out", "--num_workers", 0, "--no-metrics")
    status, said = run_main(test_script.main, "--name", "run", *where, "--amp", "off", "--num_test", 1)
    assert status == 0 and "falling back" in said and "step 2" in said, said
    status, said = fit("--max_steps", 4, "--continue_train", "--save_freq", 2)
    assert status == 0 and "falling back" in said and "continuing at step 2" in said
    assert all(torch.equal(a, b) for a, b in zip(straight, stored_weights(tmp_path / "run"), strict=True))
    assert (tmp_path / "run" / "damaged.pt").exists() == (damage != "gone")
    assert load_checkpoint(tmp_path / "run" / "previous.pt")["step"] == 2


def test_two_damaged_checkpoints_are_an_error(fit, tmp_path):
    assert fit("--max_steps", 2, "--save_freq", 1)[0] == 0
    for name in ("latest.pt", "previous.pt"):
        (tmp_path / "run" / name).write_bytes(b"x")
    status, said = fit("--max_steps", 3, "--continue_train")
    assert status == 2 and "previous.pt cannot be read" in said


def test_another_architecture_names_the_option(fit, run_main, tmp_path):
    assert fit("--max_steps", 1)[0] == 0
    options = tmp_path / "run" / "options.yaml"
    options.write_text(options.read_text().replace("ngf: 4\n", "ngf: 8\n"))
    status, said = run_main(test_script.main, "--name", "run", "--checkpoints_dir", tmp_path, "--amp", "off")
    assert status == 2 and "--ngf is 8 here, 4 there" in said and "norm" not in said
    status, said = fit("--max_steps", 2, "--continue_train", "--ngf", 8)
    assert status == 2 and "--ngf is 8 here, 4 there" in said
    check_config(None, {"ngf": 8})


def test_formats_are_told_apart(tmp_path):
    torch.save({"format": 3, "step": 1}, tmp_path / "a.pt")
    with pytest.raises(UsageError, match="of format 3, .* reads 1 and 2"):
        load_checkpoint(tmp_path / "a.pt")
    torch.save({"step": 1}, tmp_path / "a.pt")
    with pytest.raises(UsageError, match="no checkpoint of this program"):
        load_checkpoint(tmp_path / "a.pt")


def test_a_full_disk_keeps_the_last_good_checkpoint(fit, tmp_path):
    """On a real file system without room: training ends with a sentence, and goes on when there is room again."""
    small = tmp_path / "small"
    with mounted(small, "size=12m"):
        assert fit("--max_steps", 3, where=small)[0] == 0
        step_of = lambda: load_checkpoint(small / "run" / "latest.pt")["step"]  # noqa: E731
        assert step_of() == 3
        with open(small / "filler", "wb", buffering=0) as filler, pytest.raises(OSError):
            while True:
                filler.write(bytes(4096))
        status, said = fit("--max_steps", 6, "--save_freq", 1, "--continue_train", where=small)
        assert status == 1 and "disk is full" in said and "--continue_train" in said and "Traceback" not in said, said
        assert step_of() == 3
        os.unlink(small / "filler")
        assert fit("--max_steps", 6, "--continue_train", where=small)[0] == 0
        assert step_of() == 6


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch, code):
    save_checkpoint(tmp_path / "a.pt", {"step": 1, "x": torch.ones(9)})

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError, match="a.pt could not be written"):
        save_checkpoint(tmp_path / "a.pt", {"step": 2}, keep=tmp_path / "b.pt")
    assert load_checkpoint(tmp_path / "a.pt")["step"] == 1 and [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_a_read_only_folder_is_one_sentence(fit, tmp_path):
    folder = tmp_path / "fixed"
    with mounted(folder, "ro"):
        status, said = fit("--max_steps", 1, where=folder)
        assert status == 2 and "--checkpoints_dir" in said and "Traceback" not in said, said
