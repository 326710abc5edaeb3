"""The objective's terms (paper section III.C). All are computed in float32 and averaged over the batch."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from models.networks.layers import at_least_float32

TONE_CELL = 16  # pixels
CHROMA = 4.0  # detail of colour counts so many times


def lsgan_discriminator_loss(real_maps: list[Tensor], fake_maps: list[Tensor]) -> Tensor:
    """Eq. 1, discriminator: sum over scales of 1/2 E[(D(real) - 1)^2] + 1/2 E[D(fake)^2]."""
    if len(real_maps) != len(fake_maps):
        raise ValueError(f"{len(real_maps)} maps of real images and {len(fake_maps)} of fakes")
    return 0.5 * (sum_of_means(real_maps, minus=1.0) + sum_of_means(fake_maps, minus=0.0))


def lsgan_generator_loss(fake_maps: list[Tensor]) -> Tensor:
    """Eq. 1, generator: sum over scales of 1/2 E[(D(fake) - 1)^2]."""
    return 0.5 * sum_of_means(fake_maps, minus=1.0)


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


def content_loss(translated: Tensor, source: Tensor) -> Tensor:
    """The mean squared difference of two pictures' features (N, C, h, w), each channel of each normalised by instance.

    Which features fire where is what a picture shows; how strongly each does throughout, which normalisation takes away,
    is its style (Huang & Belongie 2017).
    """
    with torch.autocast(translated.device.type, enabled=False):
        translated, source = (F.instance_norm(at_least_float32(x)) for x in (translated, source))
    return F.mse_loss(translated, source)


def geometric_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """GeoConGAN's geometrically consistent loss: binary cross-entropy between SilNet's logits of a translated image
    and its source's mask in {0, 1}, both (N, 1, H, W)."""
    return F.binary_cross_entropy_with_logits(at_least_float32(logits), mask)


def sum_of_means(maps: list[Tensor], *, minus: float) -> Tensor:
    """The sum over maps (N, 1, h, w) of their mean squared difference from a number."""
    if len(maps) == 1:
        return (maps[0] - minus).square().mean()
    values = torch.cat([m.flatten() for m in maps])
    return torch.dot((values - minus).square(), _shares_like(maps, total=len(maps)))


def mean_of_maps(maps: list[Tensor]) -> Tensor:
    """The mean over all maps of a discriminator, each map weighing the same: near 1 it says real, near 0 fake."""
    if len(maps) == 1:
        return maps[0].mean()
    return torch.dot(torch.cat([m.flatten() for m in maps]), _shares_like(maps, total=1))


def _shares_like(maps: list[Tensor], *, total: float) -> Tensor:
    return _shares(tuple(m.numel() for m in maps), total, maps[0].dtype, maps[0].device)


@functools.lru_cache(maxsize=64)
def _shares(sizes: tuple[int, ...], total: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What each value of the maps, flat and one behind the other, counts: each map the same, `total` together."""
    each = total / len(sizes)
    with torch.inference_mode(False):
        return torch.cat([torch.full((size,), each / size, dtype=dtype, device=device) for size in sizes])
