"""Worker processes wherever the program runs: any start method, a long TMPDIR, no shared memory, a parent that is killed."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, TINY, write_hands
from torch.utils.data import Dataset

from data.frames import find_frames
from data.loader import Collate, ordered_batches, stream_loader
from data.pasted.backgrounds import open_backgrounds
from data.pasted.downstream import background_bank
from data.regions import HandRegions
from data.unpaired import UnpairedHands, collate
from util.images import write_png
from util.workers import start_worker


class Numbers(Dataset):
    """Item k holds k, as a tensor of some size."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, k: int) -> dict:
        return {"value": torch.full((3, 64, 64), float(k)), "name": str(k)}


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_tensors_that_came_without_shared_memory(workers):
    for start, batch in zip((0, 2, 4), ordered_batches(Numbers(), 2, num_workers=workers)):
        assert batch["value"].shape == (2, 3, 64, 64) and not batch["value"].is_shared()
        assert batch["value"][:, 0, 0, 0].tolist() == [start, start + 1] and batch["name"] == [
            str(start),
            str(start + 1),
        ]


def test_all_that_workers_are_sent_can_be_sent(tmp_path):
    """forkserver (Python 3.14) and spawn (macOS, Windows) pickle what a loader's workers work on."""
    for i in range(10):
        write_png(tmp_path / "photographs" / f"{i}.png", np.full((40, 40, 3), 20 * i, np.uint8))
    frames = find_frames(dataroot=write_hands(tmp_path / "data", frames=1, size=48))
    sources = [open_backgrounds(root, size=32, part="train") for root in (None, tmp_path / "photographs")]
    for source in [*sources, background_bank(tmp_path / "photographs", size=32, part="test", seed=0)]:
        again = pickle.loads(pickle.dumps(source))
        assert np.array_equal(source(np.random.default_rng(3)), again(np.random.default_rng(3)))
    stream = UnpairedHands(frames, crop_size=32, seed=0)
    assert torch.equal(pickle.loads(pickle.dumps(stream))[1]["real"], stream[1]["real"])
    pickle.dumps((HandRegions(frames["real"]), Collate(collate)))


SCRIPT = """
import multiprocessing, sys, tempfile
multiprocessing.set_start_method(sys.argv[1])
sys.argv = sys.argv[2:]
import importlib
from util.errors import run_command
run_command(importlib.import_module(sys.argv[0].removesuffix(".py")).main)
"""


def run_script(method: str, *argv: object, tmpdir: Path | None = None) -> subprocess.CompletedProcess:
    environment = os.environ | ({"TMPDIR": str(tmpdir)} if tmpdir else {})
    command = [sys.executable, "-c", SCRIPT, method, *map(str, argv)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)


@pytest.mark.skipif(os.name != "posix", reason="fork and forkserver are POSIX's")
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_training_with_workers_and_a_long_tmpdir(tmp_path, method):
    """A socket's path has at most 107 bytes; nothing hangs, whichever way workers are started."""
    tmpdir = tmp_path / ("a" * 100)
    tmpdir.mkdir()
    root = write_hands(tmp_path / "data", frames=1, size=48)
    flags = [*TINY, "--netD", "pixel", "--num_workers", 1, "--max_steps", 2, "--device", "cpu"]
    done = run_script(
        method, "train.py", "--name", "run", "--dataroot", root, "--checkpoints_dir", tmp_path, *flags, tmpdir=tmpdir
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "latest.pt").exists()
    assert not {"\r", "\x1b"} & set(done.stdout + done.stderr)  # piped: plain lines


def test_classifying_with_spawned_workers(tmp_path):
    """The study's datasets hold backgrounds, which once were closures."""
    for kind in ("synthetic", "real", "generated"):
        for i in range(6):
            image = np.full((48, 48, 3), 255, np.uint8)
            image[12:36, 12 : 30 + i] = (200, 120, 90)
            write_png(tmp_path / kind / f"{i}.png", image)
    where = [
        "--synth_dir",
        tmp_path / "synthetic",
        "--real_dir",
        tmp_path / "real",
        "--gen_dir",
        tmp_path / "generated",
    ]
    least = ["--train_per_class", 3, "--test_per_class", 2, "--max_steps", 1, "--vit", "tiny", "--img_size", 32]
    done = run_script(
        "spawn", "classify.py", "--experiment", "table3", *where, "--results_dir", tmp_path / "results", *least,
        "--batch_size", 2, "--num_workers", 1, "--device", "cpu", "--amp", "off",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "classify" / "table3" / "metrics.json").exists()


ENDLESS = """
import sys, time, torch
from util.errors import run_command
from torch.utils.data import Dataset
from data.loader import stream_loader
class Big(Dataset):
    def __getitem__(self, k):
        return {"value": torch.zeros(3, 500, 500)}
def main():
    batches = iter(stream_loader(Big(), 1, num_workers=3))
    next(batches)
    print("ready", flush=True)
    time.sleep(600)
run_command(main)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_no_worker_outlives_its_command(number):
    """Also those that wait to write into a pipe that nobody reads any more."""
    parent = subprocess.Popen([sys.executable, "-c", ENDLESS], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "ready\n"
    time.sleep(0.5)  # the pipes fill up
    workers = [int(pid) for pid in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()]
    assert len(workers) >= 3
    parent.send_signal(number)
    assert parent.wait(60) == (-signal.SIGKILL if number == signal.SIGKILL else 128 + signal.SIGTERM)
    end = time.monotonic() + 30
    while any(map(running, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(running, workers))


def running(pid: int) -> bool:
    """Whether the process is there, and no zombie that waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_workers_leave_signals_to_the_main_process():
    ours, theirs = multiprocessing.Pipe()
    worker = multiprocessing.get_context("fork").Process(target=answer_signals, args=(theirs,))
    worker.start()
    assert ours.recv() == [signal.SIG_IGN] * 2
    worker.join(30)
    assert worker.exitcode == 0


def answer_signals(pipe) -> None:
    start_worker()
    pipe.send([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)])


def test_a_stream_starts_at_any_step():
    batches = iter(stream_loader(Numbers(), 2, num_workers=0, start_step=1))
    assert next(batches)["name"] == ["2", "3"]
