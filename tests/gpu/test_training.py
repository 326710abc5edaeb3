"""A run that moves between CPU and GPU and between precisions, repeats itself bit for bit, and is shared by processes."""

import copy
import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import CPU, ROOT, TINY, make_batch, same, write_hands

from models.features.vgg16 import load_vgg16
from models.hgan import HGAN
from options.train_options import network_config, objective, parse_train
from util.checkpoint import load_checkpoint
from util.runtime import Amp, seed_step

FLAGS = ["--name", "x", "--vgg_weights", "random", "--ngf", "8", "--ndf", "8", "--crop_size", "64"]


def create(device: torch.device, amp: str = "off", model: str = "mshgan4") -> HGAN:
    opt = parse_train([*FLAGS, "--model", model])
    torch.manual_seed(0)
    vgg = load_vgg16("random", calibrated=True)[0] if opt.netD == "perceptual" else None
    return HGAN(network_config(opt), objective(opt), vgg=vgg, amp=Amp(amp), device=device)


def steps(model: HGAN, numbers) -> None:
    for number in numbers:
        seed_step(0, 0, number)
        batch = make_batch(size=64, seed=number)
        model.training_step({name: value.to(model.device) for name, value in batch.items()})


def moved(state: dict) -> dict:
    """The state as a checkpoint brings it: on the CPU, in its memory format."""
    if isinstance(state, torch.Tensor):
        return state.detach().cpu().clone()
    if isinstance(state, dict):
        return {key: moved(value) for key, value in state.items()}
    return [moved(value) for value in state] if isinstance(state, list) else copy.deepcopy(state)


def distance(a: HGAN, b: HGAN) -> float:
    """The largest difference of weights, over the largest weight."""
    pairs = [
        (p.detach().cpu(), q.detach().cpu())
        for name in a.networks
        for p, q in zip(a.networks[name].parameters(), b.networks[name].parameters())
    ]
    return max(((p - q).abs().max() / p.abs().max().clamp(min=1e-3)).item() for p, q in pairs)


@pytest.mark.parametrize("way", ["CPU to CUDA", "CUDA to CPU"])
def test_moments_move_with_their_weights(cuda, way, figure):
    """The update after a move is the one that was due: not Adam's moments on other weights, which gives a cosine of .7."""
    there, here = (CPU, cuda) if way == "CPU to CUDA" else (cuda, CPU)
    model = create(there)
    steps(model, range(3))
    again = create(here)
    again.load_state_dict(moved(model.state_dict()))
    for optimizer in (again.optimizer_G, again.optimizer_D):
        for parameter, values in optimizer.state.items():
            assert values["exp_avg"].stride() == parameter.stride()
    before = [p.detach().cpu().clone() for p in model.D_r.parameters()]
    steps(model, [3])
    steps(again, [3])
    ours, theirs = (
        torch.cat([(p.detach().cpu() - old).flatten() for p, old in zip(net.parameters(), before)])
        for net in (model.D_r, again.D_r)
    )
    cosine = torch.cosine_similarity(ours, theirs, dim=0).item()
    figure(f"cosine of D's next update, {way}", cosine)
    assert cosine > 0.99


@pytest.mark.parametrize("precisions", [("bf16", "fp16"), ("fp16", "bf16"), ("off", "fp16")])
def test_precision_may_change(cuda, precisions):
    model = create(cuda, precisions[0])
    steps(model, range(2))
    again = create(cuda, precisions[1])
    again.load_state_dict(moved(model.state_dict()))
    steps(again, [2, 3])
    assert all(torch.isfinite(p).all() for net in again.networks.values() for p in net.parameters())
    assert distance(model, again) < 0.5


def run(tmp_path: Path, name: str, root: Path, *flags: object, launch: tuple = ()) -> dict:
    """train.py in a process of its own; returns the checkpoint."""
    command = [sys.executable, *launch, "train.py", "--name", name, "--dataroot", root, "--checkpoints_dir", tmp_path]
    done = subprocess.run([*map(str, [*command, *TINY, *flags])], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return load_checkpoint(tmp_path / name / "latest.pt")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_hands(tmp_path_factory.mktemp("data"), frames=1)


@pytest.mark.parametrize("net", ["pixel", "patch", "perceptual"])
def test_deterministic_runs_are_equal_bit_for_bit(cuda, tmp_path, root, net):
    flags = ("--netD", net, "--deterministic", "--dropout", "--max_steps", 6, "--device", "cuda")
    assert same(run(tmp_path, "a", root, *flags), run(tmp_path, "b", root, *flags))


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_a_recorded_run_saves_and_goes_on(cuda, tmp_path, root, amp):
    """A whole run: loader, validation, pictures and checkpoints around the recording. The losses are finite."""
    flags = f"--cuda_graphs --device cuda --amp {amp} --num_workers 1 --val_interval 0.5 --display_freq 4".split()
    run(tmp_path, "run", root, *flags, "--max_steps", 12)
    content = run(tmp_path, "run", root, *flags, "--max_steps", 20, "--continue_train")
    assert content["step"] == 20
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [value for line in lines for name, value in line.items() if name.startswith(("G_", "D_"))]
    assert losses and all(map(math.isfinite, losses))


def test_a_run_goes_on_on_the_other_device(cuda, tmp_path, root):
    run(tmp_path, "run", root, "--max_steps", 2, "--device", "cuda")
    run(tmp_path, "run", root, "--max_steps", 4, "--device", "cpu", "--continue_train")
    assert run(tmp_path, "run", root, "--max_steps", 6, "--device", "cuda", "--continue_train")["step"] == 6


def test_two_gpus_train_together(cuda, tmp_path, root):
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU: NCCL takes one process a card")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2)
    content = run(tmp_path, "run", root, "--max_steps", 4, "--device", "cuda", launch=torchrun)
    assert content["step"] == 4 and len(content["ranks"]) == 2
    assert run(tmp_path, "run", root, "--max_steps", 6, "--device", "cuda", "--continue_train")["step"] == 6


SHARED_CARD = """
import os, sys
import torch, torch.distributed as dist
sys.path[:0] = [".", "tests", "tests/gpu"]
from test_training import create, steps
device = torch.device("cuda", 0)
dist.init_process_group("gloo")
model = create(device, model="pixcyclegan4")
model.distribute()
steps(model, range(3))
weights = torch.cat([p.detach().flatten() for p in model.G_r.parameters()]).cpu()
other = [torch.empty_like(weights) for _ in range(2)]
dist.all_gather(other, weights)
assert torch.equal(*other)
"""


def test_two_processes_share_a_card_by_gloo(cuda):
    """Gradients are averaged: both ranks, which draw differently, hold equal weights."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-c", SHARED_CARD]
    ranks = [
        subprocess.Popen(command, cwd=ROOT, env=environment | {"RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    for rank in ranks:
        said = rank.communicate(timeout=300)[1]
        assert rank.returncode == 0, said


def test_out_of_memory_is_one_sentence(cuda, tmp_path, root):
    # Some 18 GB of activations for each of twelve images that a generator is given: too much for a card, not for the host.
    flags = ["--crop_size", 2048, "--batch_size", 2, "--ngf", 64, "--max_steps", 1, "--device", "cuda"]
    where = ["--name", "run", "--dataroot", root, "--checkpoints_dir", tmp_path]
    command = [sys.executable, "train.py", *where, *TINY, *flags]
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1 and "--crop_size" in done.stderr and "Traceback" not in done.stderr, done.stderr
