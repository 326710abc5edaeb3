"""What the training step adds to the paper, as pure functions, which models/hgan.py calls. With --paper, all is off.

The options in models/config.py give the reason for each. Figures are measured on photographs of hands, with mshgan4 at batch 1.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from models.networks.layers import mean_2x2

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
            cells.append(mean_2x2(cells[-1]))
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


# lambda_joints: JointNet's heat maps of translations, compared with those of their sources
NEAR = 20.0  # times that pixels at a joint count


def joint_loss(maps: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of heat maps (N, 21, S, S), in which pixels at the target's joints count NEAR times as much."""
    return ((maps - target).square() * (1 + NEAR * target.clamp(0, 1))).mean()


# mean_of_views: what trained generators see
ENLARGED = 5, 4  # a second view's size to the first's
KEPT = 0.15  # the weight of the images themselves


def mean_of_views(paint: Callable[[Tensor], Tensor], images: Tensor, *, masked: bool) -> Tensor:
    """The mean of what `paint` makes of two views: images (N, 3, H, W), and their mirror images enlarged by a quarter.

    What these do not share comes from the view, not from the hand: noise, and the phase of a generator's strides. masked:
    hands keep their shape, so the images themselves are mixed in with the weight KEPT.
    """
    size = images.shape[-2:]
    large = F.interpolate(images.flip(-1), [side * ENLARGED[0] // ENLARGED[1] for side in size], mode="bilinear")
    painted = (paint(images) + F.interpolate(paint(large), size, mode="bilinear").flip(-1)) / 2
    return torch.lerp(painted, images, KEPT) if masked else painted
