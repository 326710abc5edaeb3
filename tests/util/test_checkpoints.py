"""Checkpoints: written whole or not at all, and refused if they are damaged."""

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import test as test_script
from util.checkpoint import load_checkpoint, save_checkpoint
from util.errors import RunError


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


@pytest.mark.parametrize("damage", ["cut", "empty", "no zip", "no checkpoint"])
def test_a_damaged_checkpoint_is_refused_in_one_sentence(fit, run_main, tmp_path, damage):
    assert fit("--max_steps", 1)[0] == 0
    latest = tmp_path / "run" / "latest.pt"
    data = latest.read_bytes()
    latest.write_bytes({"cut": data[:-100], "empty": b"", "no zip": b"x" * 1000}.get(damage, data))
    if damage == "no checkpoint":
        torch.save([1, 2], latest)
    where = ("--checkpoints_dir", tmp_path, "--results_dir", tmp_path / "out", "--no-metrics", "--amp", "off")
    for status, said in (
        run_main(test_script.main, "--name", "run", *where),
        fit("--max_steps", 2, "--continue_train"),
    ):
        assert status == 2 and "checkpoint" in said and "latest.pt" in said and "Traceback" not in said, said


def test_another_architecture_names_the_option(fit, run_main, tmp_path):
    assert fit("--max_steps", 1)[0] == 0
    options = tmp_path / "run" / "options.yaml"
    options.write_text(options.read_text().replace("ngf: 4\n", "ngf: 8\n"))
    status, said = run_main(test_script.main, "--name", "run", "--checkpoints_dir", tmp_path, "--amp", "off")
    assert status == 2 and "--ngf is 8 here, 4 there" in said and "norm" not in said
    status, said = fit("--max_steps", 2, "--continue_train", "--ngf", 8)
    assert status == 2 and "--ngf is 8 here, 4 there" in said


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
        save_checkpoint(tmp_path / "a.pt", {"step": 2})
    assert load_checkpoint(tmp_path / "a.pt")["step"] == 1 and [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_a_read_only_folder_is_one_sentence(fit, tmp_path):
    folder = tmp_path / "fixed"
    with mounted(folder, "ro"):
        status, said = fit("--max_steps", 1, where=folder)
        assert status == 2 and "--checkpoints_dir" in said and "Traceback" not in said, said
