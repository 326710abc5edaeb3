"""A run that is killed, at any moment, comes back and ends where it would have ended."""

import json
import os
import random
import shutil
import signal
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from helpers import TINY, descendants, same, start_script, wait, within

from util.checkpoint_file import load_checkpoint
from util.files import locked

KILLS = 10
STEPS = 40


def flags(root: Path, runs: Path, name: str, *more: object) -> list[str]:
    where = ["--name", name, "--dataroot", root, "--checkpoints_dir", runs, *TINY, "--netD", "pixel"]
    return [
        str(each)
        for each in ("train.py", *where, "--save_freq", 2, "--log_freq", 3, "--pool_size", 4, "--dropout", *more)
    ]


def inode(path: Path) -> int | None:
    """What tells a file from the one that replaces it."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def watch(child: BaseProcess, until: Callable[[], bool], *, seconds: float = 60) -> bool:
    """Wait for something to happen, at most so long; returns whether the child ended before."""
    within(seconds, lambda: child.exitcode is not None or until(), every=0.0005)
    return child.exitcode is not None and not until()


def test_ten_kills_change_nothing(small_root, tmp_path):
    """SIGKILL at 10 random moments, some as a checkpoint is written; the run ends bit for bit as one that was left alone."""
    log = tmp_path / "log"
    assert wait(start_script(flags(small_root, tmp_path, "straight", "--max_steps", STEPS), log)) == 0, log.read_text()

    folder = tmp_path / "killed"
    part, latest = folder / ".latest.pt.part", folder / "latest.pt"
    draw = random.Random(20210315)
    kills, writes_hit, reached = 0, 0, []

    def start() -> BaseProcess:
        more = ["--continue_train"] * (folder / "options.yaml").exists()
        return start_script(flags(small_root, tmp_path, "killed", "--max_steps", STEPS, *more), log)

    while kills < KILLS:
        said, stale = len(log.read_bytes()), inode(part)
        child = start()
        # At any time after the start, or some saves later, at any time after one or while one is written.
        if kills % 3 == 0:
            ended = watch(child, lambda: False, seconds=draw.uniform(0, 0.6))
        else:
            saves, ended = draw.randrange(4), False
            for _ in range(saves):
                before = inode(latest)
                ended = ended or watch(child, lambda before=before: inode(latest) != before)
            if kills % 3 == 1:
                ended = ended or watch(child, lambda stale=stale: inode(part) not in (None, stale))
            else:
                ended = ended or watch(child, lambda: False, seconds=draw.uniform(0, 0.05))
        child.kill()
        status = wait(child)
        if ended:  # it was done before its time came: as good as never killed, so begin another
            assert status == 0, log.read_bytes()[said:].decode()
            shutil.rmtree(folder)
            continue
        kills += 1
        writes_hit += inode(part) not in (None, stale)
        assert b"Traceback" not in log.read_bytes()[said:], log.read_bytes()[said:].decode()
        if kills % 3 == 0 and (folder / "options.yaml").exists():
            reached.append(load_checkpoint(latest)["step"] if latest.exists() else 0)
    assert writes_hit >= 2 and len(set(reached)) >= 2, (writes_hit, reached)

    assert wait(start()) == 0, log.read_text()
    straight, killed = (load_checkpoint(tmp_path / name / "latest.pt") for name in ("straight", "killed"))
    assert same(straight, killed)
    # Each logged step once; a mean covers the steps since the last start, so that values may differ.
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("straight", "killed")]
    assert [json.loads(line)["step"] for line in logs[0]] == [json.loads(line)["step"] for line in logs[1]]


def test_a_second_process_is_refused_and_a_killed_worker_is_an_error_and_no_hang(small_root, tmp_path):
    log, second = tmp_path / "log", tmp_path / "second"
    run = flags(small_root, tmp_path, "run", "--num_workers", 2)
    child = start_script([*run, "--n_epochs", 100000], log)
    try:
        assert not watch(child, lambda: "step 6/" in log.read_text(), seconds=300), log.read_text()
        assert wait(start_script([*run, "--max_steps", 100000, "--continue_train"], second)) == 2, second.read_text()
        os.kill(descendants(child.pid)[-1], signal.SIGKILL)
        status = wait(child, seconds=120)
    finally:
        child.kill()
    assert f"{tmp_path / 'run'} is in use by another process" in second.read_text()
    said = log.read_text()
    assert status == 1 and "a worker process was lost" in said and "--num_workers" in said, said
    assert "Traceback" not in said
    assert load_checkpoint(tmp_path / "run" / "latest.pt")["step"] >= 6  # saved as the run ended


def test_who_waits_for_another_process_says_so(tmp_path, caplog):
    caplog.set_level("INFO")
    taken = threading.Event()

    def wait_for_it() -> None:
        with locked(tmp_path / ".lock", wait=True):
            taken.set()

    with locked(tmp_path / ".lock"):
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        assert not taken.wait(0.2)
    waiting.join(60)
    assert taken.is_set() and f"{tmp_path} is in use by another process: waiting for it to end" in caplog.text
