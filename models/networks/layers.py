"""Layers that several networks share, and the initialisation of weights."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAK = 0.2  # LeakyReLU slope of every discriminator


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision becomes float32; float32 and float64 stay as they are."""
    return x.float() if x.element_size() < 4 else x


class InstanceNorm(nn.Module):
    """Affine-free instance normalisation over (N, C, H, W), always computed in float32.

    With white backgrounds, some channels have almost no variance, and half precision overflows in the backward pass.
    """

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            if x.element_size() >= 4:
                return F.instance_norm(x)
            # With weights in float32, PyTorch's kernel computes in float32 and reads and writes half precision.
            ones = torch.ones(x.shape[1], device=x.device)
            return F.instance_norm(x, weight=ones, bias=torch.zeros_like(ones))


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation, always computed in float32."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(at_least_float32(x)).to(x.dtype)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "instance": lambda channels: InstanceNorm(),
    "batch": BatchNorm,
    "none": lambda channels: nn.Identity(),
}


def _kaiming(weight: Tensor, *, gain: float) -> None:
    nn.init.kaiming_normal_(weight, a=LEAK)
    with torch.no_grad():
        weight.mul_(gain)


INITS: dict[str, Callable] = {
    "xavier": nn.init.xavier_normal_,
    "normal": lambda weight, gain: nn.init.normal_(weight, std=gain),
    "kaiming": _kaiming,
    "orthogonal": nn.init.orthogonal_,
}

# The gain of weights with which LeakyReLU(0.2) keeps the scale of its input.
LEAKY_GAIN = nn.init.calculate_gain("leaky_relu", LEAK)


def init_weights(net: nn.Module, *, init_type: str, gain: float) -> None:
    """Initialise every convolution of `net` in place; biases become zero.

    gain: factor on the initialiser's own scale (for "normal": the standard deviation).
    """
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            INITS[init_type](module.weight, gain=gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def max_pool(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H // 2, W // 2), the maximum of each 2x2 pixels.

    With --deterministic it uses maxima of slices, as CUDA's gradient of max_pool2d is not deterministic. Equal pixels share
    the gradient; after a ReLU only zeros are equal, whose gradient the ReLU stops.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return F.max_pool2d(x, 2)
    height, width = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2
    rows = torch.maximum(x[..., 0:height:2, :width], x[..., 1:height:2, :width])
    return torch.maximum(rows[..., 0::2], rows[..., 1::2])
