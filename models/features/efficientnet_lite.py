"""EfficientNet-Lite0 without its classifier: the feature network used where the FID network is not available.

An EfficientNet (Tan and Le 2019) with ReLU6 and without squeeze-and-excitation. Module names are those of the weights file.
"""

from torch import Tensor, nn
from torch.nn import functional as F

# Stages of Lite0: kernel, stride of the first block, expansion, output channels, blocks.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's "SAME": where the padding is odd, the extra row and column come last."""

    def forward(self, x: Tensor) -> Tensor:
        total = [
            max((-(-size // stride) - 1) * stride + kernel - size, 0)
            for size, kernel, stride in zip(x.shape[2:], self.kernel_size, self.stride)
        ]
        if any(each % 2 for each in total):
            x = F.pad(x, (0, total[1] % 2, 0, total[0] % 2))
        padding = [each // 2 for each in total]
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class Block(nn.Module):
    """Inverted bottleneck: 1x1 expansion, depthwise convolution, linear 1x1 projection; a skip where shapes allow."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.expands = expansion != 1
        self.skips = stride == 1 and in_channels == out_channels
        if self.expands:
            self._expand_conv = SameConv2d(in_channels, inner, 1, bias=False)
            self._bn0 = _norm(inner)
        self._depthwise_conv = SameConv2d(inner, inner, kernel, stride=stride, groups=inner, bias=False)
        self._bn1 = _norm(inner)
        self._project_conv = SameConv2d(inner, out_channels, 1, bias=False)
        self._bn2 = _norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class EfficientNetLite0(nn.Module):
    """float (N, 3, 224, 224), (x / 255 - 0.498) / 0.502 -> float (N, 1280), the globally pooled head, in [0, 6]."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, 32, 3, stride=2, bias=False)
        self._bn0 = _norm(32)
        self._blocks, channels = nn.ModuleList(), 32
        for kernel, first_stride, expansion, out_channels, count in STAGES:
            for stride in (first_stride, *[1] * (count - 1)):
                self._blocks.append(Block(channels, out_channels, kernel=kernel, stride=stride, expansion=expansion))
                channels = out_channels
        self._conv_head = SameConv2d(channels, 1280, 1, bias=False)
        self._bn1 = _norm(1280)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)), inplace=True)  # 224 -> 112
        for block in self._blocks:
            x = block(x)  # 112 -> 56 -> 28 -> 14 -> 7
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))
