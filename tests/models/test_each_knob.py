"""Every knob of the networks and of the objective changes what is trained: none is read by nothing."""

import functools

import pytest
import torch
from helpers import build, make_batch

from models import DISCRIMINATORS, GENERATORS
from models.config import Knob, NetworkConfig, Objective, knobs
from models.features.vgg16 import load_vgg16
from models.networks.silnet import SilNet

KNOBS = knobs(NetworkConfig, Objective)
CHOICES = {"netG": tuple(GENERATORS), "netD": tuple(DISCRIMINATORS)}
BASE = {"pool_size": 1, "netG": "resnet_4blocks", "netD": "patch"}
# Knobs that act together with others, and what those are set to, beside the base.
ACTS_WITH = {
    "d_scales": {"netD": "perceptual"},
    "init_scaled": {"netD": "perceptual"},
}
# helpers.build averages weights and scales the initial ones.
OTHER = {"ema": 0.0, "init_scaled": False}


def other_value(knob: Knob, base: object) -> object:
    """A value in the knob's range that is not `base`."""
    if knob.name in OTHER:
        return OTHER[knob.name]
    choices = CHOICES.get(knob.name, knob.choices)
    if choices:
        return next(choice for choice in choices if choice != base)
    if knob.type is bool:
        return not base
    value = base / 2 if base else min(1.0, knob.high)
    return knob.type(value) if knob.type is float else max(int(value), 0)


def train(vgg, **changes: object) -> list[torch.Tensor]:
    """All weights and averages of a small model after four steps, one of them as if late in a training."""
    values = BASE | changes
    torch.manual_seed(0)
    silnet = SilNet(base=2)
    model = build(vgg if values["netD"] == "perceptual" else None, silnet=silnet, total_steps=1500, **values)
    batch = make_batch(count=2)
    for side in ("real", "real_mask"):  # hands that overlap in part
        batch[side] = batch[side].flip(-1)
    for step in range(4):
        if step == 3:
            model.steps += 1000
        model.training_step(batch)
    nets = [*model.networks.values(), *(average.module for average in model.averages.values())]
    return [tensor.clone() for net in nets for tensor in net.state_dict().values()]


@pytest.fixture(scope="module")
def vgg():
    return load_vgg16("random", calibrated=True)[0]


@pytest.mark.parametrize("netD", ["patch", "perceptual"])
def test_the_same_values_train_the_same_weights(vgg, netD):
    once, again = (train(vgg, netD=netD) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


@pytest.fixture(scope="module")
def base_weights(vgg):
    """base_weights(changes) -> the weights trained with the base and these changes, each computed once."""
    return functools.cache(lambda changes: train(vgg, **dict(changes)))


@pytest.mark.parametrize("name", KNOBS)
def test_each_knob_changes_what_is_trained(vgg, base_weights, name):
    where = ACTS_WITH.get(name, {})
    base = (BASE | {key: knob.paper for key, knob in KNOBS.items() if key not in BASE} | where)[name]
    value = other_value(KNOBS[name], base)
    before, after = base_weights(tuple(where.items())), train(vgg, **(where | {name: value}))
    assert [a.shape for a in before] != [b.shape for b in after] or not all(map(torch.equal, before, after)), (
        f"--{name} {value} trains the same weights as {base}"
    )
