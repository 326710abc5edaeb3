"""Every option of the networks and of the objective changes what is trained: none is read by nothing."""

import functools

import pytest
import torch
from helpers import build, make_batch

from models import DISCRIMINATORS, GENERATORS
from models.config import NetworkConfig, Objective, Option, options_of
from models.networks.silnet import SilNet

OPTIONS = options_of(NetworkConfig, Objective)
CHOICES = {"netG": tuple(GENERATORS), "netD": tuple(DISCRIMINATORS)}
BASE = {"pool_size": 1, "netG": "resnet_4blocks", "netD": "patch"}
# Options that act together with others, and what those are set to, beside the base.
ACTS_WITH = {
    "normalize_features": {"netD": "perceptual"},
}
# helpers.build scales the initial weights.
OTHER = {"normalize_features": False}


def other_value(option: Option, base: object) -> object:
    """A value in the option's range that is not `base`."""
    if option.name in OTHER:
        return OTHER[option.name]
    choices = CHOICES.get(option.name, option.choices)
    if choices:
        return next(choice for choice in choices if choice != base)
    if option.type is bool:
        return not base
    value = base / 2 if base else min(1.0, option.high)
    return option.type(value) if option.type is float else max(int(value), 0)


def train(vgg, **changes: object) -> list[torch.Tensor]:
    """All weights of a small model after four steps, one of them as if late in a training."""
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
    return [tensor.clone() for net in model.networks.values() for tensor in net.state_dict().values()]


@pytest.mark.parametrize("netD", ["patch", "perceptual"])
def test_the_same_values_train_the_same_weights(vgg, netD):
    once, again = (train(vgg, netD=netD) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


@pytest.fixture(scope="module")
def base_weights(vgg):
    """base_weights(changes) -> the weights trained with the base and these changes, each computed once."""
    return functools.cache(lambda changes: train(vgg, **dict(changes)))


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_changes_what_is_trained(vgg, base_weights, name):
    where = ACTS_WITH.get(name, {})
    base = (BASE | {key: option.paper for key, option in OPTIONS.items() if key not in BASE} | where)[name]
    value = other_value(OPTIONS[name], base)
    before, after = base_weights(tuple(where.items())), train(vgg, **(where | {name: value}))
    assert [a.shape for a in before] != [b.shape for b in after] or not all(map(torch.equal, before, after)), (
        f"--{name} {value} trains the same weights as {base}"
    )
