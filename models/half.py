"""Half-precision copies of all weights of a network at once, for the calls of one update under autocast.

Autocast would cast each weight by itself, and each gradient back: some 250 launches of a step at batch 1, which a GPU
waits for. Here a network's weights take one operator, and so do their gradients. The values are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class _ToHalf(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dtype: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
        halves = [torch.empty_like(weight, dtype=dtype) for weight in weights]
        torch._foreach_copy_(halves, weights)
        ctx.like = weights
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(half for half, weight in zip(halves, weights) if not weight.requires_grad))
        return tuple(halves)

    @staticmethod
    def backward(ctx, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        full = [grad if grad is None else torch.empty_like(weight) for grad, weight in zip(grads, ctx.like)]
        pairs = [(mine, grad) for mine, grad in zip(full, grads) if grad is not None]
        torch._foreach_copy_([mine for mine, _ in pairs], [grad for _, grad in pairs])
        return None, *full


@contextmanager
def half_weights(nets: Iterable[nn.Module], dtype: torch.dtype | None) -> Iterator[None]:
    """Within it, the networks' convolutions compute with copies of their weights in `dtype`, whose gradients reach the weights.

    None: nothing changes.
    """
    modules = [m for net in nets for m in net.modules()] if dtype is not None else []
    places = [
        (m, name) for m in modules if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)) for name in ("weight", "bias")
    ]
    weights = [m._parameters[name] for m, name in places]
    try:
        for (module, name), half in zip(places, _ToHalf.apply(dtype, *weights) if weights else ()):
            module._parameters[name] = half
        yield
    finally:
        for (module, name), weight in zip(places, weights):
            module._parameters[name] = weight
