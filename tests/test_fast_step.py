"""The training step against tests/reference_step.py: the same losses and the same weights, step after step.

In float64 the two agree to 1e-10, which no difference in the mathematics survives; in float32, to 1e-5. Adam divides
every gradient by its own size, so a weight whose true gradient is zero walks at random with rounding errors: biases that
a normalisation takes away again are such weights, and are left out of the comparison of weights.
"""

import copy

import pytest
import torch
from reference_step import ReferenceStep
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
    {"model": "geocongan", "lambda_geo": 2.0},
    {"model": "pixcyclegan4", "upsample": "deconv", "init_gain": 0.02},
    {"model": "pixcyclegan4", "norm": "batch", "count": 2},
]


@pytest.fixture(scope="module")
def vgg():
    return load_vgg16("random", unit_rms=True)[0]


def side_by_side(vgg: nn.Module, *, model: str, dtype: torch.dtype, count: int = 1, **changes):
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
        batch = make_batch(32, count=count, seed=seed)
        typed = {name: value.to(dtype) for name, value in batch.items()}
        losses.append((fast.training_step(typed), plain.step(batch)))
    return fast, plain, losses


def without_effect(net: nn.Module) -> set[int]:
    """The ids of biases right before a normalisation, in a network of the reference."""
    norms = (nn.InstanceNorm2d, nn.BatchNorm2d)
    found = set()
    for sequence in (module for module in net.modules() if isinstance(module, nn.Sequential)):
        layers = list(sequence)
        found |= {id(a.bias) for a, b in zip(layers, layers[1:]) if isinstance(b, norms)}
    return found


def weights_of(fast: HGAN, plain: ReferenceStep):
    """(name, fast weight, reference weight) of every parameter that has an effect, and of its average."""
    mine = fast.networks | {f"average {name}": average.module for name, average in fast.averages.items()}
    theirs = plain.nets | {f"average {name}": average for name, average in plain.averages.items()}
    for name in mine:
        skipped = without_effect(theirs[name])
        for (key, a), b in zip(mine[name].named_parameters(), theirs[name].parameters(), strict=True):
            if id(b) not in skipped:
                yield f"{name}.{key}", a.detach(), b.detach()


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["float64", "float32"])
def test_the_step_is_the_reference(vgg, case, dtype, tolerance):
    fast, plain, losses = side_by_side(vgg, dtype=dtype, **case)
    for mine, theirs in losses:
        assert mine.keys() == theirs.keys()
        for name in theirs:
            # The means of D's maps lie around zero; the scale of what they are means of is one.
            torch.testing.assert_close(mine[name].to(dtype), theirs[name].to(dtype), rtol=tolerance, atol=tolerance * 0.1)
    for name, a, b in weights_of(fast, plain):
        distance = (a - b).norm() / b.norm().clamp(min=1e-3 * b.numel() ** 0.5)  # biases start at zero
        assert distance < tolerance, (name, distance)


class NoReading(TorchDispatchMode):
    """Fails on whatever would make a CPU wait for a GPU: reading values, shapes that depend on values, copies across."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().split("::")[1].split(".")[0]
        assert name not in ("_local_scalar_dense", "item", "nonzero", "masked_select", "equal", "is_nonzero", "unique"), name
        assert name != "index" or not any(x is not None and x.dtype == torch.bool for x in args[1]), "a mask as an index"
        if name == "_to_copy":
            assert (kwargs or {}).get("device") in (None, args[0].device), "a copy between devices"
        return func(*args, **(kwargs or {}))
