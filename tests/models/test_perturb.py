"""Noise on the generators' input."""

import torch

from models.chances import draw_chances
from models.extras import Extras
from models.image_pool import ImagePool
from models.joining import Hands
from models.perturb import with_fixed_noise


def draw(images: torch.Tensor, *, noise: bool = False, seed: int = 0):
    return draw_chances(images, noise=noise, pools=(ImagePool(0), ImagePool(0)), seed=(seed, 0, 0))


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
