"""Noise on the generators' input."""

import torch
from torch import Tensor


def with_fixed_noise(images: Tensor, strength: float) -> Tensor:
    """Add one fixed white noise image, of that standard deviation, to each of the images (N, C, H, W).

    The noise depends on the size only, so a translation depends on its image only.
    """
    if not strength:
        return images
    noise = torch.randn(1, *images.shape[1:], generator=torch.Generator().manual_seed(0))
    return images + strength * noise.to(images)
