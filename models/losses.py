"""The objective's terms (paper section III.C). All are computed in float32 and averaged over the batch."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from models.networks.layers import at_least_float32

EDGE_KEPT = 0.6  # share of the source's change that the translation must show
EDGE_LEAST = 0.05  # smallest change of log-luminance a pixel that counts as an edge
EDGE_INSIDE = 3  # pixels along the outline, which is shaded darker, that do not count
EDGE_PIXELS = 50  # added to the number of edge pixels, so that a hand with a few does not count as much as a fist
TONE_CELL = 16  # pixels; changes over a few of these cells are changes of tone
COLOURED = 4.0  # times that detail of colour counts: skin's own detail is one of light


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


def edge_loss(translated: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """How much of the source's strong inner edges a translation lacks. One-sided: new texture costs nothing.

    translated, source: (N, 3, H, W) in [-1, 1]; mask: (N, 1, H, W) in {0, 1}. Where the source's log-luminance changes by
    EDGE_LEAST a pixel or more, EDGE_INSIDE pixels or more from the outline, the translation's must change in the same
    direction by EDGE_KEPT of that. Log-luminance, because a hand may become lighter or darker as a whole. Returns the mean over
    the images of the missing change, with weights from 0 where the source's edges are EDGE_LEAST to 1 at twice that.
    """
    of_source, of_translated = (_log_gradient(at_least_float32(x)) for x in (source, translated))
    inside = 1 - F.max_pool2d(1 - mask, 2 * EDGE_INSIDE + 1, stride=1, padding=EDGE_INSIDE)
    strength = of_source.square().sum(1, keepdim=True).sqrt()
    weight = ((strength - EDGE_LEAST) / EDGE_LEAST).clamp(0, 1) * inside
    along = (of_source * of_translated).sum(1, keepdim=True) / strength.clamp(min=1e-4)
    missing = weight * (EDGE_KEPT * strength - along).clamp(min=0)
    return (missing.sum((1, 2, 3)) / (weight.sum((1, 2, 3)) + EDGE_PIXELS)).mean()


def _log_gradient(images: Tensor) -> Tensor:
    """(N, 3, H, W) in [-1, 1] -> changes of log-luminance a pixel, to the right and down, (N, 2, H, W)."""
    light = ((images.mean(1, keepdim=True) + 1) / 2 + 0.1).clamp(min=0.05).log()
    light = F.avg_pool2d(F.pad(light, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    light = F.pad(light, (1, 1, 1, 1), mode="replicate")
    right = (light[..., 1:-1, 2:] - light[..., 1:-1, :-2]) / 2
    down = (light[..., 2:, 1:-1] - light[..., :-2, 1:-1]) / 2
    return torch.cat([right, down], dim=1)


def detail_loss(translated: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """How much of the difference between a translation and its source is not one of tone. Two-sided: new texture costs, too.

    translated, source: (N, 3, H, W) in [-1, 1]; mask: (N, 1, H, W) in {0, 1}. Of their difference, what varies over some 40
    pixels of the hand is tone and costs nothing. Returns the mean absolute value of the rest, over all pixels: of its grey, plus
    COLOURED times that of what is not grey. After SimGAN's self-regularisation (Shrivastava et al. 2017), which leaves no tone
    free.
    """
    difference = at_least_float32(translated - source)
    detail = difference - _tone(difference, mask)
    grey = detail.mean(1, keepdim=True)
    return grey.abs().mean() + COLOURED * (detail - grey).abs().mean()


def _tone(values: Tensor, mask: Tensor) -> Tensor:
    """values (N, C, H, W) averaged around each pixel of the hand, over the hand alone; 0 beside it.

    Cells of TONE_CELL pixels, averaged with their neighbours and interpolated, are much cheaper than a wide filter.
    """
    mask = mask.to(values.dtype)

    def spread(x: Tensor) -> Tensor:
        cells = F.avg_pool2d(x, TONE_CELL, ceil_mode=True)
        cells = F.avg_pool2d(F.pad(cells, (1, 1, 1, 1)), 3, stride=1)
        return F.interpolate(cells, size=x.shape[-2:], mode="bilinear", align_corners=False)

    return spread(values * mask) / spread(mask).clamp(min=1e-6) * mask


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
    """The mean over a discriminator's maps, each with the same weight; near 1 for images judged real, near 0 for fakes."""
    if len(maps) == 1:
        return maps[0].mean()
    return torch.dot(torch.cat([m.flatten() for m in maps]), _shares_like(maps, total=1))


def _shares_like(maps: list[Tensor], *, total: float) -> Tensor:
    return _shares(tuple(m.numel() for m in maps), total, maps[0].dtype, maps[0].device)


@functools.lru_cache(maxsize=64)
def _shares(sizes: tuple[int, ...], total: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Weights of the values of flattened, concatenated maps: the same sum for each map, and `total` together."""
    each = total / len(sizes)
    with torch.inference_mode(False):
        return torch.cat([torch.full((size,), each / size, dtype=dtype, device=device) for size in sizes])
