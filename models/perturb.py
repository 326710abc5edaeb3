"""Small random changes that keep the adversarial game honest: noise for the generators, shifts for the discriminators."""

import torch
from torch import Tensor

from models.chances import Shifts


def with_fixed_noise(images: Tensor, strength: float) -> Tensor:
    """images (N, C, H, W) plus one fixed white noise image of that standard deviation: equal pictures in, equal pictures out.

    The noise depends on the size alone, so a translation does not depend on what else is translated.
    """
    if not strength:
        return images
    noise = torch.randn(1, *images.shape[1:], generator=torch.Generator().manual_seed(0))
    return images + strength * noise.to(images)


def shifted(images: Tensor, shifts: Shifts) -> Tensor:
    """images (N, C, H, W), each moved as `shifts` says, rows (N, H) and columns (N, W), and filled up with its border's pixels.

    Two gathers: where to is a tensor, so the operators are the same whatever was drawn.
    """
    moved = images.gather(2, shifts.rows[:, None, :, None].expand_as(images))
    return moved.gather(3, shifts.columns[:, None, None, :].expand_as(images))
