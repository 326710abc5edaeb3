"""A training step on a GPU: as on a CPU in every precision, without waiting for the host, in constant memory, recorded."""

import pytest
import torch
from helpers import CPU, make_batch

from models import MODELS
from models.config import network_config, objective
from models.features.vgg16 import load_vgg16
from models.graphs import GraphedStep
from models.hgan import HGAN
from options.train_options import parse_train
from util.runtime import Amp

# Relative to losses of order one: sums in another order, and some 30 layers of 11 and of 8 bits.
TOLERANCES = {"off": 5e-3, "fp16": 2e-2, "bf16": 5e-2}


def create(device: torch.device, amp: str = "off", model: str = "mshgan4", *flags: str) -> HGAN:
    """A narrow model of the default flags."""
    opt = parse_train(["--name", "x", "--model", model, *["--ngf", "16", "--ndf", "16", "--lambda_geo", "0"], *flags])
    torch.manual_seed(0)
    vgg = load_vgg16("random", calibrated=True)[0]
    return HGAN(network_config(opt), objective(opt), vgg=vgg, amp=Amp(amp), device=device)


def relative(theirs: dict, ours: dict, *, least: float) -> list[float]:
    """The difference of each loss, over its size or `least`."""
    values = ((theirs[name].item(), value.item()) for name, value in ours.items())
    return [abs(there - here) / max(least, abs(here)) for there, here in values]


def batch_on(device: torch.device, seed: int = 0) -> dict:
    return {name: value.to(device) for name, value in make_batch(64, seed=seed).items()}


@pytest.mark.parametrize("amp", TOLERANCES)
@pytest.mark.parametrize("model", MODELS)
def test_a_step_computes_what_a_cpu_computes(cuda, figure, model, amp):
    there, here = create(cuda, amp, model), create(CPU, "off", model)
    theirs, ours = there.training_step(batch_on(cuda)), here.training_step(batch_on(CPU))
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


def test_memory_is_flat_over_500_steps(cuda, figure):
    model, batch = create(cuda, "bf16"), batch_on(cuda)
    for _ in range(60):  # until the pools are full
        model.training_step(batch)
    start = torch.cuda.memory_allocated(cuda)
    for _ in range(500):
        model.training_step(batch)
    grown = torch.cuda.memory_allocated(cuda) - start
    figure("bytes more after 500 steps", grown)
    assert grown < 2**20


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


@pytest.mark.parametrize(
    ("model", "amp", "tolerance"), [("mshgan4", "off", 1e-3), ("mshgan4", "bf16", 5e-2), ("pixcyclegan4", "off", 1e-3)]
)
def test_recorded_steps_are_those_that_are_not(cuda, figure, model, amp, tolerance):
    """Each step from the same state: left alone, the two part by more than 1 % in seven steps, as rounding grows that fast."""
    plain, recorded = create(cuda, amp, model), create(cuda, amp, model)
    recorded.training_step, differences = GraphedStep(recorded), []
    for seed in range(10):
        if seed:
            copy_state(plain, recorded)
        ours, theirs = plain.training_step(batch_on(cuda, seed)), recorded.training_step(batch_on(cuda, seed))
        differences += relative(theirs, ours, least=0.1)
    figure(f"largest difference of a recorded step's loss, {model}, {amp}", max(differences))
    assert recorded.training_step.graph is not None
    assert all(each < tolerance for each in differences)


def test_compiled_networks_compute_the_same(cuda):
    plain, compiled = create(cuda), create(cuda)
    compiled.compile()
    ours, theirs = plain.training_step(batch_on(cuda)), compiled.training_step(batch_on(cuda))
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name], rtol=1e-2, atol=1e-3)
