"""Losses against values worked out by hand."""

import pytest
import torch

from models.departures import COLOURED, EDGE_KEPT, detail_loss, edge_loss
from models.losses import l1_loss, lsgan_discriminator_loss, lsgan_generator_loss


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


def test_l1_by_hand():
    assert l1_loss(torch.tensor([1.0, -1.0]), torch.tensor([0.5, 1.0])).item() == pytest.approx(1.25)


def step_in_light(low: float, high: float) -> torch.Tensor:
    """A picture (1, 3, 32, 32) whose (image + 1) / 2 + 0.1 is `low` on its left half and `high` on its right."""
    light = torch.full((1, 3, 32, 32), low)
    light[..., 16:] = high
    return (light - 0.1) * 2 - 1


def test_edge_loss_asks_for_the_sources_edges_alone():
    """A step from .2 to .6: kept, kept in a light of 1.5 times, or with texture beside it, it costs nothing; a step of
    half its logarithm costs 1 - .5 / EDGE_KEPT of what a flat picture does; the reverse step costs 1 + 1 / EDGE_KEPT of that.
    A source without edges asks for nothing."""
    mask, source = torch.ones(1, 1, 32, 32), step_in_light(0.2, 0.6)

    def loss(translated, source=source, mask=mask):
        return edge_loss(translated, source, mask).item()

    flat = loss(step_in_light(0.4, 0.4))
    assert flat > 0.01
    assert loss(source) == pytest.approx(0, abs=1e-6)
    assert loss(step_in_light(0.3, 0.9)) == pytest.approx(0, abs=1e-6)
    textured = source.clone()
    textured[..., 22:, 24:] = textured[..., 22:, 24:] + 0.3 * (torch.arange(8) % 2)
    assert loss(textured) == pytest.approx(0, abs=1e-6)
    half = 0.2 * (0.6 / 0.2) ** 0.5
    assert loss(step_in_light(0.2, half)) == pytest.approx(flat * (1 - 0.5 / EDGE_KEPT), rel=1e-3)
    assert loss(step_in_light(0.6, 0.2)) == pytest.approx(flat * (1 + 1 / EDGE_KEPT), rel=1e-3)
    assert loss(textured, step_in_light(0.4, 0.4)) == 0


def test_edge_loss_leaves_the_outline_alone():
    """Of a hand on a darker ground it asks for nothing, however its outline is shaded."""
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 16:] = 1
    flat = step_in_light(0.4, 0.4)
    assert edge_loss(flat, step_in_light(0.2, 0.6), mask).item() == 0


def test_detail_loss_leaves_tone_free():
    """A hand of whole cells, a quarter of the image: another tone costs nothing; a checkerboard of .1, whose cells' means are 0,
    costs .1 of that quarter. In red alone its grey is .1 / 3, and its colours differ from that by 2, 1 and 1 thirds of .1."""
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:48, 16:48] = 1
    source = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.5
    board = 0.1 * (1 - 2.0 * ((torch.arange(64) + torch.arange(64).view(-1, 1)) % 2)) * mask
    red = board * torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)
    tone = torch.tensor([0.3, -0.1, 0.2]).view(1, 3, 1, 1) * mask
    for change, wanted in (
        (tone, 0),
        (board, 0.1 / 4),
        (tone - board, 0.1 / 4),
        (red, (0.1 / 3 + COLOURED * 0.1 * (2 + 1 + 1) / 9) / 4),
    ):
        assert detail_loss(source + change, source, mask).item() == pytest.approx(wanted, abs=1e-6)
