"""The paper's losses (section III.C), computed in float32 and averaged over the batch."""

import torch
import torch.nn.functional as F
from torch import Tensor


def lsgan_discriminator_loss(real_maps: list[Tensor], fake_maps: list[Tensor]) -> Tensor:
    """Eq. 1, discriminator: sum over scales of 1/2 E[(D(real) - 1)^2] + 1/2 E[D(fake)^2]."""
    return 0.5 * (sum_of_means(real_maps, minus=1.0) + sum_of_means(fake_maps, minus=0.0))


def lsgan_generator_loss(fake_maps: list[Tensor]) -> Tensor:
    """Eq. 1, generator: sum over scales of 1/2 E[(D(fake) - 1)^2]."""
    return 0.5 * sum_of_means(fake_maps, minus=1.0)


def l1_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference: the cycle-consistency and identity losses of CycleGAN, over all pixels."""
    return (output - target).abs().mean()


def geometric_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """GeoConGAN's geometrically consistent loss: binary cross-entropy between SilNet's logits of a translated image
    and its source's mask in {0, 1}, both (N, 1, H, W)."""
    return F.binary_cross_entropy_with_logits(logits, mask)


def sum_of_means(maps: list[Tensor], *, minus: float) -> Tensor:
    """The sum over maps (N, 1, h, w) of their mean squared difference from a number."""
    return sum(F.mse_loss(each, torch.full_like(each, minus)) for each in maps)


def mean_of_maps(maps: list[Tensor]) -> Tensor:
    """The mean over a discriminator's maps, each with the same weight; near 1 for images judged real, near 0 for fakes."""
    return torch.stack([each.mean() for each in maps]).mean()
