"""Losses, and training's departures from the paper, against values worked out by hand."""

import pytest
import torch

from models import departures
from models.departures import BAND, FADE, detail_loss, edge_loss, edge_share, extend_colors
from models.losses import lsgan_discriminator_loss, lsgan_generator_loss
from models.optimization import linear_decay


def test_least_squares_by_hand():
    """Generator: 1/2 mean((0.5 - 1)^2, (1 - 1)^2) = 0.0625; second scale 1/2 (3 - 1)^2 = 2. Discriminator:
    1/2 mean((1 - 1)^2, (0 - 1)^2) + 1/2 mean(0.5^2, 1^2) = 0.25 + 0.3125; second scale 1/2 (-1 - 1)^2 + 1/2 3^2 = 6.5."""
    real = [torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[-1.0]]]])]
    fake = [torch.tensor([[[[0.5, 1.0]]]]), torch.tensor([[[[3.0]]]])]
    assert lsgan_generator_loss(fake).item() == pytest.approx(2.0625)
    assert lsgan_discriminator_loss(real, fake).item() == pytest.approx(7.0625)


def step_in_light(low: float, high: float) -> torch.Tensor:
    """A picture (1, 3, 32, 32) whose (image + 1) / 2 + 0.1 is `low` on its left half and `high` on its right."""
    light = torch.full((1, 3, 32, 32), low)
    light[..., 16:] = high
    return (light - 0.1) * 2 - 1


def test_edge_loss_asks_for_the_sources_edges_alone():
    """A step from .2 to .6: kept, kept in a light of 1.5 times, or with texture beside it, it costs nothing; a step of
    half its logarithm costs 1 - .5 / EDGE_KEPT of what a flat picture does; the reverse step costs 1 + 1 / EDGE_KEPT of that.
    A source without edges asks for nothing, nor does an outline, whatever its shading."""
    mask, source = torch.ones(1, 1, 32, 32), step_in_light(0.2, 0.6)

    def loss(translated, source=source):
        return edge_loss(translated, source, mask).item()

    flat = loss(step_in_light(0.4, 0.4))
    assert flat > 0.01
    assert loss(source) == pytest.approx(0, abs=1e-6)
    assert loss(step_in_light(0.3, 0.9)) == pytest.approx(0, abs=1e-6)
    textured = source.clone()
    textured[..., 22:, 24:] = textured[..., 22:, 24:] + 0.3 * (torch.arange(8) % 2)
    assert loss(textured) == pytest.approx(0, abs=1e-6)
    half = 0.2 * (0.6 / 0.2) ** 0.5
    assert loss(step_in_light(0.2, half)) == pytest.approx(flat * (1 - 0.5 / departures.EDGE_KEPT), rel=1e-3)
    assert loss(step_in_light(0.6, 0.2)) == pytest.approx(flat * (1 + 1 / departures.EDGE_KEPT), rel=1e-3)
    assert loss(textured, step_in_light(0.4, 0.4)) == 0
    mask[..., :16] = 0
    assert loss(step_in_light(0.4, 0.4)) == 0


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
        (red, (0.1 / 3 + departures.COLOURED * 0.1 * (2 + 1 + 1) / 9) / 4),
    ):
        assert detail_loss(source + change, source, mask).item() == pytest.approx(wanted, abs=1e-6)


def test_longer_runs_keep_edges_in_the_place_of_detail():
    """Runs of SHORT steps keep all detail, runs of 1.5 times that half of it, of twice that none."""
    lengths = (100, departures.SHORT, departures.SHORT * 3 // 2, departures.SHORT * 2, departures.SHORT * 20, None)
    assert [edge_share(total) for total in lengths] == [0, 0, 0.5, 1, 1, 1]


def test_rates_hold_for_half_the_run_and_end_at_zero():
    assert [linear_decay(step, 8) for step in range(9)] == [1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]
    assert linear_decay(10**6, None) == 1


def hand() -> tuple[torch.Tensor, torch.Tensor]:
    """A hand of -0.5, 20 to 40 pixels from the left, the rest white: (2, 3, 50, 101) and its mask."""
    mask = torch.zeros(2, 1, 50, 101)
    mask[..., 20:40] = 1
    return torch.where(mask > 0, -0.5, 1.0).expand(-1, 3, -1, -1).contiguous(), mask


def test_a_hands_colour_goes_on_beside_it_and_fades_into_the_background():
    image, mask = hand()
    image[:, 0] += 0.1 * torch.rand(50, 101) * mask[0, 0]
    image[1] = -image[1]  # each hand is filled by its own colours
    seen = extend_colors(image, mask)
    assert torch.equal(seen[mask.expand_as(seen) > 0], image[mask.expand_as(image) > 0])
    assert torch.equal(seen[..., 40 + BAND + FADE :], image[..., 40 + BAND + FADE :])
    for one, colour in zip(seen, (-0.5, 0.5)):
        torch.testing.assert_close(one[1:, :, 40 : 40 + BAND - FADE], torch.full((2, 50, BAND - FADE), colour))
    fade = seen[0, 1, 25, 40 : 40 + BAND + FADE + 1]
    assert (fade.diff() >= -1e-6).all() and fade[0] < -0.49 and fade[-1] > 0.99


def test_masks_that_cover_all_or_nothing_change_nothing():
    image = torch.rand(1, 3, 33, 20) * 2 - 1
    assert torch.equal(extend_colors(image, torch.ones(1, 1, 33, 20)), image)
    assert torch.equal(extend_colors(image, torch.zeros(1, 1, 33, 20)), image)


def test_gradients_reach_the_hand_and_pass_the_band_by():
    image, mask = hand()
    image.requires_grad_()
    extend_colors(image, mask).sum().backward()
    assert torch.equal(image.grad, mask.expand_as(image))
