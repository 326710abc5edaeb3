"""Generators and discriminators against transcriptions with PyTorch's own layers: the same output and the same gradients.

Written from CycleGAN's definition of its networks and, for the perceptual discriminator, from the paper's Fig. 2.
"""

import pytest
import torch
import torch.nn.functional as F
from helpers import as_on_gpus
from torch import Tensor, nn

from models import DISCRIMINATORS, GENERATORS

NORMS = {
    "instance": lambda channels: [nn.InstanceNorm2d(channels)],
    "batch": lambda channels: [nn.BatchNorm2d(channels)],
    "none": lambda channels: [],
}
BLOCKS = {"resnet_4blocks": 4, "resnet_6blocks": 6, "resnet_9blocks": 9}


class Residual(nn.Module):
    """x + F(x)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def generator(*, blocks: int, ngf: int, norm: str, upsample: str) -> nn.Module:
    """CycleGAN's ResNet generator: images (N, 3, H, W) in [-1, 1] -> the same; H and W multiples of 4."""
    normalise = NORMS[norm]

    def residual() -> Residual:
        c = 4 * ngf
        return Residual(
            nn.ReflectionPad2d(1),
            nn.Conv2d(c, c, 3),
            *normalise(c),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(c, c, 3),
            *normalise(c),
        )

    def up(i: int, o: int) -> list[nn.Module]:
        if upsample == "deconv":
            return [nn.ConvTranspose2d(i, o, 3, stride=2, padding=1, output_padding=1)]
        return [nn.Upsample(scale_factor=2, mode="bilinear"), nn.ReflectionPad2d(1), nn.Conv2d(i, o, 3)]

    return nn.Sequential(
        nn.ReflectionPad2d(3),
        nn.Conv2d(3, ngf, 7),
        *normalise(ngf),
        nn.ReLU(),
        nn.Conv2d(ngf, 2 * ngf, 3, stride=2, padding=1),
        *normalise(2 * ngf),
        nn.ReLU(),
        nn.Conv2d(2 * ngf, 4 * ngf, 3, stride=2, padding=1),
        *normalise(4 * ngf),
        nn.ReLU(),
        *[residual() for _ in range(blocks)],
        *([nn.ReflectionPad2d(1), nn.AvgPool2d(2, 1), nn.AvgPool2d(2, 1)] if upsample == "smooth" else []),
        *up(4 * ngf, 2 * ngf),
        *normalise(2 * ngf),
        nn.ReLU(),
        *up(2 * ngf, ngf),
        *normalise(ngf),
        nn.ReLU(),
        nn.ReflectionPad2d(3),
        nn.Conv2d(ngf, 3, 7),
        nn.Tanh(),
    )


class SingleScale(nn.Module):
    """A discriminator of images with one map, as a list."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> list[Tensor]:
        return [self.layers(image)]


def patch_discriminator(ndf: int, norm: str) -> nn.Module:
    """CycleGAN's three-layer PatchGAN."""
    normalise = NORMS[norm]
    return SingleScale(
        nn.Conv2d(3, ndf, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(ndf, 2 * ndf, 4, 2, 1),
        *normalise(2 * ndf),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * ndf, 4 * ndf, 4, 2, 1),
        *normalise(4 * ndf),
        nn.LeakyReLU(0.2),
        nn.Conv2d(4 * ndf, 8 * ndf, 4, 1, 1),
        *normalise(8 * ndf),
        nn.LeakyReLU(0.2),
        nn.Conv2d(8 * ndf, 1, 4, 1, 1),
    )


def pixel_discriminator(ndf: int, norm: str) -> nn.Module:
    """CycleGAN's 1x1 PatchGAN."""
    return SingleScale(
        nn.Conv2d(3, ndf, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(ndf, 2 * ndf, 1),
        *NORMS[norm](2 * ndf),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * ndf, 1, 1),
    )


class PerceptualDiscriminator(nn.Module):
    """Fig. 2, left: VGG16's four scales -> three maps, at 1/8, 1/16 and 1/32 of the image's size."""

    def __init__(self, ndf: int) -> None:
        super().__init__()
        self.trunk = nn.ModuleList(
            [nn.Conv2d(64, ndf, 4, 2, 1), nn.Conv2d(2 * ndf, 2 * ndf, 4, 2, 1), nn.Conv2d(4 * ndf, 4 * ndf, 4, 2, 1)]
        )
        self.lateral = nn.ModuleList(nn.Conv2d(c, w * ndf, 3, 1, 1) for c, w in ((128, 1), (256, 2), (512, 4)))
        self.tail = nn.ModuleList(nn.Conv2d(8 * ndf, 8 * ndf, 4, 2, 1) for _ in range(2))
        self.heads = nn.ModuleList(nn.Conv2d(8 * ndf, 1, 3, 1, 1) for _ in range(3))

    def forward(self, scales: list[Tensor]) -> list[Tensor]:
        x = scales[0]
        for trunk, lateral, scale in zip(self.trunk, self.lateral, scales[1:]):
            x = torch.cat([F.leaky_relu(trunk(x), 0.2), F.leaky_relu(lateral(scale), 0.2)], 1)
        maps = [self.heads[0](x)]
        for tail, head in zip(self.tail, self.heads[1:]):
            x = F.leaky_relu(tail(x), 0.2)
            maps.append(head(x))
        return maps


def assert_alike(ours: nn.Module, plain: nn.Module, *inputs: Tensor) -> None:
    """Give both the same weights, and compare their outputs and gradients, in float64."""
    ours.double()
    plain.double()
    with torch.no_grad():
        for mine, theirs in zip(plain.parameters(), ours.parameters(), strict=True):
            theirs.normal_(0, 0.1)
            mine.copy_(theirs)
    inputs = [x.double() for x in inputs]
    outputs = []
    for net in (ours, plain):
        output = net(inputs if len(inputs) > 1 else inputs[0])
        outputs.append(output if isinstance(output, list) else [output])
        sum(x.square().sum() for x in outputs[-1]).backward()
    for mine, theirs in zip(*outputs, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)
    for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-8, atol=1e-8 * max(1.0, theirs.grad.abs().max()))


@pytest.mark.parametrize(
    ("netG", "upsample", "norm"),
    [("resnet_4blocks", upsample, norm) for upsample in ("smooth", "resize", "deconv") for norm in NORMS]
    + [("resnet_6blocks", "smooth", "instance"), ("resnet_9blocks", "smooth", "instance")],
)
def test_generators(netG, upsample, norm):
    torch.manual_seed(0)
    ours = GENERATORS[netG](ngf=2, norm=norm, dropout=False, upsample=upsample)
    plain = generator(blocks=BLOCKS[netG], ngf=2, norm=norm, upsample=upsample)
    assert_alike(ours, plain, torch.rand(2, 3, 24, 32) * 2 - 1)
    with as_on_gpus():
        ours.zero_grad()
        plain.zero_grad()
        assert_alike(ours, plain, torch.rand(2, 3, 24, 32) * 2 - 1)


@pytest.mark.parametrize("norm", NORMS)
def test_discriminators_of_images(norm):
    torch.manual_seed(0)
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    assert_alike(DISCRIMINATORS["patch"](ndf=2, norm=norm), patch_discriminator(2, norm), image)
    assert_alike(DISCRIMINATORS["pixel"](ndf=2, norm=norm), pixel_discriminator(2, norm), image)


def test_the_perceptual_discriminator():
    torch.manual_seed(0)
    scales = [torch.randn(2, channels, 64 // 2**i, 64 // 2**i) for i, channels in enumerate((64, 128, 256, 512))]
    assert_alike(DISCRIMINATORS["perceptual"](ndf=2), PerceptualDiscriminator(2), *scales)
