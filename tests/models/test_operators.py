"""The operators of a training step: few enough for a GPU that waits for launches, and the same at every step."""

from collections.abc import Callable

import pytest
import torch
from helpers import CPU, make_batch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models import MODELS
from models.config import network_config, objective
from models.features.vgg16 import load_vgg16
from models.hgan import HGAN
from models.networks.layers import as_on_gpus
from options.train_options import parse_train
from util.runtime import Amp

STEPS = 14  # the rate falls from the eighth on
BEFORE = 2415  # at commit 50e99b5, mshgan4, batch 1, default flags, bfloat16


# Operators that launch no kernel.
FREE = (
    "_unsafe_view",
    "detach",
    "alias",
    "empty",
    "new_empty",
    "empty_like",
    "empty_strided",
    "promote_types",
    "lift_fresh",
)


class OperatorLog(TorchDispatchMode):
    """A context that records in `calls` every operator that launches a kernel: its name and its tensors' shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, list[torch.Size]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        namespace, name = func.name().split("::")
        if namespace != "profiler" and not func.is_view and name.split(".")[0] not in FREE:
            tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
            self.calls.append((name, [x.shape for x in tensors]))
        return result


def operators(step: Callable[[], object]) -> list[tuple[str, list[torch.Size]]]:
    """The operators of one call of `step`, in order, as they would be on a GPU."""
    with as_on_gpus(), OperatorLog() as log:
        step()
    return log.calls


@pytest.fixture(scope="module")
def vgg():
    return load_vgg16("random", calibrated=True)[0]


def create(vgg, model: str, amp: str, *flags: str) -> HGAN:
    """A narrow model of train.py's default flags."""
    opt = parse_train(["--name", "x", "--model", model, "--ngf", "4", "--ndf", "4", "--lambda_geo", "0", *flags])
    return HGAN(network_config(opt), objective(opt), vgg=vgg, amp=Amp(amp), device=CPU, total_steps=STEPS)


def test_a_step_takes_few_operators(vgg):
    model = create(vgg, "mshgan4", "bf16")
    batches = [make_batch(64, seed=seed) for seed in range(3)]
    for batch in batches[:2]:
        model.training_step(batch)
    calls = operators(lambda: model.training_step(batches[2]))
    assert 10 * len(calls) <= 6 * BEFORE


@pytest.mark.parametrize("model", MODELS)
def test_every_step_is_the_same_sequence_of_operators(vgg, model):
    """Names and shapes, of all steps from the sixth on, with a full pool and the default flags."""
    flags = ("--pool_size", "3")
    trained = create(vgg, model, "off", *flags)
    first = None
    for step in range(STEPS):
        batch = make_batch(seed=step)
        exchange = trained.begin_step(batch)
        calls = operators(lambda batch=batch, exchange=exchange: trained.training_step(batch, exchange))
        if step >= 5:
            first = first or calls
            assert calls == first, step
    assert trained.pool_r.count == 3 and torch.isfinite(trained.pool_r.images).all()
