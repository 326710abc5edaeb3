"""CycleGAN's ResNet generator (Zhu et al. 2017; paper section III.B, "Building blocks")."""

import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.layers import NORMS, Binomial, DoubleSize, ReflectConv, ReflectConvToImage, at_least_float32


class ResidualBlock(nn.Module):
    """x + conv-norm-ReLU-(dropout)-conv-norm(x), reflection-padded 3x3 convolutions; keeps (N, C, H, W)."""

    def __init__(self, channels: int, *, norm: str, dropout: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ReflectConv(channels, channels, 3),
            NORMS[norm](channels),
            nn.ReLU(),
            nn.Dropout(0.5) if dropout else nn.Identity(),
            ReflectConv(channels, channels, 3),
            NORMS[norm](channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def resize_conv(in_channels: int, out_channels: int) -> nn.Module:
    """Double (H, W) by bilinear interpolation, then a 3x3 convolution: no checkerboard (Odena et al. 2016)."""
    return nn.Sequential(DoubleSize(), ReflectConv(in_channels, out_channels, 3))


def transposed_conv(in_channels: int, out_channels: int) -> nn.Module:
    """Double (H, W) by a stride-2 transposed convolution, as published."""
    return nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1)


UPSAMPLERS = {"smooth": resize_conv, "resize": resize_conv, "deconv": transposed_conv}


class ResNetGenerator(nn.Module):
    """G_r and G_s: images (N, 3, H, W) in [-1, 1] -> images of the same size and range.

    H and W may be anything from 16 up: the input is reflected up to a multiple of 4 and the output cropped back.
    With ngf=64 and instance norm: 5,477,379 / 7,837,699 / 11,378,179 parameters for 4 / 6 / 9 blocks.
    upsample: see UPSAMPLERS; "smooth" is "resize" after a filter that removes patterns of alternating pixels from the
    blocks' output, which at a quarter of the resolution became a mottling of 8 pixels.
    """

    def __init__(
        self, *, blocks: int, ngf: int = 64, norm: str = "instance", dropout: bool = False, upsample: str = "resize"
    ) -> None:
        super().__init__()
        up = UPSAMPLERS[upsample]
        wide = ngf * 4

        def active(convolution: nn.Module, channels: int) -> tuple[nn.Module, ...]:
            return convolution, NORMS[norm](channels), nn.ReLU()

        self.net = nn.Sequential(
            *active(ReflectConv(3, ngf, 7), ngf),
            *active(nn.Conv2d(ngf, ngf * 2, 3, stride=2, padding=1), ngf * 2),
            *active(nn.Conv2d(ngf * 2, wide, 3, stride=2, padding=1), wide),
            *(ResidualBlock(wide, norm=norm, dropout=dropout) for _ in range(blocks)),
            *((Binomial(),) if upsample == "smooth" else ()),
            *active(up(wide, ngf * 2), ngf * 2),
            *active(up(ngf * 2, ngf), ngf),
            ReflectConvToImage(ngf, 3, 7),
        )

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        bottom, right = -height % 4, -width % 4
        x = F.pad(x, (0, right, 0, bottom), mode="reflect") if bottom or right else x
        out = self.net(x)[..., :height, :width]
        return at_least_float32(out).tanh()  # bfloat16's 8 bits of mantissa are too few for an image's grey levels
