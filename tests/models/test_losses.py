"""Losses, and training's departures from the paper, against values worked out by hand."""

import pytest
import torch
from helpers import same

from models.departures import BAND, FADE, Tones, extend_colors, joint_loss, mean_colours, set_colours
from models.losses import lsgan_discriminator_loss, lsgan_generator_loss
from models.optimization import linear_decay


def test_least_squares_by_hand():
    """Generator: 1/2 mean((0.5 - 1)^2, (1 - 1)^2) = 0.0625; second scale 1/2 (3 - 1)^2 = 2. Discriminator:
    1/2 mean((1 - 1)^2, (0 - 1)^2) + 1/2 mean(0.5^2, 1^2) = 0.25 + 0.3125; second scale 1/2 (-1 - 1)^2 + 1/2 3^2 = 6.5."""
    real = [torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[-1.0]]]])]
    fake = [torch.tensor([[[[0.5, 1.0]]]]), torch.tensor([[[[3.0]]]])]
    assert lsgan_generator_loss(fake).item() == pytest.approx(2.0625)
    assert lsgan_discriminator_loss(real, fake).item() == pytest.approx(7.0625)


def test_joint_loss_by_hand():
    """A joint's pixel that falls from 1 to .5 counts 21 times, a pixel beside it that rises by .5 once: (21 + 1) / 4 / 4 pixels."""
    pose = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    assert joint_loss(pose, pose) == 0
    blurred = torch.tensor([[[[0.5, 0.5], [0.0, 0.0]]]])
    assert joint_loss(blurred, pose).item() == 22 / 16


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


def test_mean_colours_keep_their_place_among_the_other_domains():
    """The mean goes to the mean, one deviation along an axis to one deviation, and the way back ends where it began."""
    tones, random = Tones(), torch.Generator().manual_seed(0)
    grey, red = torch.ones(3), torch.tensor([1.0, -1.0, 0.0])
    light = torch.randn(3000, 1, generator=random)
    synthetic, real = 0.2 + 0.1 * light * grey, torch.tensor([0.3, 0.1, -0.1]) + 0.05 * light * grey
    synthetic, real = (x + 0.02 * torch.randn(3000, 1, generator=random) * red for x in (synthetic, real))
    for batch in zip(synthetic.split(3), real.split(3)):
        tones.see(*batch)
    torch.testing.assert_close(tones.moments[0, 0, 1:], synthetic.mean(0))
    torch.testing.assert_close(tones.moments[0, 1, 2], (synthetic[:, 0] * synthetic[:, 1]).mean())
    here = torch.stack([synthetic.mean(0), synthetic.mean(0) + 0.1 * grey, synthetic.mean(0) + 0.02 * red])
    there = tones(here, to_real=True)
    wanted = torch.stack([real.mean(0), real.mean(0) + 0.05 * grey, real.mean(0) + 0.02 * red])
    torch.testing.assert_close(there, wanted, atol=2e-3, rtol=0)
    torch.testing.assert_close(tones(there, to_real=False), here)
    far, farther = (tones(here[:1] - step * 0.1 * grey, to_real=True) for step in (2.5, 9))
    torch.testing.assert_close(far, farther)
    before = {name: value.clone() for name, value in tones.state_dict().items()}
    tones.see(torch.full((1, 3), torch.nan), real[:1])
    assert same(tones.state_dict(), before)


def test_trained_generators_colours_get_the_other_domains_covariance_by_the_least_motion():
    """The one map of Gaussians whose matrix T is symmetric and positive, with T S T = R; and what it does to hands far off."""
    tones, random = Tones(), torch.Generator().manual_seed(0)
    means = torch.tensor([[0.1, -0.1, -0.2], [0.3, 0.1, -0.1]])
    mix = 0.2 * torch.randn(2, 3, 3, generator=random)
    hands = torch.randn(2, 3000, 3, generator=random) @ mix + means[:, None]
    tones.see(*hands)
    means, (here, there) = hands.mean(1), [part.T.cov(correction=0) for part in hands]

    def matched(colours: torch.Tensor, *, to_real: bool) -> torch.Tensor:
        hand = colours[:, :, None, None].expand(-1, -1, 4, 4)
        return tones.matcher(to_real=to_real)(torch.zeros_like(hand), hand, torch.ones(len(hand), 1, 4, 4))[..., 0, 0]

    near = torch.cat([means[:1], means[0] + 0.01 * torch.eye(3)])
    made = matched(near, to_real=True)
    turn = (made[1:] - made[0]) / 0.01
    torch.testing.assert_close(made[0], means[1], atol=1e-4, rtol=0)
    torch.testing.assert_close(turn, turn.T, atol=1e-3, rtol=0)
    assert torch.linalg.eigvalsh(turn).min() > 0
    torch.testing.assert_close(turn @ here @ turn, there, atol=1e-3, rtol=0)
    torch.testing.assert_close(matched(made, to_real=False), near, atol=1e-4, rtol=0)
    step = torch.linalg.cholesky(here)[:, :1].T  # one standard deviation
    torch.testing.assert_close(
        matched(means[:1] + 2.1 * step, to_real=True), matched(means[:1] + 9 * step, to_real=True)
    )


def test_old_tones_are_forgotten():
    """After 2,000 steps each new batch counts a 2,000th, so 4,000 steps later e^-2 of the old mean is left."""
    tones = Tones()
    tones.seen.fill_(3000)
    tones.moments[:, 0, 1] = 3.0
    for _ in range(4000):
        tones.see(torch.zeros(1, 3), torch.zeros(1, 3))
    assert tones.moments[1, 0, 1].item() == pytest.approx(3 * 0.1353, rel=0.01)


def test_a_hand_gets_a_mean_colour_and_the_gradient_of_its_own_mean_is_gone():
    image, mask = hand()
    image = (image + 0.2 * torch.rand(2, 3, 50, 101)).clamp(max=0.9).requires_grad_()
    colours = torch.tensor([[0.1, 0.0, -0.3], [-0.2, 0.3, 0.3]])
    made = set_colours(image, mask, colours)
    torch.testing.assert_close(mean_colours(made, mask), colours)
    torch.testing.assert_close(made[0, :, 25, 20:40].diff(), image[0, :, 25, 20:40].diff())
    mean_colours(made, mask).sum().backward()
    assert image.grad.abs().max() < 1e-6
