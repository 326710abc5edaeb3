"""Training in several processes (gloo): half a batch each, draws and state of their own, other numbers of them, signals."""

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from drawing_model import CPU, Drawing, train
from helpers import ROOT, TINY, build, make_batch, run_ranks, same, start_call, start_script, to_double, within

from models.features.vgg16 import load_vgg16
from util import distributed
from util.checkpoint_file import load_checkpoint
from util.training.checkpoints import Schedule, resume
from util.training.logger import RunLogger

MODELS = ("mshgan4", "pixcyclegan4")


def create(name: str):
    """In float64, where what rounding does to a gradient's sign is out of sight."""
    vgg = load_vgg16("random", calibrated=True)[0] if name == "mshgan4" else None
    return to_double(build(vgg, name, pool_size=50, match_tone=True, average_weights=True))


def batch_of(seed: int) -> dict:
    return {name: value.double() for name, value in make_batch(count=4, seed=seed).items()}


def two_steps(model, *, rank: int, world_size: int) -> dict:
    """Take two steps on this rank's share of each batch: every gradient, and losses, averaged."""
    gradients, losses = [], []
    for step in range(2):
        found = model.training_step({name: value[rank::world_size] for name, value in batch_of(step).items()})
        losses.append(distributed.mean({name: value.item() for name, value in found.items()}))
        nets = model.networks.items()
        gradients.append({name: torch.cat([p.grad.flatten() for p in net.parameters()]) for name, net in nets})
    return {"gradients": gradients, "losses": losses, "model": model.state_dict()}


def half_each(folder: Path) -> None:
    """What one of two ranks does: train each model from one process's checkpoint."""
    here = distributed.place()
    distributed.start(here, CPU)
    for name in MODELS:
        model = create(name)
        model.load_state_dict(torch.load(folder / f"{name}_start.pt", weights_only=True))
        model.distribute()
        found = two_steps(model, rank=here.rank, world_size=here.world_size)
        if here.rank == 0:
            torch.save(found, folder / f"{name}.pt")
    distributed.finish()


@pytest.fixture(scope="module")
def halves(tmp_path_factory) -> Path:
    """A folder of one process's checkpoints after a step, and of what two processes made of them."""
    folder = tmp_path_factory.mktemp("ranks")
    for name in MODELS:
        model = create(name)
        model.training_step(batch_of(seed=9))
        torch.save(model.state_dict(), folder / f"{name}_start.pt")
    log = folder / "log"
    assert run_ranks(2, partial(start_call, partial(half_each, folder)), log) == [0, 0], log.read_text()
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_two_halves_are_one_whole(halves, name):
    """From one process's checkpoint: equal gradients, losses as they are logged, weights; and back into one process."""
    model = create(name)
    model.load_state_dict(torch.load(halves / f"{name}_start.pt", weights_only=True))
    one, two = two_steps(model, rank=0, world_size=1), torch.load(halves / f"{name}.pt", weights_only=True)
    for mine, theirs in zip(one["gradients"], two["gradients"]):
        assert all((mine[net] - theirs[net]).norm() < 1e-9 * mine[net].norm() for net in mine)
    for mine, theirs in zip(one["losses"], two["losses"]):
        assert mine == pytest.approx(theirs, rel=1e-9)
    tones = model.tones.moments.clone()

    model.load_state_dict(two["model"])
    assert model.steps == 3 and same(model.state_dict()["networks"]["G_r"], two["model"]["networks"]["G_r"])
    torch.testing.assert_close(model.tones.moments, tones)
    model.training_step(batch_of(seed=9))


def draw(folder: Path, steps: int, signal_at: int = 0) -> None:
    """One rank of a run of Drawing to `steps`, going on from what the folder holds. signal_at: rank 1 gets SIGTERM then."""
    here = distributed.place()
    distributed.start(here, CPU)
    model = Drawing(at=signal_at if here.rank == 1 else 0, act=lambda: os.kill(os.getpid(), signal.SIGTERM))
    progress = resume(folder, model)
    schedule = Schedule(total_steps=steps, steps_per_epoch=2, log_every=3)
    logger = None if here.rank else RunLogger(folder, schedule, progress, images_per_step=1)
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
    drawn, again = ([part["drawn"] for part in load_checkpoint(f / "latest.pt")["ranks"]] for f in (straight, halves))
    assert len(drawn) == 2 and len({*drawn[0], *drawn[1]}) == 12 and again == drawn


def test_a_signal_to_one_rank_stops_all_at_the_same_saved_step(tmp_path):
    statuses = ranks(tmp_path, 2, 10**6, signal_at=5)
    said = (tmp_path / "log").read_text()
    assert statuses == [1, 1] and said.count("util.errors.Stopped") == 2, said  # both raised it
    (step,) = set(map(int, re.findall(r"Stopped: saved at step (\d+)", said)))
    content = load_checkpoint(tmp_path / "latest.pt")
    assert content["step"] == step >= 6 and [len(part["drawn"]) for part in content["ranks"]] == [step, step]


@pytest.fixture
def flags(small_root, tmp_path) -> list[str]:
    """train.py and its flags, of a run in tmp_path."""
    where = f"--name run --dataroot {small_root} --checkpoints_dir {tmp_path} --netD pixel --device cpu"
    return ["train.py", *where.split(), *TINY]


def test_a_model_goes_on_with_1_2_and_4_processes(flags, tmp_path):
    log = tmp_path / "log"
    for count, steps, more in ((2, 2, []), (1, 3, ["--continue_train"]), (4, 4, ["--continue_train"])):
        statuses = run_ranks(count, partial(start_script, [*flags, "--max_steps", steps, *more]), log)
        assert statuses == [0] * count, log.read_text()
        content = load_checkpoint(tmp_path / "run" / "latest.pt")
        assert content["step"] == steps and len(content["ranks"]) == count
        pools = [part["pools"]["r"] for part in content["ranks"]]
        assert all(not same(pools[0], other) for other in pools[1:])
    assert [json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").open()] == [1, 2, 3, 4]


def test_sigterm_to_torchrun_leaves_a_checkpoint_of_the_last_step(flags, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    with open(tmp_path / "log", "wb") as log:
        command = [*torchrun, *flags, "--max_steps", "1000000"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    lines = tmp_path / "run" / "log.jsonl"
    within(180, lambda: process.poll() is not None or (lines.exists() and lines.stat().st_size))
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=120)
    said = (tmp_path / "log").read_text()
    saved = {int(step) for step in re.findall(r"SIGTERM: saved at step (\d+)", said)}
    assert saved, said
    logged = [json.loads(line)["step"] for line in lines.open()]
    assert saved == {load_checkpoint(tmp_path / "run" / "latest.pt")["step"]} == {max(logged)}


def test_ranks_without_a_shared_disk_are_told(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    for other, statuses in (("one", [0, 0]), ("two", [1, 1])):
        log = tmp_path / f"log_{other}"
        assert run_ranks(2, partial(start_call, partial(look, tmp_path / "one", tmp_path / other)), log) == statuses
        said = log.read_text()
        assert said.count("not all processes see the run's folder") == sum(statuses)
    assert not list((tmp_path / "one").iterdir())


def look(mine: Path, other: Path) -> None:
    """One of two ranks, the second of which has another folder at the first one's path."""
    here = distributed.place()
    distributed.start(here, CPU)
    try:
        distributed.check_shared(other if here.rank else mine)
    finally:
        distributed.finish()
