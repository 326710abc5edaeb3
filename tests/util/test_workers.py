"""Worker processes and threads: results in order, a parent that is killed, a worker that is lost, a disk that hangs."""

import multiprocessing
import os
import pickle
import re
import signal
import time
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import descendants, draw_hand, start_call, wait, within, write_hands
from torch.utils.data import Dataset

from data.frames import find_frames, frames_in_folder
from data.loader import ordered_batches, stream_loader
from data.pasting import open_backgrounds
from data.samples import HandRegions, UnpairedHands, readable
from util import workers as pool
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


class Stuck(Big):
    """The third item never comes."""

    def __getitem__(self, k: int) -> dict:
        return super().__getitem__(k) if k < 2 else time.sleep(600)

    def files(self, k: int) -> list[Path]:
        return [Path(f"hand_{k}.png")]


def read_batches(how: str, noticed_after: int) -> None:
    """Read by three processes. how: "slow", a batch a second; "busy", one and no more; "stuck", until one does not come."""

    def main() -> None:
        batches = stream_loader(Stuck() if how == "stuck" else Big(), 1, num_workers=3)
        next(batches)
        print("ready")
        pool.STALLED = pool.POLL = noticed_after
        while how != "busy":
            next(batches)
            time.sleep(how == "slow")
        time.sleep(600)

    run_command(main)


def start_readers(log: Path, how: str, noticed_after: int = 600) -> tuple[BaseProcess, list[int]]:
    """The command that reads, and its workers."""
    parent = start_call(partial(read_batches, how, noticed_after), log)
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
@pytest.mark.parametrize("how", ["busy", "stuck"])
def test_no_worker_outlives_its_command(tmp_path, number, how):
    """Also those that hang, and those that wait to write into a pipe that nobody reads any more."""
    parent, workers = start_readers(tmp_path / "log", how)
    os.kill(parent.pid, number)
    assert wait(parent, seconds=60) == (-signal.SIGKILL if number == signal.SIGKILL else 128 + signal.SIGTERM)
    assert within(30, lambda: all(map(ended, workers)))


@needs_proc
@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("stuck", "error: no result has come for 1 s: the work on hand_2.png hangs;.*--num_workers 0"),
        ("slow", "error: a worker process was lost.*--num_workers"),
    ],
)
def test_a_worker_that_hangs_or_is_killed_is_one_sentence(tmp_path, how, sentence):
    """Also one that leaves a part of a batch in its pipe."""
    log = tmp_path / "log"
    parent, workers = start_readers(log, how, noticed_after=1 if how == "stuck" else 600)
    if how == "slow":
        os.kill(workers[-1], signal.SIGKILL)
    assert wait(parent, seconds=60) == 1 and "Traceback" not in log.read_text(), log.read_text()
    assert re.match(sentence, log.read_text().splitlines()[-1])
    assert within(30, lambda: all(map(ended, workers)))


def divide(k: int) -> int:
    return 6 // (3 - k)


@pytest.mark.parametrize(
    "start",
    [
        lambda: in_threads(divide, range(10), count=0),
        lambda: in_threads(divide, range(10), count=2, name=str),
        lambda: in_processes(divide, ((k,) for k in range(10)), count=2, name=str),
    ],
    ids=["here", "threads", "processes"],
)
def test_an_error_is_raised_in_its_turn(start):
    results = start()
    assert [next(results) for _ in range(3)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not multiprocessing.active_children()


def read_from_a_dead_disk(folder: Path, noticed_after: int) -> None:
    """Print which images of the folder can be read, two at a time; the third of them never is."""
    frames = frames_in_folder(folder)
    frames[2].image.unlink()
    os.mkfifo(frames[2].image)  # a file that opens, or is read, never
    pool.STALLED = pool.POLL = noticed_after

    def main() -> None:
        for index, _ in readable(HandRegions(frames), num_workers=2):
            print(index)

    run_command(main)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
@pytest.mark.parametrize("noticed_after", [1, 600])
def test_a_thread_that_hangs_is_one_sentence_and_holds_up_nothing(tmp_path, noticed_after):
    """Neither the error nor SIGTERM waits for it."""
    random = np.random.default_rng(0)
    for name in "abcdefgh":
        write_png(tmp_path / f"{name}.png", draw_hand(random, size=48)[0])
    log = tmp_path / "log"
    reader = start_call(partial(read_from_a_dead_disk, tmp_path, noticed_after), log)
    try:
        assert within(60, lambda: log.read_text().count("\n") >= 2)
        if noticed_after > 1:
            time.sleep(0.5)
            reader.terminate()
        status = wait(reader, seconds=60)
    finally:
        reader.kill()
    stalled = 1, f"error: no result has come for 1 s: the work on {tmp_path / 'c.png'} hangs;"
    expected, sentence = stalled if noticed_after == 1 else (128 + signal.SIGTERM, "terminated;")
    assert status == expected and log.read_text().startswith(f"0\n1\n{sentence}") and log.read_text().count("\n") == 3
