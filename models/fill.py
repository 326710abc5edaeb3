"""What generators see beside a hand: the hand's own colours, in a band around it."""

import torch
import torch.nn.functional as F
from torch import Tensor

BAND, FADE = 8, 4  # pixels: the band's width, and half the width of its transition to the background


def filled(images: Tensor, masks: Tensor) -> Tensor:
    """images (N, 3, H, W) in [-1, 1] with the colours of the hands, masks (N, 1, H, W) in {0, 1}, carried outward.

    Each pixel beside a hand takes the mean of the nearest hand pixels, over ever larger cells as it lies farther away; past
    BAND pixels the picture fades into the background that it had. Hands stay as they are. Without this, a generator has to
    switch between skin and white within a pixel, and what its convolutions smear there is cut out by the mask as a coloured
    fringe. Beyond the band the background stays: instance normalisation, which sees it, then still tells light skin from
    dark. No gradient flows through the band.
    """
    with torch.no_grad():
        colours, cover = images * masks, masks
        levels = [(colours, cover)]
        while max(cover.shape[-2:]) > 1:
            colours, cover = (F.avg_pool2d(x, 2, ceil_mode=True) for x in (colours, cover))
            levels.append((colours, cover))
        ground = colours / cover.clamp(min=1e-6)
        for colours, cover in reversed(levels[:-1]):
            ground = F.interpolate(ground, size=cover.shape[-2:], mode="bilinear")
            ground = torch.where(cover > 0, colours / cover.clamp(min=1e-6), ground)
        near = F.max_pool2d(masks, 2 * BAND + 1, stride=1, padding=BAND)
        near = F.avg_pool2d(near, 2 * FADE + 1, stride=1, padding=FADE, count_include_pad=False)
        ground = torch.lerp(images, ground.clamp(-1, 1), near)
    return torch.where(masks > 0.5, images, ground)
