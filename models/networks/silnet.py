"""SilNet: the small U-Net that segments hands (Ronneberger et al. 2015; GeoConGAN's SilNet)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.layers import BatchNorm, at_least_float32, max_pool


class SilNet(nn.Module):
    """Images (N, in_channels, H, W) in [-1, 1] -> logits (N, out_channels, H, W), above 0 on the hand.

    levels: number of resolutions, each half the one above. base: features at the finest, doubled at each level. H and W may
    be anything from 2^(levels - 1) up: the input is padded to a multiple of that by repeating its border, and the
    output cropped back. With batch normalisation, a pixel's logit in eval mode depends on its surroundings
    (44 pixels across with 3 levels) and not on the size of the image. 1,864,129 parameters with 3 levels, 64 features, one
    output; the released one's convolutions have biases, 1,865,409 in all.
    """

    def __init__(self, *, in_channels: int = 3, out_channels: int = 1, base: int = 64, levels: int = 3) -> None:
        super().__init__()
        self.config = {"in_channels": in_channels, "out_channels": out_channels, "base": base, "levels": levels}
        widths = [base * 2**level for level in range(levels)]
        self.down = nn.ModuleList(_convolve(*channels) for channels in zip([in_channels, *widths], widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in reversed(widths[:-1]))
        self.merge = nn.ModuleList(_convolve(2 * width, width) for width in reversed(widths[:-1]))
        self.head = nn.Conv2d(base, out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        step = 2 ** (len(self.down) - 1)
        pad_bottom, pad_right = -height % step, -width % step
        x = F.pad(image, (0, pad_right, 0, pad_bottom), mode="replicate") if pad_bottom or pad_right else image
        skipped = []
        for level, convolve in enumerate(self.down):
            x = convolve(max_pool(x) if level else x)
            skipped.append(x)
        skipped.pop()
        for grow, convolve in zip(self.up, self.merge):
            x = convolve(torch.cat([skipped.pop(), grow(x)], dim=1))
        return at_least_float32(self.head(x)[..., :height, :width])


def _convolve(in_channels: int, out_channels: int) -> nn.Module:
    """Two 3x3 convolutions, each normalised and rectified; keeps (H, W)."""
    layers = []
    for channels in (in_channels, out_channels):
        convolution = nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)
        layers += [convolution, BatchNorm(out_channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
