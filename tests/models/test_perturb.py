"""Noise for the generators and shifts for the discriminators."""

import torch

from models.perturb import randomly_shifted, with_fixed_noise, with_noise


def test_noise_has_the_deviation_asked_for_and_none_is_none():
    images = torch.zeros(2, 3, 64, 64)
    torch.manual_seed(0)
    first, second = with_noise(images, 0.1), with_noise(images, 0.1)
    assert abs(first.std().item() - 0.1) < 0.005 and abs(first.mean().item()) < 0.005
    assert not torch.equal(first, second) and not torch.equal(first[0], first[1])
    assert with_noise(images, 0.0) is images and with_fixed_noise(images, 0.0) is images


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
    torch.manual_seed(0)
    size, limit = 16, 3
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    image = torch.stack([y, x]).float().expand(40, 2, size, size)  # every pixel holds its place
    moved = randomly_shifted(image, limit)
    offsets = moved[:, :, size // 2, size // 2] - size // 2
    assert offsets.abs().max() == limit and len(offsets.unique(dim=0)) > 10
    for k in range(40):
        dy, dx = offsets[k].int().tolist()
        torch.testing.assert_close(moved[k, 0], (y + dy).clamp(0, size - 1).float())  # the border is repeated
        torch.testing.assert_close(moved[k, 1], (x + dx).clamp(0, size - 1).float())
    assert randomly_shifted(image, 0) is image


def test_gradients_come_back_to_where_they_belong():
    torch.manual_seed(1)
    image = torch.rand(1, 1, 8, 8, requires_grad=True)
    randomly_shifted(image, 2).sum().backward()
    assert image.grad.sum() == 64 and image.grad.min() >= 0
