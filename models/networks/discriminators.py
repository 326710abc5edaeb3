"""The three discriminators. Each returns a list of maps (N, 1, h, w), so that they share their losses.

A discriminator's input is a "view": the image itself for pixel and patch discriminators, VGG16's features of it for the
perceptual one (sees_features). models/hgan.py computes the view, once for all images.
"""

import torch
from torch import Tensor, nn

from models.features.vgg16 import CHANNELS
from models.networks.layers import LEAK, LEAKY_GAIN, NORMS, at_least_float32, init_weights

HEAD_GAIN = 0.1  # of the perceptual discriminator's heads, relative to its hidden layers


class PatchDiscriminator(nn.Module):
    """CycleGAN's 70x70 PatchGAN: images (N, 3, H, W) in [-1, 1] -> [one map (N, 1, H/8 - 2, W/8 - 2)].

    2,764,737 parameters with ndf=64 and instance norm.
    """

    sees_features = False

    def __init__(self, *, ndf: int = 64, norm: str = "instance") -> None:
        super().__init__()
        stages = [nn.Conv2d(3, ndf, 4, stride=2, padding=1), nn.LeakyReLU(LEAK)]
        for width, stride in ((ndf * 2, 2), (ndf * 4, 2), (ndf * 8, 1)):
            convolution = nn.Conv2d(width // 2, width, 4, stride=stride, padding=1)
            stages += [convolution, NORMS[norm](width), nn.LeakyReLU(LEAK)]
        self.net = nn.Sequential(*stages, nn.Conv2d(ndf * 8, 1, 4, stride=1, padding=1))

    def forward(self, image: Tensor) -> list[Tensor]:
        return [at_least_float32(self.net(image))]


class PixelDiscriminator(nn.Module):
    """The 1x1 PatchGAN: images (N, 3, H, W) in [-1, 1] -> [one map (N, 1, H, W)], each pixel judged by itself."""

    sees_features = False

    def __init__(self, *, ndf: int = 64, norm: str = "instance") -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, ndf, 1),
            nn.LeakyReLU(LEAK),
            nn.Conv2d(ndf, ndf * 2, 1),
            NORMS[norm](ndf * 2),
            nn.LeakyReLU(LEAK),
            nn.Conv2d(ndf * 2, 1, 1),
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        return [at_least_float32(self.net(image))]


class PerceptualDiscriminator(nn.Module):
    """The multi-scale perceptual discriminator (Fig. 2 left; section III.B).

    Views: relu1_2, relu2_2, relu3_3, relu4_3 of a frozen VGG16, of sizes (H, H/2, H/4, H/8). A trunk of 4x4 stride-2
    convolutions starts at relu1_2; after each of its first three halvings the next scale, through a lateral 3x3
    convolution, is stacked onto it by channels. It goes on to a quarter of the last stack's size, and 3x3 heads judge
    the last stack and the two maps below it: [(N, 1, H/8, W/8), (N, 1, H/16, W/16), (N, 1, H/32, W/32)], which is
    16, 8 and 4 for the paper's 128x128 crops.

    11,328,899 parameters with ndf=64. H and W must be multiples of 32. norm: ignored, as there is no normalisation.
    """

    sees_features = True

    def __init__(self, *, ndf: int = 64, norm: str = "none") -> None:
        super().__init__()
        widths = [ndf, ndf * 2, ndf * 4]
        stacks = [CHANNELS[0], *(2 * width for width in widths)]
        down, convolve = {"kernel_size": 4, "stride": 2, "padding": 1}, {"kernel_size": 3, "padding": 1}
        self.trunk = nn.ModuleList(_leaky(stacks[i], widths[i], **down) for i in range(3))
        self.lateral = nn.ModuleList(_leaky(CHANNELS[i + 1], widths[i], **convolve) for i in range(3))
        self.tail = nn.ModuleList(_leaky(stacks[3], stacks[3], **down) for _ in range(2))
        self.heads = nn.ModuleList(nn.Conv2d(stacks[3], 1, 3, padding=1) for _ in range(3))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        x = features[0]
        for down, lateral, scale in zip(self.trunk, self.lateral, features[1:]):
            x = torch.cat([down(x), lateral(scale)], dim=1)
        maps = [self.heads[0](x)]
        for down, head in zip(self.tail, self.heads[1:]):
            x = down(x)
            maps.append(head(x))
        return [at_least_float32(m) for m in maps]

    def init_scaled(self, *, init_type: str, gain: float) -> None:
        """Initialise in place so that, with gain 1.0, hidden layers keep the scale of features of order one.

        Without normalisation, the initial weights decide how soon learning starts: with the published gain of 0.02 in all
        layers, outputs start below 5e-4 and recover within some hundred steps. Here the heads' weights alone are smaller, so
        that first LSGAN losses are near 1/2 a scale.
        """
        hidden = gain if init_type in ("normal", "kaiming") else gain * LEAKY_GAIN
        init_weights(self, init_type=init_type, gain=hidden)
        init_weights(self.heads, init_type=init_type, gain=gain * HEAD_GAIN)


def _leaky(in_channels: int, out_channels: int, **convolution: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, **convolution), nn.LeakyReLU(LEAK))
