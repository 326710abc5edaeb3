"""Every option of the networks and of the objective changes what is trained: none is read by nothing."""

import functools

import pytest
import torch
from helpers import build, make_batch

from models import DISCRIMINATORS, GENERATORS
from models.config import NetworkConfig, Objective, Option, options_of
from models.networks.silnet import SilNet

OPTIONS = options_of(NetworkConfig, Objective)
del OPTIONS["mean_of_views"]  # which acts once trained
SMALL = {"pool_size": 1, "netG": "resnet_4blocks", "netD": "patch"}
ACTS_WITH = {"normalize_features": {"netD": "perceptual"}}  # what acts together with another option only


def other_value(option: Option, base: object) -> object:
    """A value in the option's range that is not `base`."""
    choices = {"netG": GENERATORS, "netD": DISCRIMINATORS}.get(option.name, option.choices)
    if choices:
        return next(choice for choice in choices if choice != base)
    if option.type is bool:
        return not base
    value = base / 2 if base else min(1.0, option.high)
    return option.type(value) if option.type is float else max(int(value), 0)


def train(vgg, **changes: object) -> tuple[list[torch.Tensor], dict]:
    """All weights of a small model after four steps, one of them as if late in a training; and its options."""
    values = SMALL | changes
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
    nets = (*model.networks.values(), *model.translators.values())
    weights = [tensor.clone() for net in nets for tensor in net.state_dict().values()]
    return weights, vars(model.config) | vars(model.objective)


once = functools.cache(train)


@pytest.mark.parametrize("changes", [{}, *ACTS_WITH.values()], ids=str)
def test_the_same_values_train_the_same_weights(vgg, changes):
    assert all(map(torch.equal, once(vgg, **changes)[0], train(vgg, **changes)[0]))


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_changes_what_is_trained(vgg, name):
    where = ACTS_WITH.get(name, {})
    before, base = once(vgg, **where)
    value = other_value(OPTIONS[name], base[name])
    after, _ = train(vgg, **where | {name: value})
    same = [a.shape for a in before] == [b.shape for b in after] and all(map(torch.equal, before, after))
    assert not same, f"--{name} {value} trains the same weights as {base[name]}"
