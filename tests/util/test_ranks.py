"""train.py in several processes (gloo): what each draws and keeps, going on with another number of them, and signals."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from drawing_model import CPU, Drawing, train
from helpers import ROOT, TINY, run_ranks, same, start_call, start_train, write_hands

from util import distributed
from util.checkpoint import load_checkpoint
from util.training.checkpoints import Progress, can_resume, resume
from util.training.logger import RunLogger


def draw(folder: Path, steps: int, signal_at: int = 0, skipped: tuple = ()) -> None:
    """One rank of a run of Drawing to `steps`, going on from what the folder holds. signal_at: rank 1 gets SIGTERM then."""
    here = distributed.place()
    distributed.start(here, CPU)
    model = Drawing(skipped=skipped)
    progress = resume(folder, model) if can_resume(folder) else Progress()
    if signal_at and here.rank == 1:
        step = model.training_step
        model.training_step = lambda batch: (
            (os.kill(os.getpid(), signal.SIGTERM) if model.steps == signal_at else None) or step(batch)
        )
    logger = None
    if here.rank == 0:
        logger = RunLogger(folder, first_step=progress.step, total_steps=steps, steps_per_epoch=2, images_per_step=1)
    train(model, folder, steps, progress=progress, logger=logger)
    distributed.finish()


def ranks(folder: Path, count: int, steps: int, **more) -> list[int]:
    return run_ranks(count, partial(start_call, partial(draw, folder, steps, **more)), folder / "log")


def test_ranks_draw_differently_and_each_goes_on_with_its_own(tmp_path):
    straight, halves = tmp_path / "straight", tmp_path / "halves"
    for folder, ends in ((straight, [6]), (halves, [3, 6])):
        folder.mkdir()
        for end in ends:
            assert ranks(folder, 2, end) == [0, 0], (folder / "log").read_text()
    drawn = [part["drawn"] for part in load_checkpoint(straight / "latest.pt")["ranks"]]
    assert len(drawn) == 2 and len({*drawn[0], *drawn[1]}) == 12
    assert [part["drawn"] for part in load_checkpoint(halves / "latest.pt")["ranks"]] == drawn

    assert ranks(halves, 1, 7) == [0] and ranks(halves, 4, 8) == [0] * 4, (halves / "log").read_text()
    drawn = [part["drawn"] for part in load_checkpoint(halves / "latest.pt")["ranks"]]
    assert [len(each) for each in drawn] == [8, 1, 1, 1]


def test_a_signal_to_one_rank_stops_all_at_the_same_saved_step(tmp_path):
    statuses = ranks(tmp_path, 2, 10**6, signal_at=5)
    said = (tmp_path / "log").read_text()
    assert statuses == [1, 1] and said.count("util.errors.Stopped") == 2, said  # both raised it
    (step,) = set(map(int, re.findall(r"Stopped: saved at step (\d+)", said)))
    content = load_checkpoint(tmp_path / "latest.pt")
    assert content["step"] == step >= 6 and [len(part["drawn"]) for part in content["ranks"]] == [step, step]


def test_a_model_goes_on_with_1_2_and_4_processes(tmp_path):
    root = write_hands(tmp_path / "data", frames=1, size=48)
    flags = [*f"--name run --dataroot {root} --checkpoints_dir {tmp_path} --netD pixel --device cpu".split(), *TINY]
    log = tmp_path / "log"
    for count, steps, more in ((2, 2, []), (1, 3, ["--continue_train"]), (4, 4, ["--continue_train"])):
        statuses = run_ranks(count, partial(start_train, [*flags, "--max_steps", steps, *more]), log)
        assert statuses == [0] * count, log.read_text()
        content = load_checkpoint(tmp_path / "run" / "latest.pt")
        assert content["step"] == steps and len(content["ranks"]) == count
        pools = [part["pools"]["r"] for part in content["ranks"]]
        assert all(not same(pools[0], other) for other in pools[1:])
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").open()]
    assert steps == [1, 2, 3, 4]


def test_sigterm_to_torchrun_leaves_a_checkpoint_of_the_last_step(tmp_path):
    root = write_hands(tmp_path / "data", frames=1, size=48)
    where = f"--name run --dataroot {root} --checkpoints_dir {tmp_path} --netD pixel --device cpu --max_steps 1000000"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*torchrun, "train.py", *where.split(), *TINY]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=log, stderr=log)
    lines = tmp_path / "run" / "log.jsonl"
    end = time.monotonic() + 180
    while not (lines.exists() and lines.stat().st_size) and time.monotonic() < end and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=120)
    said = (tmp_path / "log").read_text()
    (saved,) = map(int, re.findall(r"SIGTERM: saved at step (\d+)", said)) if "saved at" in said else (None,)
    assert saved, said
    logged = [json.loads(line)["step"] for line in lines.open()]
    assert load_checkpoint(tmp_path / "run" / "latest.pt")["step"] == saved == max(logged)
