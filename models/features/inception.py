"""The FID network: Inception-v3 of TensorFlow's 2015-12-05 graph, up to its 2048-d average pool.

It differs from torchvision's Inception-v3 in its average pools, whose means exclude the padding, in Mixed_7c, which has a
max pool instead of an average pool, and in its 1008 classes. Module names follow the public weights files. Sources: Szegedy et al. 2016 (the architecture), Heusel et al. 2017 (FID).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INPUT_SIZE = 299
DIM = 2048
CLASSES = 1008


class InceptionV3(nn.Module):
    """float (N, 3, 299, 299) in [-1, 1] -> float (N, 2048), the globally pooled output of Mixed_7c (non-negative).

    `fc` is not used; it is here because the weights files hold it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Unit(32, 32, 3)
        self.Conv2d_2b_3x3 = Unit(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Unit(64, 80, 1)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3)
        self.Mixed_5b = mixed_35(192, pool_channels=32)
        self.Mixed_5c = mixed_35(256, pool_channels=64)
        self.Mixed_5d = mixed_35(288, pool_channels=64)
        self.Mixed_6a = reduce_35(288)
        self.Mixed_6b = mixed_17(128)
        self.Mixed_6c = mixed_17(160)
        self.Mixed_6d = mixed_17(160)
        self.Mixed_6e = mixed_17(192)
        self.Mixed_7a = reduce_17(768)
        self.Mixed_7b = mixed_8(1280, pool="average")
        self.Mixed_7c = mixed_8(2048, pool="max")
        self.fc = nn.Linear(DIM, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # 299 -> 149 -> 147
        x = F.max_pool2d(x, 3, stride=2)  # 73
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))  # 71
        x = F.max_pool2d(x, 3, stride=2)  # 35
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6a(x)  # 17
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))
        x = self.Mixed_7a(x)  # 8
        x = self.Mixed_7c(self.Mixed_7b(x))
        return x.mean((2, 3))


class Unit(nn.Module):
    """Convolution without bias, batch norm (eps 1e-3, as in TensorFlow), ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int | tuple[int, int], **conv) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, bias=False, **conv)
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


POOLS = {
    "average": lambda x: F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False),
    "max": lambda x: F.max_pool2d(x, 3, stride=1, padding=1),
    "halve": lambda x: F.max_pool2d(x, 3, stride=2),
}


class Mixed(nn.Module):
    """Parallel branches whose outputs are stacked by channels.

    branches: each a list of steps. A step is the name of a pool in POOLS, or (name, out channels, kernel, stride), or,
    as the last one, a list of such tuples: units side by side, all fed with what came before.
    Stride-1 units keep the size, stride-2 units are unpadded.
    """

    def __init__(self, in_channels: int, branches: list[list]) -> None:
        super().__init__()
        self.routes: list[list] = []
        for branch in branches:
            channels, route = in_channels, []
            for step in branch:
                if isinstance(step, list):
                    route.append([self._add(channels, *unit) for unit in step])
                elif isinstance(step, tuple):
                    route.append(self._add(channels, *step))
                    channels = step[1]
                else:
                    route.append(POOLS[step])
            self.routes.append(route)

    def _add(
        self, in_channels: int, name: str, out_channels: int, kernel: int | tuple[int, int], stride: int = 1
    ) -> str:
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (height // 2, width // 2) if stride == 1 else 0
        self.add_module(name, Unit(in_channels, out_channels, kernel, stride=stride, padding=padding))
        return name

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for route in self.routes:
            y = x
            for step in route:
                if isinstance(step, list):
                    y = torch.cat([getattr(self, name)(y) for name in step], 1)
                else:
                    y = getattr(self, step)(y) if isinstance(step, str) else step(y)
            outputs.append(y)
        return torch.cat(outputs, 1)


def mixed_35(in_channels: int, *, pool_channels: int) -> Mixed:
    """(N, in_channels, 35, 35) -> (N, 224 + pool_channels, 35, 35)."""
    return Mixed(
        in_channels,
        [
            [("branch1x1", 64, 1)],
            [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)],
            [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
            ["average", ("branch_pool", pool_channels, 1)],
        ],
    )


def reduce_35(in_channels: int) -> Mixed:
    """(N, in_channels, 35, 35) -> (N, 480 + in_channels, 17, 17)."""
    return Mixed(
        in_channels,
        [
            [("branch3x3", 384, 3, 2)],
            [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3, 2)],
            ["halve"],
        ],
    )


def mixed_17(inner: int) -> Mixed:
    """(N, 768, 17, 17) -> the same; `inner` channels pass between its 1x7 and 7x1 convolutions."""
    row, column = (1, 7), (7, 1)
    return Mixed(
        768,
        [
            [("branch1x1", 192, 1)],
            [("branch7x7_1", inner, 1), ("branch7x7_2", inner, row), ("branch7x7_3", 192, column)],
            [
                ("branch7x7dbl_1", inner, 1),
                ("branch7x7dbl_2", inner, column),
                ("branch7x7dbl_3", inner, row),
                ("branch7x7dbl_4", inner, column),
                ("branch7x7dbl_5", 192, row),
            ],
            ["average", ("branch_pool", 192, 1)],
        ],
    )


def reduce_17(in_channels: int) -> Mixed:
    """(N, in_channels, 17, 17) -> (N, 512 + in_channels, 8, 8)."""
    return Mixed(
        in_channels,
        [
            [("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3, 2)],
            [
                ("branch7x7x3_1", 192, 1),
                ("branch7x7x3_2", 192, (1, 7)),
                ("branch7x7x3_3", 192, (7, 1)),
                ("branch7x7x3_4", 192, 3, 2),
            ],
            ["halve"],
        ],
    )


def mixed_8(in_channels: int, *, pool: str) -> Mixed:
    """(N, in_channels, 8, 8) -> (N, 2048, 8, 8)."""
    row, column = (1, 3), (3, 1)
    return Mixed(
        in_channels,
        [
            [("branch1x1", 320, 1)],
            [("branch3x3_1", 384, 1), [("branch3x3_2a", 384, row), ("branch3x3_2b", 384, column)]],
            [
                ("branch3x3dbl_1", 448, 1),
                ("branch3x3dbl_2", 384, 3),
                [("branch3x3dbl_3a", 384, row), ("branch3x3dbl_3b", 384, column)],
            ],
            [pool, ("branch_pool", 192, 1)],
        ],
    )


def create_random(seed: int) -> InceptionV3:
    """The network with seeded random weights that keep the signal's scale through all layers.

    Batch norm gets random offsets as well: without them, images that differ in contrast only would have the same features
    up to scale.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = InceptionV3()
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.bias, 0.0, 0.1)
    return net
