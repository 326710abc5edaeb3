"""The quick ways on a CPU against PyTorch's own operators: values and gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.networks.layers import Binomial, DoubleSize, ReflectConv, ReflectConvToImage, reflect_pad


def values_and_gradients(function, *inputs):
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    output = function(*inputs)
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return [output, *torch.autograd.grad((output * weights).sum(), inputs)]


def assert_same(ours, theirs, *inputs):
    for a, b in zip(values_and_gradients(ours, *inputs), values_and_gradients(theirs, *inputs)):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("width, height, length", [(1, 2, 5), (1, 8, 8), (3, 4, 9), (3, 7, 4)])
def test_reflection(width, height, length):
    x = torch.rand(2, 3, height, length, dtype=torch.float64)
    assert_same(lambda x: reflect_pad(x, width), lambda x: F.pad(x, (width,) * 4, mode="reflect"), x)


@pytest.mark.parametrize("height, length", [(1, 1), (1, 4), (5, 3), (8, 8)])
def test_doubling(height, length):
    x = torch.rand(2, 3, height, length, dtype=torch.float64)
    assert_same(DoubleSize(), nn.Upsample(scale_factor=2, mode="bilinear"), x)


@pytest.mark.parametrize("height, length", [(2, 5), (8, 8)])
def test_binomial_filter(height, length):
    x = torch.rand(2, 3, height, length, dtype=torch.float64)
    kernel = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=torch.float64).expand(3, 1, 3, 3) / 16
    assert_same(Binomial(), lambda x: F.conv2d(F.pad(x, (1,) * 4, mode="reflect"), kernel, groups=3), x)


@pytest.mark.parametrize("make, size", [(ReflectConv, (6, 5)), (ReflectConvToImage, (6, 8))])
def test_convolutions(make, size):
    ours = make(4, 3, 7).double()
    theirs = nn.Conv2d(4, 3, 7, padding=3, padding_mode="reflect").double()
    x = torch.rand(2, 4, *size, dtype=torch.float64)

    def call(net):
        return lambda x, weight, bias: torch.func.functional_call(net, {"weight": weight, "bias": bias}, (x,))

    assert_same(call(ours), call(theirs), x, ours.weight, ours.bias)


def test_half_precision_goes_through_unrounded():
    """Under autocast, padding and doubling leave bfloat16 as it is: no copies in float32."""
    x = torch.rand(1, 2, 8, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert reflect_pad(x, 1).dtype == DoubleSize()(x).dtype == torch.bfloat16
    assert torch.equal(reflect_pad(x, 1).float(), F.pad(x.float(), (1,) * 4, mode="reflect"))
