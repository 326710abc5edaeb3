"""The FID network: Inception-v3 of TensorFlow's 2015-12-05 graph, up to its 2048-d average pool (Heusel et al. 2017).

It differs from torchvision's Inception-v3 (Szegedy et al. 2016) in its pools of stride 1: their means exclude the padding,
and the last one takes the maximum. Module names are those of the public weights files.
"""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import inception as tv


class TensorFlowPool(nn.Module):
    """A block of torchvision's whose last branch has the pool of TensorFlow's graph."""

    pool = staticmethod(partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False))

    def _forward(self, x: Tensor) -> list[Tensor]:
        *branches, _ = super()._forward(x)
        return [*branches, self.branch_pool(self.pool(x))]


class InceptionA(TensorFlowPool, tv.InceptionA): ...


class InceptionC(TensorFlowPool, tv.InceptionC): ...


class InceptionE(TensorFlowPool, tv.InceptionE): ...


class InceptionV3(tv.Inception3):
    """float (N, 3, 299, 299) in [-1, 1] -> float (N, 2048), the globally pooled output of Mixed_7c (non-negative)."""

    def __init__(self) -> None:
        blocks = [tv.BasicConv2d, InceptionA, tv.InceptionB, InceptionC, tv.InceptionD, InceptionE, tv.InceptionAux]
        # The weights files hold `fc`, of 1008 classes, which is not used.
        super().__init__(1008, aux_logits=False, inception_blocks=blocks, init_weights=False)
        self.Mixed_7c.pool = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        *layers, _pool, _dropout, _fc = self.children()
        for layer in layers:  # 299 -> 149 -> 147 -> 73 -> 71 -> 35 -> 17 -> 8
            x = layer(x)
        return x.mean((2, 3))
