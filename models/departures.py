"""The hand's own colours in a band around it, as generators see them."""

import torch
import torch.nn.functional as F
from torch import Tensor

BAND, FADE = 8, 4  # pixels: the band's width, and half the width of its transition to the background
LEVELS = 5  # cells of 2, 4, ... 32 pixels; where none holds a part of the hand, the hand's mean colour is used


def extend_colors(images: Tensor, masks: Tensor) -> Tensor:
    """Extend the colours of hands, masks (N, 1, H, W) in {0, 1}, beyond their outlines in images (N, 3, H, W) in [-1, 1].

    Each pixel beside a hand takes the mean of the nearest hand pixels, over larger cells as it lies farther away; past BAND
    pixels the image fades into its own background. Hands stay unchanged. Without this, a generator has to switch between
    skin and white within a pixel, and its blur at the outline shows as a coloured fringe. The background beyond the band
    stays, so that instance normalisation, which sees it, does not remove the difference between light and dark skin. No
    gradient flows through the band.
    """
    with torch.no_grad():
        cells = [torch.cat([images * masks, masks], dim=1)]  # colour times cover, and cover
        for _ in range(LEVELS):
            cells.append(F.avg_pool2d(cells[-1], 2, ceil_mode=True))
        ground = _mean_colour(cells[0].mean((2, 3), keepdim=True))
        for level in reversed(cells):
            ground = F.interpolate(ground, size=level.shape[-2:], mode="bilinear")
            ground = torch.where(level[:, 3:] > 0, _mean_colour(level), ground)
        near = F.max_pool2d(masks, 2 * BAND + 1, stride=1, padding=BAND)
        near = F.avg_pool2d(near, 2 * FADE + 1, stride=1, padding=FADE, count_include_pad=False)
        ground = torch.lerp(images, ground.clamp(-1, 1), near)
    return torch.where(masks > 0.5, images, ground)


def _mean_colour(cells: Tensor) -> Tensor:
    return cells[:, :3] / cells[:, 3:].clamp(min=1e-6)
