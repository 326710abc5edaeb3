"""Instance normalisation that knows where the hand is, for generators.

Plain instance normalisation takes its statistics from all it sees, so what it makes of a hand depends on how much ground
there is around it: trained on crops that a hand fills, a generator paints the same hand dark and purple in a whole frame.
Here the ground counts, but never for more than a fixed share.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-5  # PyTorch's

Weights = dict[int, Tensor]
"""By height: how much each pixel of feature maps of that height counts, (N, H * W), 1 in total for each image."""


def norm_weights(mask: Tensor, hand_share: float, *, levels: int) -> Weights:
    """Weights for feature maps as large as the mask (N, 1, H, W), values in [0, 1], half as large, ... (`levels` of them).

    A pixel of the hand counts 1, one of the ground as much or so little that the hand has at least `hand_share`, in
    (0, 1], of the total. An image without a hand is treated as plain instance normalisation treats all. H and W must be
    multiples of 2^(levels - 1).
    """
    weights = level_weights(mask, hand_share, levels=levels)
    return {mask.shape[-2] >> level: counts for level, counts in enumerate(weights)}


def level_weights(mask: Tensor, hand_share: float, *, levels: int) -> list[Tensor]:
    """The weights of `norm_weights`, largest feature maps first."""
    weights = []
    for level in range(levels):
        mask = F.avg_pool2d(mask, 2) if level else mask
        hand = mask.sum((1, 2, 3), keepdim=True)
        ground = (1 - mask).sum((1, 2, 3), keepdim=True)
        share = ((1 - hand_share) / hand_share * hand / ground.clamp(min=EPS)).clamp(max=1.0)
        share = torch.where(hand > 0, share, 1.0)
        counts = (mask + (1 - mask) * share).flatten(1)
        weights.append(counts / counts.sum(1, keepdim=True))
    return weights


def weighted_instance_norm(x: Tensor, weights: Tensor) -> Tensor:
    """(N, C, H, W) less its weighted mean, over its weighted deviation, by image and channel; weights (N, H * W)."""
    return _WeightedInstanceNorm.apply(x, weights)


class _WeightedInstanceNorm(torch.autograd.Function):
    """Autograd's own way through the two means would keep, and pass over, three times as much.

    Statistics, and sums over pixels, are float32 or better. Few operators: at batch 1 a GPU waits for their launches, not for their arithmetic.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weights: Tensor) -> Tensor:
        weights = weights.to(torch.promote_types(x.dtype, torch.float32)).unsqueeze(2)  # (N, H * W, 1)
        values = x.flatten(2)  # (N, C, H * W)
        centred = values - torch.bmm(values.to(weights.dtype), weights)
        eps = _eps(weights.dtype, weights.device).expand(len(x), x.shape[1], 1)
        scale = torch.baddbmm(eps, centred.square(), weights).rsqrt_()  # (N, C, 1)
        out = torch.mul(centred, scale, out=torch.empty_like(values))
        ctx.save_for_backward(out, scale, weights)
        return out.view(x.shape)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        out, scale, weights = ctx.saved_tensors
        flat = grad.flatten(2)
        through_mean = flat.sum(2, keepdim=True, dtype=weights.dtype)
        through_scale = (flat * out).sum(2, keepdim=True, dtype=weights.dtype)
        through_both = torch.addcmul(through_mean, out, through_scale)
        inner = torch.addcmul(flat, weights.transpose(1, 2), through_both, value=-1)
        inner = torch.mul(inner, scale, out=torch.empty_like(flat))
        return inner.view(grad.shape), None


@functools.lru_cache(maxsize=8)
def _eps(dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.full((1, 1, 1), EPS, dtype=dtype, device=device)
