"""Generators, discriminators and VGG16 against the figures of the paper and of the code it builds on."""

import pytest
import torch
from helpers import build, make_batch

from models import DISCRIMINATORS, GENERATORS, MODELS
from models.hgan import create_discriminator, create_generator
from models.losses import lsgan_generator_loss
from models.networks.layers import INITS, init_weights
from options.train_options import network_config, parse_train


def count(net) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("upsample", ["smooth", "resize", "deconv"])
@pytest.mark.parametrize(
    ("name", "instance", "batch"),
    [
        ("resnet_4blocks", 5_477_379, 5_482_755),
        ("resnet_6blocks", 7_837_699, 7_845_123),
        ("resnet_9blocks", 11_378_179, 11_388_675),
    ],
)
def test_generator_parameters(name, instance, batch, upsample):
    assert count(GENERATORS[name](norm="instance", upsample=upsample)) == instance
    assert count(GENERATORS[name](norm="batch", upsample=upsample)) == batch


def test_discriminator_parameters():
    assert count(DISCRIMINATORS["patch"]()) == 2_764_737
    assert count(DISCRIMINATORS["perceptual"]()) == 11_328_899
    assert count(DISCRIMINATORS["pixel"]()) == (3 * 64 + 64) + (64 * 128 + 128) + (128 + 1)


@pytest.mark.parametrize("upsample", ["smooth", "resize", "deconv"])
@pytest.mark.parametrize("size", [(32, 32), (37, 50), (30, 41)])
def test_generator_keeps_any_size(upsample, size):
    net = GENERATORS["resnet_4blocks"](ngf=4, upsample=upsample)
    image = torch.rand(2, 3, *size) * 2 - 1
    out = net(image)
    assert out.shape == image.shape and out.dtype == torch.float32
    assert out.abs().max() <= 1


@pytest.mark.parametrize("crop", [128, 96])
def test_perceptual_maps(vgg, crop):
    maps = DISCRIMINATORS["perceptual"](ndf=4)(vgg(torch.rand(1, 3, crop, crop)))
    assert [tuple(m.shape) for m in maps] == [(1, 1, crop // f, crop // f) for f in (8, 16, 32)]


def test_vgg_is_frozen_and_alike_in_both_modes(vgg):
    assert not any(p.requires_grad for p in vgg.parameters())
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    assert all(map(torch.equal, vgg.train()(image), vgg.eval()(image)))
    sum(scale.sum() for scale in vgg(image)).backward()
    assert image.grad.abs().sum() > 0


def test_views_stay_in_half_precision(vgg):
    """Nothing promotes VGG16's scales, the largest tensors of a step, to float32 under autocast."""
    with torch.autocast("cpu", torch.bfloat16):
        assert {scale.dtype for scale in vgg(torch.rand(1, 3, 16, 16))} == {torch.bfloat16}


def test_vgg_agrees_with_torchvision(vgg):
    """The same weights in torchvision's VGG16 give the same four activations."""
    from torchvision.models import vgg16

    reference = vgg16().features.eval()
    state = {name.removeprefix("features."): value for name, value in vgg.state_dict().items()}
    reference.load_state_dict(state, strict=False)
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    x = ((image + 1) / 2 - mean) / std
    wanted = {3: None, 8: None, 15: None, 22: None}  # relu1_2, relu2_2, relu3_3, relu4_3
    with torch.no_grad():
        for i, layer in enumerate(reference[:23]):
            x = layer(x)
            if i in wanted:
                wanted[i] = x.clone()
    for got, want in zip(vgg.activations(image), wanted.values()):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_calibrated_scales_are_of_order_one(vgg):
    for scale in vgg(torch.rand(2, 3, 64, 64) * 2 - 1):
        assert 0.1 < scale.square().mean().sqrt() < 10


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
    assert all(m.bias.abs().sum() == 0 for m in net.modules() if isinstance(m, torch.nn.Conv2d))
    assert torch.isfinite(net(torch.rand(1, 3, 64, 64))[0]).all()


@pytest.mark.parametrize("model", MODELS)
def test_paper_initialises_every_layer_as_published(model):
    """Xavier's normal with gain 0.02 in every convolution of every network: its deviation, within five times the sampling
    error of as many weights as the layer has; biases are zero."""
    flags = ["--silnet", "silnet"] if model == "geocongan" else []
    config = network_config(parse_train(["--name", "x", "--paper", "--model", model, *flags]))
    torch.manual_seed(0)
    for net in (create_generator(config), create_discriminator(config)):
        layers = [m for m in net.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))]
        assert len(layers) >= 3
        for layer in layers:
            out, into = layer.weight.shape[0], layer.weight.shape[1]
            wanted = 0.02 * (2 / ((out + into) * layer.weight[0, 0].numel())) ** 0.5
            error = wanted / (2 * layer.weight.numel()) ** 0.5
            assert abs(layer.weight.std().item() - wanted) < 5 * error + 0.02 * error, layer
            assert not layer.bias.any()


def test_a_generator_is_one_line_in_the_registry(vgg, monkeypatch):
    """As CONTRIBUTING.md says: the line, and it trains. Parameters of a further block: two convolutions of 256 channels."""
    monkeypatch.setitem(GENERATORS, "resnet_12blocks", GENERATORS["resnet_9blocks"]._replace(arguments={"blocks": 12}))
    assert count(GENERATORS["resnet_12blocks"]()) == 11_378_179 + 3 * 2 * (256 * 256 * 9 + 256)
    losses = build(vgg, netG="resnet_12blocks").training_step(make_batch())
    assert losses["skipped"] == 0 and all(map(torch.isfinite, losses.values()))
