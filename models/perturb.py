"""Small random changes that keep the adversarial game honest: noise for the generators, shifts for the discriminators."""

import torch
import torch.nn.functional as F
from torch import Tensor


def with_noise(images: Tensor, strength: float) -> Tensor:
    """images (N, C, H, W) plus white Gaussian noise of that standard deviation, drawn anew with every call.

    A renderer's skin is perfectly smooth, and a deterministic network can only make texture of it by amplifying its own
    ripples: ridges, at the wavelength of its coarsest features. Noise is something to make texture of. It also drowns
    what a generator would hide in its output for the other one to restore the source from (Bashkirova et al. 2019).
    """
    return images + strength * torch.randn_like(images) if strength else images


def with_fixed_noise(images: Tensor, strength: float) -> Tensor:
    """The same with one fixed noise image (1, C, H, W) for the whole batch: equal pictures in, equal pictures out.

    The noise depends on the size alone, so a translation does not depend on what else is translated.
    """
    if not strength:
        return images
    noise = torch.randn(1, *images.shape[1:], generator=torch.Generator().manual_seed(0))
    return images + strength * noise.to(images)


def randomly_shifted(images: Tensor, limit: int) -> Tensor:
    """images (N, C, H, W), each moved by up to `limit` pixels either way and filled up with its border's pixels.

    Shown such images, real and fake, a discriminator cannot hold on to the grid of its strides (Zhao et al. 2020).
    """
    if not limit:
        return images
    height, width = images.shape[-2:]
    padded = F.pad(images, (limit,) * 4, mode="replicate")
    starts = torch.randint(0, 2 * limit + 1, (len(images), 2)).tolist()  # on the CPU: nothing waits for a device
    return torch.stack([image[:, y : y + height, x : x + width] for image, (y, x) in zip(padded, starts)])
