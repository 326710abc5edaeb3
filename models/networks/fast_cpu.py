"""Reflection padding, doubling, and the last convolution, with implementations that are faster on a CPU.

There, PyTorch's gradients of padding and interpolation are not vectorised, nor are interpolation and pooling of images that
are not channels-last; autocast computes padding and interpolation in float32; and a convolution to three channels uses three
of sixteen lanes. Other devices use PyTorch's operators.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_as_on_gpus = False


@contextmanager
def as_on_gpus() -> Iterator[None]:
    """A context in which networks on a CPU call the operators that they call on a GPU."""
    global _as_on_gpus
    _as_on_gpus = True
    try:
        yield
    finally:
        _as_on_gpus = False


def reflect_pad(x: Tensor, width: int) -> Tensor:
    """(N, C, H, W) -> (N, C, H + 2 width, W + 2 width), reflected at the border; exact in any precision."""
    with torch.autocast(x.device.type, enabled=False):
        if _plain(x) and not torch.are_deterministic_algorithms_enabled():  # CUDA's gradient is not deterministic
            return F.pad(x, (width,) * 4, mode="reflect")
        return _ReflectPad.apply(x, width)


def double_size(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2H, 2W), bilinear, pixels taken as squares (align_corners=False)."""
    with torch.autocast(x.device.type, enabled=False):
        if _plain(x):
            return F.interpolate(x, scale_factor=2, mode="bilinear")
        return _DoubleSize.apply(x)


def binomial(x: Tensor) -> Tensor:
    """(N, C, H, W) -> the same, each row and column filtered by [1, 2, 1] / 4, reflected at the border.

    Constant images stay unchanged; a pattern of alternating pixels vanishes.
    """
    x = _for_kernels(reflect_pad(x, 1))
    return F.avg_pool2d(F.avg_pool2d(x, 2, stride=1), 2, stride=1)  # [1, 1] / 2 twice


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


def _plain(x: Tensor) -> bool:
    return x.device.type != "cpu" or torch.compiler.is_compiling() or _as_on_gpus


def _for_kernels(x: Tensor) -> Tensor:
    """x as the vectorised kernels of interpolation and pooling take it on a CPU: channels-last."""
    return x if _plain(x) else x.contiguous(memory_format=torch.channels_last)


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


class _DoubleSize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return F.interpolate(_for_kernels(x), scale_factor=2, mode="bilinear").contiguous()

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        """Each source pixel sums 4x4 gradients; those outside the image equal the nearest one inside."""
        tent = grad.new_tensor([0.25, 0.75, 0.75, 0.25])
        channels = grad.shape[1]
        kernel = torch.outer(tent, tent).expand(channels, 1, 4, 4)
        return F.conv2d(F.pad(grad, (1, 1, 1, 1), mode="replicate"), kernel, stride=2, groups=channels)
