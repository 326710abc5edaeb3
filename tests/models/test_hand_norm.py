"""Instance normalisation with the hand's share of the statistics held up."""

import pytest
import torch
import torch.nn.functional as F

from models.networks.hand_norm import norm_weights, weighted_instance_norm
from models.networks.layers import InstanceNorm
from models.networks.resnet_generator import ResNetGenerator


def mask_of(share: float, size: int = 8) -> torch.Tensor:
    """(1, 1, size, size) of which the first `share` of all pixels are hand."""
    mask = torch.zeros(size * size)
    mask[: round(share * size * size)] = 1
    return mask.view(1, 1, size, size)


@pytest.mark.parametrize("fill, share", [(0.25, 0.75), (0.75, 0.75), (0.875, 0.875), (1.0, 1.0)])
def test_the_hand_has_its_least_share(fill, share):
    mask = mask_of(fill)
    weights = norm_weights(mask, 0.75, levels=1)[8]
    assert weights.sum().item() == pytest.approx(1.0)
    assert (weights * mask.flatten(1)).sum().item() == pytest.approx(share)


def test_weights_by_hand():
    """Of four pixels one is hand: for three quarters of the total, three of ground must share a quarter."""
    weights = norm_weights(torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]), 0.75, levels=1)[2]
    torch.testing.assert_close(weights, torch.tensor([[0.75, 1 / 12, 1 / 12, 1 / 12]]))


def test_coarser_levels_average_the_mask():
    weights = norm_weights(mask_of(0.5, 8), 0.75, levels=3)
    assert {height: tuple(w.shape) for height, w in weights.items()} == {8: (1, 64), 4: (1, 16), 2: (1, 4)}
    torch.testing.assert_close(weights[2], torch.tensor([[0.375, 0.375, 0.125, 0.125]]))


@pytest.mark.parametrize("mask", [torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)], ids=["no hand", "all hand"])
def test_without_a_choice_it_is_plain_instance_norm(mask):
    x = torch.randn(2, 3, 8, 8)
    weights = norm_weights(mask, 0.75, levels=1)
    torch.testing.assert_close(InstanceNorm()(x, weights), F.instance_norm(x))


def test_more_of_the_same_ground_changes_nothing():
    hand, ground = torch.randn(1, 4, 4, 8), torch.full((1, 4, 12, 8), 3.0)
    small, large = torch.cat([hand, ground[:, :, :4]], 2), torch.cat([hand, ground], 2)
    results = []
    for image in (small, large):
        mask = torch.zeros(1, 1, *image.shape[2:])
        mask[:, :, :4] = 1
        results.append(weighted_instance_norm(image, norm_weights(mask, 0.75, levels=1)[image.shape[2]])[:, :, :4])
    torch.testing.assert_close(*results)
    assert (F.instance_norm(small)[:, :, :4] - F.instance_norm(large)[:, :, :4]).abs().max() > 0.1


def test_gradients():
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    weights = norm_weights((torch.rand(2, 1, 4, 4) > 0.6).double(), 0.75, levels=1)[4]
    assert torch.autograd.gradcheck(lambda x: weighted_instance_norm(x, weights), x)


def test_half_precision_is_normalised_in_float32():
    x = 300 + torch.randn(1, 2, 16, 16)
    weights = norm_weights(mask_of(0.3, 16), 0.75, levels=1)[16]
    rounded = x.bfloat16()
    out = weighted_instance_norm(rounded, weights)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, weighted_instance_norm(rounded.float(), weights).bfloat16())


@pytest.mark.parametrize("height, width", [(32, 32), (30, 17)])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_generator_heeds_the_mask_if_it_is_told_to(height, width, checkpointing):
    torch.manual_seed(0)
    net = ResNetGenerator(blocks=1, ngf=2, hand_share=0.75)
    net.checkpointing = checkpointing
    image, mask = torch.rand(1, 3, height, width) * 2 - 1, torch.zeros(1, 1, height, width)
    mask[..., :9, :9] = 1
    out = net(image, mask)
    assert out.shape == image.shape
    assert not torch.allclose(out, net(image))
    net.hand_share = 0.0
    assert torch.equal(net(image, mask), net(image))
