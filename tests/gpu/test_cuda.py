"""Training on a GPU: steps as on a CPU, without waiting for the host, in constant memory, recorded; runs that move between
devices and precisions, repeat themselves bit for bit, and are shared by processes."""

import io
import json
import math
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from helpers import CPU, ROOT, TINY, make_batch, run_ranks, same, start_call

from models import MODELS
from models.config import network_config, objective
from models.features.vgg16 import load_vgg16
from models.graphs import WARM_UP, GraphedStep
from models.hgan import HGAN
from models.networks.silnet import SilNet
from options.train_options import parse_train
from util.checkpoint_file import load_checkpoint
from util.runtime import Amp, seed_step

# Relative to losses of order one: sums in another order, and some 30 layers of 11 and of 8 bits.
TOLERANCES = {"off": 5e-3, "fp16": 2e-2, "bf16": 5e-2}


def create(device: torch.device, amp: str = "off", model: str = "mshgan4") -> HGAN:
    """A narrow model of the default flags, its rate falling from the seventh step on; GeoConGAN has a SilNet that knows nothing."""
    opt = parse_train(["--name", "x", "--model", model, "--ngf", "16", "--ndf", "16", "--silnet", "any"])
    torch.manual_seed(0)
    vgg = load_vgg16("random", calibrated=True)[0] if opt.netD == "perceptual" else None
    nets = {"vgg": vgg, "silnet": SilNet(base=4) if opt.lambda_geo else None}
    return HGAN(network_config(opt), objective(opt), **nets, amp=Amp(amp), device=device, total_steps=12)


def batch_on(device: torch.device, seed: int = 0, count: int = 1) -> dict:
    return {name: value.to(device) for name, value in make_batch(64, count, seed=seed).items()}


def steps(model: HGAN, numbers, *, count: int = 1) -> list[dict]:
    """Take the steps of these numbers, with `count` images each; returns their losses."""
    losses = []
    for number in numbers:
        seed_step(0, 0, number)
        losses.append(model.training_step(batch_on(model.device, number, count)))
    return losses


def relative(theirs: dict, ours: dict, *, least: float) -> list[float]:
    """The difference of each loss, over its size or `least`."""
    values = ((theirs[name].item(), value.item()) for name, value in ours.items())
    return [abs(there - here) / max(least, abs(here)) for there, here in values]


# ------------------------------------------------------------------ steps


@pytest.mark.parametrize("amp", TOLERANCES)
@pytest.mark.parametrize("model", MODELS)
def test_a_step_computes_what_a_cpu_computes(cuda, figure, model, amp):
    (theirs,), (ours,) = steps(create(cuda, amp, model), [0]), steps(create(CPU, "off", model), [0])
    ours.pop("skipped")  # fp16's scaler may skip its first steps, until the scale fits
    differences = relative(theirs, ours, least=1.0)
    figure(f"largest difference of a loss, {model}, {amp}", max(differences))
    assert all(each < TOLERANCES[amp] for each in differences)  # not the largest: it may hide a NaN


@pytest.mark.parametrize("amp", TOLERANCES)
def test_no_step_waits_for_the_host(cuda, amp):
    model, batches = create(cuda, amp), [batch_on(cuda, seed) for seed in range(4)]
    model.training_step(batches[0])  # makes constants and the optimizers' state
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches:
            model.training_step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(("count", "recorded"), [(500, False), (3000, True)])
def test_memory_is_flat(cuda, figure, count, recorded):
    model, batch = create(cuda, "bf16"), batch_on(cuda)
    model.total_steps = None
    step = GraphedStep(model) if recorded else model.training_step
    for number in range(count + 60):
        if number == 60:  # the pools are full
            start = torch.cuda.memory_allocated(cuda)
        losses = step(batch)
    grown = torch.cuda.memory_allocated(cuda) - start
    figure(f"bytes more after {count} steps{', recorded' * recorded}", grown)
    assert grown < 2**20 and all(torch.isfinite(value) for value in losses.values())


def copy_state(source: HGAN, target: HGAN) -> None:
    """Write weights, moments and pools into the tensors that `target` has, which its recording reads and writes."""
    pairs = [(target.networks[name].state_dict(), network.state_dict()) for name, network in source.networks.items()]
    for ours, theirs in ((target.optimizer_G, source.optimizer_G), (target.optimizer_D, source.optimizer_D)):
        pairs += zip(ours.state.values(), theirs.state.values(), strict=True)
    pairs += [({"images": getattr(m, pool).images} for m in (target, source)) for pool in ("pool_r", "pool_s")]
    with torch.no_grad():
        for ours, theirs in pairs:
            for name, value in theirs.items():
                if value is not None:
                    ours[name].copy_(value)


def weights(model: HGAN) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in (*model.G_r.parameters(), *model.D_r.parameters())])


@pytest.mark.parametrize(
    ("model", "amp", "count", "tolerance"),
    [
        ("mshgan4", "off", 1, 1e-3),
        ("mshgan4", "bf16", 1, 5e-2),
        ("mshgan4", "bf16", 3, 5e-2),
        ("pixcyclegan4", "off", 1, 1e-3),
        ("geocongan", "off", 1, 1e-3),
    ],
)
def test_recorded_steps_are_those_that_are_not(cuda, figure, model, amp, count, tolerance):
    """Each step from the same state: left alone, the two part by more than 1 % in seven steps, as rounding grows that fast.

    The updates are as large, also while the rate falls.
    """
    plain, recorded = create(cuda, amp, model), create(cuda, amp, model)
    recorded.training_step, differences, sizes = GraphedStep(recorded), [], []
    for seed in range(12):
        if seed:
            copy_state(plain, recorded)
        before = weights(plain)
        (ours,), (theirs,) = (steps(each, [seed], count=count) for each in (plain, recorded))
        differences += relative(theirs, ours, least=0.1)
        sizes.append(((weights(recorded) - before).norm() / (weights(plain) - before).norm()).item())
    figure(f"largest difference of a recorded step's loss, {model}, {amp}, batch {count}", max(differences))
    figure("and of its update's size", max(abs(size - 1) for size in sizes))
    assert recorded.training_step.graph is not None
    assert all(each < tolerance for each in differences) and all(abs(size - 1) < 0.1 for size in sizes)


def test_a_recording_takes_no_more_memory_than_a_step(cuda, figure):
    plain, recorded = create(cuda, "bf16"), create(cuda, "bf16")
    steps(plain, range(WARM_UP))
    start = torch.cuda.memory_allocated(cuda)
    torch.cuda.reset_peak_memory_stats(cuda)
    steps(plain, [WARM_UP])
    peak = torch.cuda.max_memory_allocated(cuda) - start
    recorded.training_step = GraphedStep(recorded)
    steps(recorded, range(WARM_UP))
    torch.cuda.empty_cache()
    start = torch.cuda.memory_reserved(cuda)
    steps(recorded, [WARM_UP])
    kept = torch.cuda.memory_reserved(cuda) - start
    figure("a step's activations, MiB", peak / 2**20)
    figure("kept by its recording, MiB", kept / 2**20)
    assert kept < 1.5 * peak + 2**26


def test_a_recording_without_memory_is_given_up(cuda, caplog):
    model = create(cuda)
    model.training_step = GraphedStep(model, required=False)
    steps(model, range(WARM_UP))
    torch.cuda.empty_cache()
    memory = torch.cuda.get_device_properties(cuda).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(cuda) + 2**22) / memory)
    try:
        with pytest.raises(torch.OutOfMemoryError):  # nor is there enough for a step that is not recorded
            steps(model, [WARM_UP])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "cannot be recorded" in caplog.text
    assert all(torch.isfinite(value) for losses in steps(model, [4, 5]) for value in losses.values())


def test_compiled_networks_compute_the_same(cuda):
    plain, compiled = create(cuda), create(cuda)
    compiled.compile()
    (ours,), (theirs,) = steps(plain, [0]), steps(compiled, [0])
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name], rtol=1e-2, atol=1e-3)


# ------------------------------------------------------------------ models that move


def moved(state: dict) -> dict:
    """The state as a checkpoint brings it: on the CPU, in its memory format."""
    file = io.BytesIO()
    torch.save(state, file)
    return torch.load(io.BytesIO(file.getvalue()), map_location="cpu", weights_only=False)


@pytest.mark.parametrize("way", ["CPU to CUDA", "CUDA to CPU"])
def test_moments_move_with_their_weights(cuda, way, figure):
    """The update after a move is the one that was due: not Adam's moments on other weights, which gives a cosine of .7."""
    there, here = (CPU, cuda) if way == "CPU to CUDA" else (cuda, CPU)
    model, again = create(there), create(here)
    steps(model, range(3))
    again.load_state_dict(moved(model.state_dict()))
    moments = [*again.optimizer_G.state.items(), *again.optimizer_D.state.items()]
    assert all(values["exp_avg"].stride() == parameter.stride() for parameter, values in moments)
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
    model, again = (create(cuda, amp) for amp in precisions)
    steps(model, range(2))
    again.load_state_dict(moved(model.state_dict()))
    steps(again, [2, 3])
    for name, net in model.networks.items():
        for p, q in zip(net.parameters(), again.networks[name].parameters()):
            assert torch.isfinite(q).all() and (p - q).abs().max() < 0.5 * p.abs().max().clamp(min=1e-3)


# ------------------------------------------------------------------ runs


def script(tmp_path: Path, name: str, root: Path, *flags: object, launch: tuple = ()) -> subprocess.CompletedProcess:
    """train.py in a process of its own."""
    command = [sys.executable, *launch, "train.py", "--name", name, "--dataroot", root, "--checkpoints_dir", tmp_path]
    return subprocess.run([*map(str, [*command, *TINY, *flags])], cwd=ROOT, capture_output=True, text=True, timeout=600)


def run(*arguments: object, device: str = "cuda", **launch: tuple) -> dict:
    """The checkpoint of a run that ends well; arguments: of `script`."""
    done = script(*arguments, "--device", device, **launch)
    assert done.returncode == 0, done.stderr
    tmp_path, name = arguments[:2]
    return load_checkpoint(tmp_path / name / "latest.pt")


@pytest.mark.parametrize("net", ["pixel", "patch", "perceptual"])
def test_deterministic_runs_are_equal_bit_for_bit(cuda, tmp_path, small_root, net):
    flags = ("--netD", net, "--deterministic", "--dropout", "--max_steps", 6, "--cuda_graphs", "off")
    assert same(run(tmp_path, "a", small_root, *flags), run(tmp_path, "b", small_root, *flags))


def test_deterministic_recorded_runs_are_those_that_are_not(cuda, tmp_path, small_root):
    """Also where a run goes on, whose first steps are not recorded."""
    flags = ("--deterministic", "--lr_decay", "none", "--max_steps")
    whole = run(tmp_path, "on", small_root, *flags, 10)
    assert same(whole, run(tmp_path, "off", small_root, *flags, 10, "--cuda_graphs", "off"))
    run(tmp_path, "parts", small_root, *flags, 5)
    assert same(whole, run(tmp_path, "parts", small_root, *flags, 10, "--continue_train"))


def logged(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_a_recorded_run_saves_and_goes_on(cuda, tmp_path, small_root, amp):
    """A whole run: loader, validation, pictures and checkpoints around the recording. The losses are finite."""
    flags = f"--cuda_graphs --amp {amp} --num_workers 1 --val_interval 0.5 --display_freq 4".split()
    run(tmp_path, "run", small_root, *flags, "--max_steps", 12)
    assert run(tmp_path, "run", small_root, *flags, "--max_steps", 20, "--continue_train")["step"] == 20
    lines = logged(tmp_path / "run")
    losses = [value for line in lines for name, value in line.items() if name.startswith(("G_", "D_"))]
    assert losses and all(map(math.isfinite, losses))


def test_a_recorded_run_scores_as_one_that_is_not(cuda, figure, tmp_path, hands_root):
    """Within the spread of seeds."""
    scores = {}
    for graphs, seed in (("on", 0), ("off", 0), ("off", 1)):
        flags = (
            f"--cuda_graphs {graphs} --seed {seed} --max_steps 300 --amp auto --val_interval 9999 --val_size 4".split()
        )
        run(tmp_path, f"{graphs}{seed}", hands_root, *flags)
        (scores[graphs, seed],) = [line["fd"] for line in logged(tmp_path / f"{graphs}{seed}") if "fd" in line]
        figure(f"FD of random features after 300 steps, recording {graphs}, seed {seed}", scores[graphs, seed])
    recorded, plain, other = scores.values()
    assert abs(recorded - plain) < 3 * max(abs(plain - other), 0.03 * plain)


def test_a_run_goes_on_on_the_other_device(cuda, tmp_path, small_root):
    run(tmp_path, "run", small_root, "--max_steps", 2)
    run(tmp_path, "run", small_root, "--max_steps", 4, "--continue_train", device="cpu")
    assert run(tmp_path, "run", small_root, "--max_steps", 6, "--continue_train")["step"] == 6


def test_two_gpus_train_together(cuda, tmp_path, small_root):
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU: NCCL takes one process a card")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2)
    content = run(tmp_path, "run", small_root, "--max_steps", 4, launch=torchrun)
    assert content["step"] == 4 and len(content["ranks"]) == 2
    assert run(tmp_path, "run", small_root, "--max_steps", 6, "--continue_train")["step"] == 6


def share(device: torch.device) -> None:
    """One of two processes that train together on a device: their batches differ, their weights stay equal."""
    dist.init_process_group("gloo")
    model = create(device, model="pixcyclegan4")
    model.distribute()
    first = 3 * dist.get_rank()
    steps(model, range(first, first + 3))
    weights = torch.cat([p.detach().flatten() for p in model.G_r.parameters()]).cpu()
    both = [torch.empty_like(weights) for _ in range(2)]
    dist.all_gather(both, weights)
    assert torch.equal(*both)


def test_two_processes_share_a_card_by_gloo(cuda, tmp_path):
    log = tmp_path / "log"
    assert run_ranks(2, partial(start_call, partial(share, cuda)), log) == [0, 0], log.read_text()


def test_out_of_memory_is_one_sentence(cuda, tmp_path, small_root):
    # Some 18 GB of activations for each of twelve images that a generator is given: too much for a card, not for the host.
    flags = ("--crop_size", 2048, "--batch_size", 2, "--ngf", 64, "--max_steps", 1, "--device", "cuda")
    done = script(tmp_path, "run", small_root, *flags)
    assert done.returncode == 1 and "--crop_size" in done.stderr and "Traceback" not in done.stderr, done.stderr
