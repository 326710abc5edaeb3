"""The objective's terms (paper section III.C). All are computed in float32 and averaged over the batch."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from models.networks.layers import at_least_float32

TONE_CELL = 16  # pixels
CHROMA = 4.0  # detail of colour counts so many times


def lsgan_discriminator_loss(real_maps: list[Tensor], fake_maps: list[Tensor]) -> Tensor:
    """Eq. 1, discriminator: sum over scales of 1/2 E[(D(real) - 1)^2] + 1/2 E[D(fake)^2]."""
    losses = (
        (real - 1).square().mean() + fake.square().mean() for real, fake in zip(real_maps, fake_maps, strict=True)
    )
    return 0.5 * sum(losses)


def lsgan_generator_loss(fake_maps: list[Tensor]) -> Tensor:
    """Eq. 1, generator: sum over scales of 1/2 E[(D(fake) - 1)^2]."""
    return 0.5 * sum((fake - 1).square().mean() for fake in fake_maps)


def l1_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference: the cycle-consistency and identity losses of CycleGAN, over all pixels."""
    return (output - target).abs().mean()


def cycle_loss(output: Tensor, target: Tensor, mask: Tensor, *, tone: float) -> Tensor:
    """Cycle consistency: l1_loss in which a hand's tone counts only `tone`, in [0, 1], times; 1 is CycleGAN's loss.

    output, target: (N, 3, H, W) in [-1, 1]; mask: (N, 1, H, W) in {0, 1}. Tone is what `smoothed` leaves of their
    difference, colour and soft light. It is what a translation has to change, so that the way back cannot see it any more,
    unless the generators hide it: a pattern on the skin that tells how dark the render was pays off at full weight (Chu
    et al. 2017, "CycleGAN, a master of steganography"). Finer detail, which is what must stay, counts in full.
    """
    if tone == 1:
        return l1_loss(output, target)
    difference = at_least_float32(output - target)
    return (difference - (1 - tone) * smoothed(difference, mask)).abs().mean()


def detail_loss(translated: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """How far a translation's detail is from its source's: what no change of tone (`smoothed`) explains of the difference.

    translated, source: (N, 3, H, W) in [-1, 1]; mask: (N, 1, H, W) in {0, 1}, beside which any difference is detail.
    The mean absolute difference in grey, and CHROMA times that in colour: skin's texture is one of light and dark, and
    generators left to D put fringes and ripples of colour on it. SimGAN's self-regularisation (Shrivastava et al. 2017),
    but that tone is free.
    """
    difference = at_least_float32(translated - source)
    detail = difference - smoothed(difference, mask)
    grey = detail.mean(1, keepdim=True)
    return grey.abs().mean() + CHROMA * (detail - grey).abs().mean()


def smoothed(values: Tensor, mask: Tensor) -> Tensor:
    """values (N, C, H, W) averaged over some 40 pixels around each pixel of the mask (N, 1, H, W), of the mask alone.

    Zero beside the mask. A grid of means over cells, smoothed once and interpolated, stands in for a wide filter.
    """
    size = values.shape[-2:]
    mask = mask.to(values.dtype)

    def coarse(x: Tensor) -> Tensor:
        cells = F.avg_pool2d(x, TONE_CELL, ceil_mode=True)
        cells = F.avg_pool2d(F.pad(cells, (1, 1, 1, 1)), 3, stride=1)
        return F.interpolate(cells, size=size, mode="bilinear", align_corners=False)

    return coarse(values * mask) / coarse(mask).clamp(min=1e-6) * mask


def geometric_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """GeoConGAN's geometrically consistent loss: binary cross-entropy between SilNet's logits of a translated image
    and its source's mask in {0, 1}, both (N, 1, H, W)."""
    return F.binary_cross_entropy_with_logits(at_least_float32(logits), mask)


def r1_penalty(discriminator: Callable[[Tensor | list[Tensor]], list[Tensor]], view: Tensor | list[Tensor]) -> Tensor:
    """R1 (Mescheder et al. 2018): the mean squared norm of a discriminator's gradient at real samples.

    view: what the discriminator sees of N real images, a tensor or a list of tensors (N, ...). Its verdict on a sample
    is the sum over its maps of their means. Computed in float32, with a graph for the penalty's own gradient.
    """
    inputs = [at_least_float32(x.detach()).requires_grad_() for x in (view if isinstance(view, list) else [view])]
    with torch.autocast(inputs[0].device.type, enabled=False):
        maps = discriminator(inputs if isinstance(view, list) else inputs[0])
    verdicts = sum(m.flatten(1).mean(1) for m in maps)
    gradients = torch.autograd.grad(verdicts.sum(), inputs, create_graph=True)
    return sum(g.square().sum() for g in gradients) / len(verdicts)
