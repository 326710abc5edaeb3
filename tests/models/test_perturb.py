"""Noise for the generators and shifts for the discriminators."""

import torch

from models.chances import Shifts, draw_chances
from models.extras import Extras
from models.image_pool import ImagePool
from models.joining import Hands
from models.perturb import shifted, with_fixed_noise


def draw(images: torch.Tensor, *, noise: bool = False, d_shift: int = 0, seed: int = 0):
    return draw_chances(images, noise=noise, d_shift=d_shift, pools=(ImagePool(0), ImagePool(0)), seed=(seed, 0, 0))


def test_noise_has_the_deviation_asked_for_and_none_is_none():
    images, extras = torch.zeros(2, 3, 64, 64), Extras(input_noise=0.1)
    noises = draw(images, noise=True).noise.unbind(1)
    hands = Hands(images, torch.ones(2, 1, 64, 64))
    first, second = (extras.seen(hands, noise) for noise in noises[:2])
    assert len(noises) == 6 and abs(first.std().item() - 0.1) < 0.005 and abs(first.mean().item()) < 0.005
    assert not torch.equal(first, second) and not torch.equal(first[0], first[1])
    assert draw(images).noise is None and Extras().seen(hands, None) is images
    assert with_fixed_noise(images, 0.0) is images


def test_fixed_noise_depends_on_nothing_but_the_size():
    images = torch.rand(3, 3, 24, 32)
    whole = with_fixed_noise(images, 0.1)
    torch.manual_seed(5)
    alone = with_fixed_noise(images[1:2], 0.1)
    assert torch.equal(whole[1:2], alone)
    noise = whole - images
    torch.testing.assert_close(noise[0], noise[2])
    assert abs(noise.std().item() - 0.1) < 0.01


def test_fixed_noise_draws_nothing_from_the_global_state():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    with_fixed_noise(torch.zeros(1, 3, 8, 8), 0.1)
    assert torch.equal(torch.rand(1), expected)


def test_shifts_move_each_image_by_itself_within_the_limit():
    size, limit = 16, 3
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    image = torch.stack([y, x]).float().expand(40, 2, size, size)  # every pixel holds its place
    moved = shifted(image, draw(image, d_shift=limit).shifts.of(0, 1))
    offsets = moved[:, :, size // 2, size // 2] - size // 2
    assert offsets.abs().max() == limit and len(offsets.unique(dim=0)) > 10
    for k in range(40):
        dy, dx = offsets[k].int().tolist()
        torch.testing.assert_close(moved[k, 0], (y + dy).clamp(0, size - 1).float())  # the border is repeated
        torch.testing.assert_close(moved[k, 1], (x + dx).clamp(0, size - 1).float())
    assert draw(image).shifts is None and Extras().shifted(image, None) is image


def test_shifts_of_several_images_a_pair_stay_with_them():
    images = torch.rand(2, 3, 16, 16)
    shifts = draw(images, d_shift=5).shifts
    together = shifted(torch.cat([images, images + 1]), shifts.of(2, 4))
    for k in range(2):
        alone = Shifts(shifts.rows[:, 2 + k], shifts.columns[:, 2 + k])
        assert torch.equal(together[2 * k : 2 * k + 2], shifted(images + k, alone))


def test_gradients_come_back_to_where_they_belong():
    image = torch.rand(1, 1, 8, 8, requires_grad=True)
    shifted(image, draw(image.detach(), d_shift=2).shifts.of(0, 1)).sum().backward()
    assert image.grad.sum() == 64 and image.grad.min() >= 0
