"""What generators see beside a hand."""

import torch

from models.departures import BAND, FADE, extend_colors


def hand() -> tuple[torch.Tensor, torch.Tensor]:
    """A hand of -0.5, 20 to 40 pixels from the left, the rest white: (2, 3, 50, 101) and its mask."""
    mask = torch.zeros(2, 1, 50, 101)
    mask[..., 20:40] = 1
    return torch.where(mask > 0, -0.5, 1.0).expand(-1, 3, -1, -1).contiguous(), mask


def test_the_hand_stays_and_its_colour_goes_on_beside_it():
    image, mask = hand()
    image[:, 0] += 0.1 * torch.rand(50, 101) * mask[0, 0]
    seen = extend_colors(image, mask)
    assert torch.equal(seen[mask.expand_as(seen) > 0], image[mask.expand_as(image) > 0])
    near = slice(40, 40 + BAND - FADE)
    torch.testing.assert_close(seen[:, 1:, :, near], torch.full((2, 2, 50, BAND - FADE), -0.5))


def test_far_from_the_hand_the_background_stays():
    image, mask = hand()
    seen = extend_colors(image, mask)
    assert torch.equal(seen[..., 40 + BAND + FADE :], image[..., 40 + BAND + FADE :])
    fade = seen[0, 0, 25, 40 : 40 + BAND + FADE + 1]
    assert (fade.diff() >= -1e-6).all() and fade[0] < -0.49 and fade[-1] > 0.99


def test_masks_that_cover_all_or_nothing_change_nothing():
    image = torch.rand(1, 3, 33, 20) * 2 - 1
    assert torch.equal(extend_colors(image, torch.ones(1, 1, 33, 20)), image)
    assert torch.equal(extend_colors(image, torch.zeros(1, 1, 33, 20)), image)


def test_a_hand_is_filled_by_its_own_colours_whatever_else_is_in_the_batch():
    image, mask = hand()
    image[1] = -image[1]
    both, alone = extend_colors(image, mask), extend_colors(image[:1], mask[:1])
    torch.testing.assert_close(both[:1], alone)


def test_gradients_reach_the_hand_and_pass_the_band_by():
    image, mask = hand()
    image.requires_grad_()
    extend_colors(image, mask).sum().backward()
    assert torch.equal(image.grad, mask.expand_as(image))
