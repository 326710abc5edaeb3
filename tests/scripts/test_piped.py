"""Each script, piped to a file: plain lines, no control characters, and progress, too."""

import sys
from collections.abc import Callable
from functools import partial

from helpers import TINY, start_call, wait, write_hands

import classify
import preprocess_masks
import test as test_script
import train
from util import workers
from util.errors import run_command


def run_script(main: Callable[[], int | None], *argv: object) -> None:
    """The script as the command line runs it; it shows progress at every step."""
    workers.SECONDS = 0.0
    sys.argv = ["script", *map(str, argv)]
    run_command(main)


def test_output_in_a_file_is_plain_lines(tmp_path):
    root = write_hands(tmp_path / "data", frames=2, size=48)
    runs, results = ("--checkpoints_dir", tmp_path), ("--results_dir", tmp_path / "results")
    here = ("--device", "cpu", "--amp", "off", "--num_workers", 0)
    small = (*TINY, "--netD", "pixel", "--val_interval", 1, "--val_size", 2, "--display_freq", 1)
    few = ("--phase", "all", "--num_test", 4, "--feature_net", "random")
    tested = tmp_path / "results" / "run" / "all"
    folders = ("--synth_dir", tested / "synthetic", "--real_dir", tested / "real", "--gen_dir", tested / "generated")
    least = ("--train_per_class", 2, "--test_per_class", 1, "--max_steps", 1, "--vit", "tiny", "--img_size", 32)
    commands = {
        preprocess_masks.main: ("--dataroot", root, "--num_workers", 0, "--max_contours", 1000),
        train.main: ("--name", "run", "--dataroot", root, *runs, *small, "--max_steps", 2, *here),
        test_script.main: ("--name", "run", *few, *runs, *results, *here),
        classify.main: ("--experiment", "table3", *folders, *results, *least, "--batch_size", 2, *here),
    }
    for main, argv in commands.items():
        log = tmp_path / f"{main.__module__}.log"
        assert wait(start_call(partial(run_script, main, *argv), log)) == 0, log.read_text()
        assert log.read_text().strip() and all(char.isprintable() or char == "\n" for char in log.read_text())
