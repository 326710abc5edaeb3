"""Generators, discriminators and VGG16: against transcriptions with PyTorch's own layers, and the figures of the paper.

The transcriptions are written from CycleGAN's definition of its networks and, for the perceptual discriminator, from the
paper's Fig. 2. Their outputs and gradients are compared in float64.
"""

from itertools import accumulate

import pytest
import torch
import torch.nn.functional as F
from helpers import as_on_gpus, build, make_batch
from torch import Tensor, nn

from models import DISCRIMINATORS, GENERATORS, MODELS
from models.config import network_config
from models.hgan import create_discriminator, create_generator
from models.losses import lsgan_generator_loss
from models.networks.layers import INITS, DoubleSize, init_weights, reflect_pad
from options.train_options import parse_train

NORMS = {
    "instance": lambda channels: [nn.InstanceNorm2d(channels)],
    "batch": lambda channels: [nn.BatchNorm2d(channels)],
    "none": lambda channels: [],
}
BLOCKS = {"resnet_4blocks": 4, "resnet_6blocks": 6, "resnet_9blocks": 9}
UPSAMPLE = ("smooth", "resize", "deconv")


# ------------------------------------------------------------------ transcriptions


class Residual(nn.Sequential):
    """x + F(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def generator(*, blocks: int, ngf: int, norm: str, upsample: str) -> nn.Module:
    """CycleGAN's ResNet generator: images (N, 3, H, W) in [-1, 1] -> the same; H and W multiples of 4."""
    wide = 4 * ngf

    def padded(i: int, o: int, side: int) -> list[nn.Module]:
        return [nn.ReflectionPad2d(side // 2), nn.Conv2d(i, o, side)]

    def active(channels: int) -> list[nn.Module]:
        return [*NORMS[norm](channels), nn.ReLU()]

    def down(i: int, o: int) -> list[nn.Module]:
        return [nn.Conv2d(i, o, 3, stride=2, padding=1), *active(o)]

    def residual() -> nn.Module:
        return Residual(*padded(wide, wide, 3), *active(wide), *padded(wide, wide, 3), *NORMS[norm](wide))

    def up(i: int, o: int) -> list[nn.Module]:
        if upsample == "deconv":
            return [nn.ConvTranspose2d(i, o, 3, stride=2, padding=1, output_padding=1), *active(o)]
        return [nn.Upsample(scale_factor=2, mode="bilinear"), *padded(i, o, 3), *active(o)]

    head = [*padded(3, ngf, 7), *active(ngf), *down(ngf, 2 * ngf), *down(2 * ngf, wide)]
    blur = [nn.ReflectionPad2d(1), nn.AvgPool2d(2, 1), nn.AvgPool2d(2, 1)] if upsample == "smooth" else []
    tail = [*up(wide, 2 * ngf), *up(2 * ngf, ngf), *padded(ngf, 3, 7), nn.Tanh()]
    return nn.Sequential(*head, *(residual() for _ in range(blocks)), *blur, *tail)


def patch_discriminator(ndf: int, norm: str) -> nn.Module:
    """CycleGAN's three-layer PatchGAN."""

    def stage(i: int, o: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(i, o, 4, stride, 1), *NORMS[norm](o), nn.LeakyReLU(0.2)]

    stages = [*stage(ndf, 2 * ndf, 2), *stage(2 * ndf, 4 * ndf, 2), *stage(4 * ndf, 8 * ndf, 1)]
    return nn.Sequential(nn.Conv2d(3, ndf, 4, 2, 1), nn.LeakyReLU(0.2), *stages, nn.Conv2d(8 * ndf, 1, 4, 1, 1))


def pixel_discriminator(ndf: int, norm: str) -> nn.Module:
    """CycleGAN's 1x1 PatchGAN."""
    hidden = [nn.Conv2d(ndf, 2 * ndf, 1), *NORMS[norm](2 * ndf), nn.LeakyReLU(0.2)]
    return nn.Sequential(nn.Conv2d(3, ndf, 1), nn.LeakyReLU(0.2), *hidden, nn.Conv2d(2 * ndf, 1, 1))


class PerceptualDiscriminator(nn.Module):
    """Fig. 2, left: VGG16's four scales -> three maps, at 1/8, 1/16 and 1/32 of the image's size."""

    def __init__(self, ndf: int) -> None:
        super().__init__()
        self.trunk = nn.ModuleList(nn.Conv2d(i, o * ndf, 4, 2, 1) for i, o in ((64, 1), (2 * ndf, 2), (4 * ndf, 4)))
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


def assert_alike(ours: nn.Module, plain: nn.Module, images: Tensor | list[Tensor]) -> None:
    """Give both the same weights, and compare their outputs and gradients, in float64."""
    with torch.no_grad():
        for mine, theirs in zip(plain.double().parameters(), ours.double().parameters(), strict=True):
            theirs.normal_(0, 0.1)
            mine.copy_(theirs)
    outputs = []
    for net in (ours, plain):
        net.zero_grad()
        output = net([x.double() for x in images] if isinstance(images, list) else images.double())
        outputs.append(output if isinstance(output, list) else [output])
        sum(x.square().sum() for x in outputs[-1]).backward()
    for mine, theirs in zip(*outputs, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)
    for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-8, atol=1e-8 * max(1.0, theirs.grad.abs().max()))


@pytest.mark.parametrize(
    ("netG", "upsample", "norm"),
    [("resnet_4blocks", upsample, norm) for upsample in UPSAMPLE for norm in NORMS]
    + [("resnet_6blocks", "smooth", "instance"), ("resnet_9blocks", "smooth", "instance")],
)
def test_generators(netG, upsample, norm):
    torch.manual_seed(0)
    ours = GENERATORS[netG](ngf=2, norm=norm, dropout=False, upsample=upsample)
    plain = generator(blocks=BLOCKS[netG], ngf=2, norm=norm, upsample=upsample)
    for size in ((16, 16), (20, 28)):  # the least, and one that becomes odd; then as on a GPU
        assert_alike(ours, plain, torch.rand(2, 3, *size) * 2 - 1)
    with as_on_gpus():
        assert_alike(ours, plain, torch.rand(2, 3, 20, 28) * 2 - 1)


@pytest.mark.parametrize("norm", NORMS)
def test_discriminators_of_images(norm):
    torch.manual_seed(0)
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    assert_alike(DISCRIMINATORS["patch"](ndf=2, norm=norm), patch_discriminator(2, norm), image)
    assert_alike(DISCRIMINATORS["pixel"](ndf=2, norm=norm), pixel_discriminator(2, norm), image)


def test_the_perceptual_discriminator():
    torch.manual_seed(0)
    scales = [torch.randn(2, channels, 64 // 2**i, 96 // 2**i) for i, channels in enumerate((64, 128, 256, 512))]
    ours = DISCRIMINATORS["perceptual"](ndf=2)
    assert [m.shape[2:] for m in ours(scales)] == [(8, 12), (4, 6), (2, 3)]
    assert_alike(ours, PerceptualDiscriminator(2), scales)


# ------------------------------------------------------------------ figures and properties


def test_half_precision_goes_through_unrounded(vgg):
    """Under autocast, padding and doubling and VGG16's scales, the largest tensors of a step, stay bfloat16."""
    x = torch.rand(1, 3, 16, 16).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        results = [reflect_pad(x, 1), DoubleSize()(x), *vgg(x.float())]
    assert {result.dtype for result in results} == {torch.bfloat16}
    assert torch.equal(results[0].float(), F.pad(x.float(), (1,) * 4, mode="reflect"))


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


PARAMETERS = {"resnet_4blocks": 5_477_379, "resnet_6blocks": 7_837_699, "resnet_9blocks": 11_378_179}
PARAMETERS |= {"perceptual": 11_328_899, "patch": 2_764_737, "pixel": (3 * 64 + 64) + (64 * 128 + 128) + (128 + 1)}


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_have_as_many_parameters_as_published(name):
    assert count((GENERATORS | DISCRIMINATORS)[name]()) == PARAMETERS[name]


@pytest.mark.parametrize("upsample", UPSAMPLE)
def test_a_generator_keeps_any_size_and_the_range(upsample):
    net = GENERATORS["resnet_4blocks"](ngf=4, upsample=upsample)
    for size in ((32, 32), (37, 50), (30, 41)):
        out = net(torch.rand(2, 3, *size) * 2 - 1)
        assert out.shape == (2, 3, *size) and out.dtype == torch.float32 and out.abs().max() <= 1


def test_vgg_is_frozen_alike_in_both_modes_and_its_calibrated_scales_are_of_order_one(vgg):
    assert not any(p.requires_grad for p in vgg.parameters())
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    assert all(map(torch.equal, vgg.train()(image), vgg.eval()(image)))
    assert all(0.1 < scale.square().mean().sqrt() < 10 for scale in vgg(torch.rand(2, 3, 64, 64) * 2 - 1))
    sum(scale.sum() for scale in vgg(image)).backward()
    assert image.grad.abs().sum() > 0


def test_vgg_agrees_with_torchvision(vgg):
    """The same weights, by their names in torchvision's VGG16, give the same relu1_2, relu2_2, relu3_3 and relu4_3."""
    from torchvision.models import vgg16

    reference = vgg16().features.eval()
    state = {name.removeprefix("features."): value for name, value in vgg.state_dict().items()}
    reference.load_state_dict(state, strict=False)
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        outputs = list(accumulate(reference, lambda x, layer: layer(x), initial=((image + 1) / 2 - mean) / std))
    for got, layer in zip(vgg.activations(image), (3, 8, 15, 22), strict=True):
        torch.testing.assert_close(got, outputs[layer + 1], rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_generator_at_step_0(vgg):
    """The published initialisation (gain 0.02) sends some 1e-12 through VGG; ours must send ordinary gradients.

    A gradient of order one for the loss as a whole means about 1 / (number of values) for each value of the image.
    """
    torch.manual_seed(0)
    sizes = {}
    for gain in (1.0, 0.02):
        net = DISCRIMINATORS["perceptual"]()
        net.init_scaled(init_type="xavier", gain=gain)
        image = torch.rand(1, 3, 64, 64, requires_grad=True)
        maps = net(vgg(image))
        lsgan_generator_loss(maps).backward()
        sizes[gain] = image.grad.norm().item(), max(m.abs().max().item() for m in maps)
    assert 1e-3 < sizes[1.0][0] < 1e2
    assert sizes[0.02][0] < 1e-3 * sizes[1.0][0]  # the trap is real, so the check can fail
    assert 1e-3 < sizes[1.0][1] < 10


@pytest.mark.parametrize("init_type", INITS)
def test_every_initialisation_works(init_type):
    net = DISCRIMINATORS["patch"](ndf=4)
    init_weights(net, init_type=init_type, gain=0.5)
    assert not any(m.bias.any() for m in net.modules() if isinstance(m, nn.Conv2d))
    assert torch.isfinite(net(torch.rand(1, 3, 64, 64))[0]).all()


@pytest.mark.parametrize("model", MODELS)
def test_paper_initialises_every_layer_as_published(model):
    """Xavier's normal with gain 0.02 in every convolution of every network: its deviation, within five times the sampling
    error of as many weights as the layer has; biases are zero."""
    flags = ["--silnet", "silnet"] if model == "geocongan" else []
    config = network_config(parse_train(["--name", "x", "--paper", "--model", model, *flags]))
    torch.manual_seed(0)
    for net in (create_generator(config), create_discriminator(config)):
        layers = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
        assert len(layers) >= 3
        for layer in layers:
            out, into = layer.weight.shape[:2]
            wanted = 0.02 * (2 / ((out + into) * layer.weight[0, 0].numel())) ** 0.5
            error = wanted / (2 * layer.weight.numel()) ** 0.5
            assert abs(layer.weight.std().item() - wanted) < 5 * error + 0.02 * error, layer
            assert not layer.bias.any()


def test_a_generator_is_one_line_in_the_registry(vgg, monkeypatch):
    """As CONTRIBUTING.md says: the line, and it trains. Parameters of a further block: two convolutions of 256 channels."""
    monkeypatch.setitem(GENERATORS, "more_blocks", GENERATORS["resnet_9blocks"]._replace(arguments={"blocks": 12}))
    assert count(GENERATORS["more_blocks"]()) == 11_378_179 + 3 * 2 * (256 * 256 * 9 + 256)
    losses = build(vgg, netG="more_blocks").training_step(make_batch())
    assert losses["skipped"] == 0 and all(map(torch.isfinite, losses.values()))
