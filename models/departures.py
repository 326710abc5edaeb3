"""What training adds to the paper, as pure functions, which models/hgan.py calls where they act. With --paper, all is off.

Why each is there say the options in models/config.py. Figures are measured on photographs of hands, with mshgan4 at batch 1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.networks.layers import at_least_float32, halve

# extend_colors: what generators see
BAND, FADE = 8, 4  # pixels: the band's width, and half the width of its transition to the background
LEVELS = 5  # cells of 2, 4, ... 32 pixels; where none holds a part of the hand, the hand's mean colour is used


def extend_colors(images: Tensor, masks: Tensor) -> Tensor:
    """Extend the colours of hands, masks (N, 1, H, W) in {0, 1}, beyond their outlines in images (N, 3, H, W) in [-1, 1].

    Each pixel beside a hand takes the mean of the nearest hand pixels, over larger cells the farther away it lies; past
    BAND pixels the image fades into its own background, which stays, so that instance normalisation, which sees it, does not
    remove the difference between light and dark skin. Hands stay unchanged, and no gradient flows through the band.
    """
    with torch.no_grad():
        cells = [torch.cat([images * masks, masks], dim=1)]  # colour times cover, and cover
        for _ in range(LEVELS):
            cells.append(halve(cells[-1]))
        ground = _mean_colour(cells[0].mean((2, 3), keepdim=True))
        for level in reversed(cells[1:]):
            ground = F.interpolate(ground, size=level.shape[-2:], mode="bilinear")
            ground = torch.where(level[:, 3:] > 0, _mean_colour(level), ground)
        ground = F.interpolate(ground, size=images.shape[-2:], mode="bilinear")
        near = F.max_pool2d(masks, 2 * BAND + 1, stride=1, padding=BAND)
        near = F.avg_pool2d(near, 2 * FADE + 1, stride=1, padding=FADE, count_include_pad=False)
        ground = torch.lerp(images, ground.clamp(-1, 1), near)
    return torch.where(masks > 0.5, images, ground)


def _mean_colour(cells: Tensor) -> Tensor:
    return cells[:, :3] / cells[:, 3:].clamp(min=1e-6)


def show_overlap(images: Tensor, overlap: Tensor | None) -> Tensor:
    """Make images of both hands of N pairs, (2 N, 3, H, W), white where the hands do not overlap: bool (N, 1, H, W).

    Real and fake hands then have the same outlines. overlap None (without common_mask): returns the images.
    """
    return images if overlap is None else torch.where(overlap, images.unflatten(0, (2, -1)), 1.0).flatten(0, 1)


# lambda_edges: what keeps a hand's inner structure
EDGE_KEPT = 0.6  # share of the source's change that the translation must show
EDGE_LEAST = 0.05  # smallest change of log-luminance a pixel that counts as an edge
EDGE_INSIDE = 3  # pixels along the outline, which is shaded darker, that do not count
EDGE_PIXELS = 50  # added to the number of edge pixels, so that a hand with a few does not count as much as a fist


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


SHORT = 1024  # steps; a run of this length forms no creases yet, and one of twice this length does
DETAIL = 0.1  # weight of detail_loss over that of edge_loss
TONE_CELL = 16  # pixels; changes over a few of these cells are changes of tone
COLOURED = 4.0  # times that detail of colour counts: skin's own detail is one of light


def edge_share(total_steps: int | None) -> float:
    """The share of edge_loss in a run; the rest is DETAIL times detail_loss.

    0 in runs of up to SHORT steps, which end before creases form and keep all detail of the source; 1 in runs of twice that
    and more, and in endless ones (None), which keep its strong edges.
    """
    return 1.0 if total_steps is None else min(1.0, max(0.0, total_steps / SHORT - 1))


def detail_loss(translated: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """How much of the difference between a translation and its source is not one of tone. Two-sided: new texture costs, too.

    translated, source: (N, 3, H, W) in [-1, 1]; mask: (N, 1, H, W) in {0, 1}. Of their difference, what varies over some 40
    pixels of the hand is tone and costs nothing. Returns the mean absolute value of the rest, over all pixels: of its grey, plus
    COLOURED times that of what is not grey. After SimGAN's self-regularisation (Shrivastava et al. 2017), which binds tone, too.
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
