"""Losses against values worked out by hand."""

import pytest
import torch

from models.losses import (
    CHROMA,
    content_loss,
    cycle_loss,
    detail_loss,
    l1_loss,
    lsgan_discriminator_loss,
    lsgan_generator_loss,
    smoothed,
)


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


def half_a_picture() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A mask over the left half of 64x64, black pictures, and a checkerboard of -1 and 1."""
    mask = torch.zeros(2, 1, 64, 64)
    mask[..., :32] = 1
    board = ((torch.arange(64)[:, None] + torch.arange(64)) % 2 * 2 - 1).float()
    return mask, torch.zeros(2, 3, 64, 64), board


@pytest.mark.parametrize("tone", [1.0, 0.2, 0.0])
def test_cycle_loss_discounts_tone_alone(tone):
    """A hand over half the picture, too bright by 0.5: tone * 0.5 / 2. A checkerboard of 0.5 on it: all of 0.5 / 2. Off the
    hand, any difference counts in full: 0.3 / 2."""
    mask, target, board = half_a_picture()

    def loss(output):
        return cycle_loss(output.expand_as(target), target, mask, tone=tone).item()

    assert loss(0.5 * mask) == pytest.approx(tone * 0.25, abs=1e-6)
    assert loss(0.5 * board * mask) == pytest.approx(0.25, abs=1e-6)
    assert loss(0.3 * (1 - mask)) == pytest.approx(0.15, abs=1e-6)


def test_detail_loss_by_hand():
    """Another colour all over costs nothing. A grey checkerboard of 0.5 over half the picture: 0.5 / 2. One of 0.5 in red
    and -0.5 in blue has no grey, and a mean over channels of 1/3: CHROMA / 6."""
    mask, source, board = half_a_picture()
    pattern = board * mask

    def loss(difference):
        return detail_loss(source + difference, source, mask).item()

    def colours(*rgb):
        return torch.tensor(rgb).view(1, 3, 1, 1)

    assert loss(colours(0.5, -0.2, 0.1) * mask) == pytest.approx(0, abs=1e-6)
    assert loss(colours(0.5, 0.5, 0.5) * pattern) == pytest.approx(0.25, abs=1e-6)
    assert loss(colours(0.5, 0.0, -0.5) * pattern) == pytest.approx(CHROMA / 6, abs=1e-6)


def test_smoothing_sees_the_hand_alone():
    """A constant stays what it is up to the mask's rim, whatever lies beside it, in sizes that 16 does not divide, too."""
    mask = (torch.rand(2, 1, 70, 45, generator=torch.Generator().manual_seed(0)) > 0.9).float()
    values = torch.where(mask > 0, 0.25, 1e3).expand(-1, 3, -1, -1)
    torch.testing.assert_close(smoothed(values, mask), 0.25 * mask.expand(-1, 3, -1, -1))
    assert not smoothed(values, torch.zeros_like(mask)).any()


def test_content_loss_by_hand():
    """Another mean and deviation of a channel cost nothing. Rows of -1 and 1 against columns of them, both of deviation 1,
    differ by 2 in half of all places: 4 / 2."""
    rows = torch.tensor([-1.0, 1.0]).repeat(4).view(1, 1, 8, 1).expand(2, 3, 8, 8).contiguous()
    assert content_loss(5 + 3 * rows, rows).item() == pytest.approx(0, abs=1e-6)
    assert content_loss(rows, rows.transpose(2, 3)).item() == pytest.approx(2, rel=1e-4)
