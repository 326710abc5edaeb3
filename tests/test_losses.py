"""Losses against values worked out by hand."""

import pytest
import torch

from models.losses import l1_loss, lsgan_discriminator_loss, lsgan_generator_loss, r1_penalty


def test_generator_loss_by_hand():
    """1/2 mean((0.5 - 1)^2, (1 - 1)^2) = 0.0625; 1/2 (3 - 1)^2 = 2; summed over the two scales."""
    maps = [torch.tensor([[[[0.5, 1.0]]]]), torch.tensor([[[[3.0]]]])]
    assert lsgan_generator_loss(maps).item() == pytest.approx(2.0625)


def test_discriminator_loss_by_hand():
    """1/2 mean((1 - 1)^2, (0 - 1)^2) + 1/2 mean(2^2, 0^2) = 0.25 + 1; second scale 1/2 (-1 - 1)^2 + 1/2 1^2 = 2.5."""
    real = [torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[-1.0]]]])]
    fake = [torch.tensor([[[[2.0, 0.0]]]]), torch.tensor([[[[1.0]]]])]
    assert lsgan_discriminator_loss(real, fake).item() == pytest.approx(3.75)


def test_each_scale_weighs_the_same_whatever_its_size():
    one, many = torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 16, 16)
    assert lsgan_generator_loss([one]).item() == lsgan_generator_loss([many]).item() == 0.5


def test_scales_must_match():
    with pytest.raises(ValueError):
        lsgan_discriminator_loss([torch.zeros(1, 1, 1, 1)], [])


def test_l1_by_hand():
    assert l1_loss(torch.tensor([1.0, -1.0]), torch.tensor([0.5, 1.0])).item() == pytest.approx(1.25)


def test_r1_by_hand():
    """D(x) = 3 x over 4 pixels and x^2 on a second map: the mean's gradient is (3 + 2 x) / 4 a pixel."""
    x = torch.tensor([1.0, -1.0, 0.0, 2.0]).view(1, 1, 2, 2)
    penalty = r1_penalty(lambda view: [3 * view, view**2], x)
    assert penalty.item() == pytest.approx((5**2 + 1**2 + 3**2 + 7**2) / 16)


def test_r1_is_a_mean_over_samples_and_takes_lists():
    x = torch.ones(5, 1, 2, 2)
    assert r1_penalty(lambda view: [3 * view], x).item() == pytest.approx(9 / 4)
    assert r1_penalty(lambda view: [3 * view[0] + view[1]], [x, x]).item() == pytest.approx(9 / 4 + 1 / 4)
