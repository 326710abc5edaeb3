"""Small random changes of the networks' inputs: noise for the generators, shifts for the discriminators."""

import torch
from torch import Tensor

from models.chances import Shifts


def with_fixed_noise(images: Tensor, strength: float) -> Tensor:
    """Add one fixed white noise image, of that standard deviation, to each of the images (N, C, H, W).

    The noise depends on the size only, so a translation depends on its image only.
    """
    if not strength:
        return images
    noise = torch.randn(1, *images.shape[1:], generator=torch.Generator().manual_seed(0))
    return images + strength * noise.to(images)


def shifted(images: Tensor, shifts: Shifts) -> Tensor:
    """Shift each of the images (N, C, H, W) by its rows (N, H) and columns (N, W) of `shifts`; border pixels repeat.

    The shifts are tensors, so the operators are the same for all of them.
    """
    moved = images.gather(2, shifts.rows[:, None, :, None].expand_as(images))
    return moved.gather(3, shifts.columns[:, None, None, :].expand_as(images))
