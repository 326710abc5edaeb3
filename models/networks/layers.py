"""Layers that several networks share, and the initialisation of weights.

Reflection padding, doubling, and the last convolution have implementations that are faster on a CPU. There, PyTorch's
gradients of padding and interpolation are not vectorised, nor are interpolation and pooling of images that are not
channels-last; autocast computes padding and interpolation in float32; and a convolution to three channels uses three of
sixteen lanes. Other devices use PyTorch's operators.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

LEAK = 0.2  # LeakyReLU slope of every discriminator
LEAKY_GAIN = nn.init.calculate_gain("leaky_relu", LEAK)  # with which LeakyReLU keeps the scale of its input


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision becomes float32; float32 and float64 stay as they are."""
    return x.float() if x.element_size() < 4 else x


class InstanceNorm(nn.Module):
    """Affine-free instance normalisation over (N, C, H, W), always computed in float32.

    With white backgrounds, some channels have almost no variance, and half precision overflows in the backward pass. With
    weights in float32, PyTorch's kernel computes in float32 and reads and writes half precision.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("ones", torch.ones(channels), persistent=False)
        self.register_buffer("zeros", torch.zeros(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            affine = {} if x.element_size() >= 4 else {"weight": self.ones, "bias": self.zeros}
            return F.instance_norm(x, **affine)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation, always computed in float32. Statistics recover from a batch that is not finite."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            y = super().forward(at_least_float32(x)).to(x.dtype)
        for statistic in (self.running_mean, self.running_var) if self.training else ():
            statistic.data.nan_to_num_(0.0, 0.0, 0.0)  # .data: backward, which does not read it, may be due still
        return y


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "instance": InstanceNorm,
    "batch": BatchNorm,
    "none": lambda channels: nn.Identity(),
}

_as_on_gpus = False  # whether networks on a CPU call the operators that they call on a GPU; for tests


def _plain(x: Tensor) -> bool:
    """Whether to call PyTorch's own operators."""
    return x.device.type != "cpu" or torch.compiler.is_compiling() or _as_on_gpus


def reflect_pad(x: Tensor, width: int) -> Tensor:
    """(N, C, H, W) -> (N, C, H + 2 width, W + 2 width), reflected at the border; exact in any precision."""
    with torch.autocast(x.device.type, enabled=False):
        if _plain(x) and not torch.are_deterministic_algorithms_enabled():  # CUDA's gradient is not deterministic
            return F.pad(x, (width,) * 4, mode="reflect")
        return _ReflectPad.apply(x, width)


class _ReflectPad(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, width: int) -> Tensor:
        ctx.width = width
        return F.pad(x, (width,) * 4, mode="reflect")

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        """Add the border's gradients to those of the pixels it reflects: rows first, then columns."""
        w = ctx.width
        rows = grad[:, :, w:-w].clone()
        rows[:, :, 1 : w + 1] += grad[:, :, :w].flip(2)
        rows[:, :, -w - 1 : -1] += grad[:, :, -w:].flip(2)
        folded = rows[..., w:-w].contiguous()
        folded[..., 1 : w + 1] += rows[..., :w].flip(3)
        folded[..., -w - 1 : -1] += rows[..., -w:].flip(3)
        return folded, None


class DoubleSize(nn.Module):
    """(N, C, H, W) -> (N, C, 2H, 2W), bilinear, pixels taken as squares (align_corners=False)."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return F.interpolate(x, scale_factor=2, mode="bilinear") if _plain(x) else _DoubleSize.apply(x)


class _DoubleSize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)  # for the vectorised kernel
        return F.interpolate(x, scale_factor=2, mode="bilinear")

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        """Each source pixel sums 4x4 gradients; those outside the image equal the nearest one inside."""
        tent = grad.new_tensor([0.25, 0.75, 0.75, 0.25])
        channels = grad.shape[1]
        kernel = torch.outer(tent, tent).expand(channels, 1, 4, 4)
        return F.conv2d(F.pad(grad, (1, 1, 1, 1), mode="replicate"), kernel, stride=2, groups=channels)


class Binomial(nn.Module):
    """(N, C, H, W) -> the same, each row and column filtered by [1, 2, 1] / 4, reflected at the border.

    Constant images stay unchanged; a pattern of alternating pixels vanishes.
    """

    def forward(self, x: Tensor) -> Tensor:
        x = reflect_pad(x, 1)
        x = x if _plain(x) else x.contiguous(memory_format=torch.channels_last)
        return F.avg_pool2d(F.avg_pool2d(x, 2, stride=1), 2, stride=1)  # [1, 1] / 2 twice


def mean_2x2(x: Tensor) -> Tensor:
    """(N, C, H, W) -> the means of 2x2 pixels, (N, C, ceil(H / 2), ceil(W / 2)); at an odd end, of those that there are."""
    if not torch.compiler.is_exporting():
        return F.avg_pool2d(x, 2, ceil_mode=True)
    for axis in (2, 3):  # an exported graph's sizes may be known only when it runs
        first = torch.arange((x.shape[axis] + 1) // 2) * 2
        second = (first + 1).clamp(max=x.shape[axis] - 1)
        x = (x.index_select(axis, first) + x.index_select(axis, second)) / 2
    return x


class ReflectConv(nn.Conv2d):
    """A convolution of odd kernel that keeps (H, W), reflecting at the border."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(reflect_pad(x, self.kernel_size[0] // 2))


class ReflectConvToImage(ReflectConv):
    """A ReflectConv for few output channels and even H and W; on a CPU it computes 2x2 pixels at a time.

    The kernel in its four positions on a 2x2 block, padded with zeros, is one stride-2 convolution with four times the
    channels: a third more products, at three times the rate.
    """

    def forward(self, x: Tensor) -> Tensor:
        if _plain(x):
            return super().forward(x)
        shifts = [(dx, 1 - dx, dy, 1 - dy) for dy in (0, 1) for dx in (0, 1)]
        # four of (out, in, k, k) -> (out, 4, in, k + 1, k + 1) -> (4 * out, in, k + 1, k + 1)
        weight = torch.stack([F.pad(self.weight, shift) for shift in shifts], dim=1).flatten(0, 1)
        blocks = F.conv2d(reflect_pad(x, self.kernel_size[0] // 2), weight, self.bias.repeat_interleave(4), stride=2)
        return F.pixel_shuffle(blocks, 2)


def fold_norms(net: nn.Module) -> None:
    """Fold each batch norm of `net`, in eval mode, into the convolution that is registered before it. On a CPU a batch norm
    costs as much as its convolution."""
    for module in list(net.modules()):
        for (conv, layer), (norm, after) in pairwise(list(module.named_children())):
            if isinstance(after, nn.BatchNorm2d):
                setattr(module, conv, fuse_conv_bn_eval(layer, after))
                setattr(module, norm, nn.Identity())


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


INITS: dict[str, Callable] = {
    "xavier": nn.init.xavier_normal_,
    "normal": lambda weight, gain: nn.init.normal_(weight, std=gain),
    "kaiming": lambda weight, gain: nn.init.kaiming_normal_(weight, a=LEAK).data.mul_(gain),
    "orthogonal": nn.init.orthogonal_,
}


def init_weights(net: nn.Module, *, init_type: str, gain: float) -> None:
    """Initialise every convolution of `net` in place; biases become zero.

    gain: factor on the initialiser's own scale (for "normal": the standard deviation).
    """
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            INITS[init_type](module.weight, gain=gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
