"""File names that are not UTF-8 are names like any other."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers import TINY, write_hands

import train
from data.labelled_hands import HandFile, Sample
from util.checkpoint_file import load_checkpoint
from util.run import load_options
from util.studies.classification import EXPERIMENTS, write_predictions


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
