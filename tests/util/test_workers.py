"""Worker processes and threads: results in order, a parent that is killed, a worker that is lost."""

import multiprocessing
import os
import pickle
import signal
import time
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import descendants, start_call, wait, within, write_hands
from torch.utils.data import Dataset

from data.frames import find_frames
from data.loader import ordered_batches, stream_loader
from data.pasting import open_backgrounds
from data.samples import UnpairedHands
from util.errors import run_command
from util.images import write_png
from util.workers import in_processes, in_threads


class Numbers(Dataset):
    """Item k holds k, as a tensor of some size."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, k: int) -> dict:
        return {"value": torch.full((3, 64, 64), float(k)), "name": str(k)}


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_are_tensors_that_came_without_shared_memory(workers):
    for start, batch in zip(range(2, 12, 2), stream_loader(Numbers(), 2, num_workers=workers, start_step=1)):
        assert batch["value"].shape == (2, 3, 64, 64) and not batch["value"].is_shared()
        assert batch["value"][:, 0, 0, 0].tolist() == [start, start + 1]
        assert batch["name"] == [str(start), str(start + 1)]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_data_set_comes_once_and_in_order(workers):
    batches = list(ordered_batches(Numbers(), 12, num_workers=workers))
    assert [len(batch["value"]) for batch in batches] == [12, 12, 12, 4]
    assert torch.equal(torch.cat([batch["value"] for batch in batches])[:, 0, 0, 0], torch.arange(40.0))
    assert not multiprocessing.active_children()


def test_all_that_workers_are_sent_can_be_sent(tmp_path):
    for i in range(10):
        write_png(tmp_path / "photographs" / f"{i}.png", np.full((40, 40, 3), 20 * i, np.uint8))
    frames = find_frames(dataroot=write_hands(tmp_path / "data", frames=1, size=48))
    for root in (None, tmp_path / "photographs"):
        source = open_backgrounds(root, size=32, part="train")
        again = pickle.loads(pickle.dumps(source))
        assert np.array_equal(source(np.random.default_rng(3)), again(np.random.default_rng(3)))
    stream = UnpairedHands(frames, crop_size=32, seed=0)
    assert torch.equal(pickle.loads(pickle.dumps(stream))[1]["real"], stream[1]["real"])


class Big(Dataset):
    def __getitem__(self, k: int) -> dict:
        return {"value": torch.zeros(3, 500, 500)}


def read_batches(how: str) -> None:
    """Read by three processes. how: "slow", a batch a second; "busy", one and no more."""

    def main() -> None:
        batches = stream_loader(Big(), 1, num_workers=3)
        next(batches)
        print("ready")
        while how == "slow":
            next(batches)
            time.sleep(1)
        time.sleep(600)

    run_command(main)


def start_readers(log: Path, how: str) -> tuple[BaseProcess, list[int]]:
    """The command that reads, and its workers."""
    parent = start_call(partial(read_batches, how), log)
    assert within(60, lambda: "ready" in log.read_text()), log.read_text()
    workers = descendants(parent.pid)
    assert len(workers) >= 4  # with the server that they are forked from
    time.sleep(0.5)  # the pipes fill up
    return parent, workers


def ended(process: int) -> bool:
    """Whether the process is gone, or a zombie that waits to be collected."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_no_worker_outlives_its_command(tmp_path, number):
    """Also those that wait to write into a pipe that nobody reads any more."""
    parent, workers = start_readers(tmp_path / "log", "busy")
    os.kill(parent.pid, number)
    assert wait(parent, seconds=60) == (-signal.SIGKILL if number == signal.SIGKILL else 128 + signal.SIGTERM)
    assert within(30, lambda: all(map(ended, workers)))


@needs_proc
def test_a_worker_that_is_killed_is_one_sentence(tmp_path):
    """Also one that leaves a part of a batch in its pipe."""
    log = tmp_path / "log"
    parent, workers = start_readers(log, "slow")
    os.kill(workers[-1], signal.SIGKILL)
    assert wait(parent, seconds=60) == 1 and "Traceback" not in log.read_text(), log.read_text()
    assert log.read_text().splitlines()[-1].startswith("error: a worker process was lost")
    assert within(30, lambda: all(map(ended, workers)))


def divide(k: int) -> int:
    return 6 // (3 - k)


@pytest.mark.parametrize(
    "start",
    [
        lambda: in_threads(divide, range(10), count=0),
        lambda: in_threads(divide, range(10), count=2),
        lambda: in_processes(divide, ((k,) for k in range(10)), count=2),
    ],
    ids=["here", "threads", "processes"],
)
def test_an_error_is_raised_in_its_turn(start):
    results = start()
    assert [next(results) for _ in range(3)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not multiprocessing.active_children()
