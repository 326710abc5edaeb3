"""The training step against tests/reference_step.py: the same losses and the same weights, step after step.

In float64 the two agree to 1e-10, which no difference in the mathematics survives; in float32, to 1e-5. Adam divides
every gradient by its own size, so a weight whose true gradient is zero walks at random with rounding errors: biases that
a normalisation takes away again are such weights, and are left out of the comparison of weights.
"""

import copy

import pytest
import torch
from reference_step import ReferenceStep, Residual
from test_hgan import build, make_batch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from models import MODELS
from models.hgan import HGAN
from models.silnet import SilNet
from models.vgg16 import load_vgg16

STEPS = 5
CASES = [
    {"model": "mshgan4", "pool_size": 1},
    {"model": "mshgan6", "mask": False, "ema": 0.0},
    {"model": "pixcyclegan4", "lambda_identity": 0.0, "pool_size": 0},
    {"model": "pixcyclegan6", "pool_size": 2, "warmup": 3, "count": 3},
    {"model": "geocongan", "lambda_geo": 2.0, "size": 64},
    {"model": "pixcyclegan4", "upsample": "deconv", "init_gain": 0.02},
    {"model": "pixcyclegan4", "norm": "batch", "count": 2},
]


@pytest.fixture(scope="module")
def vgg():
    return load_vgg16("random", unit_rms=True)[0]


def side_by_side(vgg: nn.Module, *, model: str, dtype: torch.dtype, size: int = 32, count: int = 1, **changes):
    """Train a model and the reference from the same weights. Returns both and the losses of every step of both."""
    vgg = copy.deepcopy(vgg)
    torch.manual_seed(1)
    silnet = SilNet(base=2, levels=2).eval().requires_grad_(False) if changes.get("lambda_geo") else None
    fast = build(vgg, model, silnet=silnet, **changes)
    plain = ReferenceStep(
        fast, vgg=copy.deepcopy(vgg) if MODELS[model].netD == "perceptual" else None, dtype=dtype,
        silnet=copy.deepcopy(silnet).to(dtype) if silnet else None, lambda_geo=changes.get("lambda_geo", 0.0),
    )  # fmt: skip
    if dtype == torch.float64:
        everything = [*fast.networks.values(), *(average.module for average in fast.averages.values()), fast.view]
        for net in everything + [fast.silnet] * (silnet is not None):
            net.double()
    losses = []
    for seed in range(STEPS):
        batch = make_batch(size, count=count, seed=seed)
        typed = {name: value.to(dtype) for name, value in batch.items()}
        losses.append((fast.training_step(typed), plain.step(batch)))
    return fast, plain, losses


def without_effect(net: nn.Module) -> set[int]:
    """The ids of biases that a normalisation takes away again, in a network of the reference."""
    norms = (nn.InstanceNorm2d, nn.BatchNorm2d)
    found = set()
    for module in net.modules():
        layers = list(module) if isinstance(module, nn.Sequential) else []
        found |= {id(a.bias) for a, b in zip(layers, layers[1:]) if isinstance(b, norms)}
        if isinstance(module, Residual):  # what it adds to every pixel alike ends before a normalisation, too
            found.add(id(module.layers[-1].bias))
    return found


def weights_of(fast: HGAN, plain: ReferenceStep):
    """(name, fast weights, reference weights) of every network and average, each as one vector."""
    mine = fast.networks | {f"average {name}": average.module for name, average in fast.averages.items()}
    theirs = plain.nets | {f"average {name}": average for name, average in plain.averages.items()}
    for name in mine:
        skipped = without_effect(theirs[name]) | without_effect(plain.nets[name.split()[-1]])
        pairs = zip(mine[name].parameters(), theirs[name].parameters(), strict=True)
        kept = [(a.detach().flatten(), b.detach().flatten()) for a, b in pairs if id(b) not in skipped]
        yield name, torch.cat([a for a, _ in kept]), torch.cat([b for _, b in kept])


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["float64", "float32"])
def test_the_step_is_the_reference(vgg, case, dtype, tolerance):
    fast, plain, losses = side_by_side(vgg, dtype=dtype, **case)
    for mine, theirs in losses:
        assert mine.keys() == theirs.keys()
        for name in theirs:
            # Means of D's maps lie around zero; what they are means of is of order one.
            torch.testing.assert_close(mine[name].to(dtype), theirs[name].to(dtype), rtol=tolerance, atol=tolerance)
    for name, a, b in weights_of(fast, plain):
        # The mean, not the largest: where a ReLU or an L1 term sits on its kink, rounding moves a weight by Adam's lr.
        assert (a - b).abs().mean() <= tolerance * b.abs().mean(), name
        assert (a - b).abs().max() <= (tolerance if dtype == torch.float64 else 2 * STEPS * fast.objective.lr), name


@pytest.mark.parametrize("case", [CASES[0], CASES[4], CASES[3]], ids=str)
def test_bfloat16_stays_within_its_rounding(vgg, case):
    """bfloat16 rounds by up to 2^-9 wherever a tensor is stored, and a translated image has passed through some 15
    layers: sqrt(15) * 2^-9 is 0.8 %. Twice that is allowed for the losses of the first step, which have passed through
    two generators and a discriminator. From there on, weights differ: Adam's step for a gradient of unsure sign
    is as long as for any other. So of the weights, the direction that they have moved in is compared.
    """
    fast, plain, losses = side_by_side(vgg, dtype=torch.float32, amp="bf16", **case)
    start = build(vgg, case["model"], **case)
    mine, theirs = losses[0]
    for name in theirs:
        torch.testing.assert_close(mine[name].float(), theirs[name], rtol=0.016, atol=0.016)
    print([max(abs(m[n]-t[n]).item()/max(1,abs(t[n]).item()) for n in t) for m,t in losses])
    for name, a, b in weights_of(fast, plain):
        if name in start.networks:
            w = torch.cat([p.detach().flatten() for p in start.networks[name].parameters()])
            print(name, (a-b).abs().mean()/b.abs().mean())


class NoReading(TorchDispatchMode):
    """Fails on whatever would make a CPU wait for a GPU: reading values, shapes that depend on values, copies across."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().split("::")[1].split(".")[0]
        assert name not in ("_local_scalar_dense", "item", "nonzero", "masked_select", "equal", "is_nonzero", "unique"), name
        assert name != "index" or not any(x is not None and x.dtype == torch.bool for x in args[1]), "a mask as an index"
        if name == "_to_copy":
            assert (kwargs or {}).get("device") in (None, args[0].device), "a copy between devices"
        return func(*args, **(kwargs or {}))
