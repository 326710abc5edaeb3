"""Half-precision copies of all weights of a network at once, for the calls of one update under autocast.

Autocast casts each weight and each gradient by itself: some 250 kernel launches a step, which dominate at batch 1. Here one
operator casts all weights, and another one all gradients. The values are the same.
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
        pairs = [(target, grad) for target, grad in zip(full, grads) if grad is not None]
        torch._foreach_copy_([target for target, _ in pairs], [grad for _, grad in pairs])
        return None, *full


@contextmanager
def half_weights(nets: Iterable[nn.Module], dtype: torch.dtype | None) -> Iterator[None]:
    """A context in which convolutions of the networks use copies of their weights in `dtype`; gradients reach the weights.

    dtype None: nothing changes.
    """
    if dtype is None:
        yield
        return
    modules = [m for net in nets for m in net.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    places = [(module, name) for module in modules for name in ("weight", "bias")]
    weights = [module._parameters[name] for module, name in places]
    try:
        for (module, name), half in zip(places, _ToHalf.apply(dtype, *weights)):
            module._parameters[name] = half
        yield
    finally:
        for (module, name), weight in zip(places, weights):
            module._parameters[name] = weight
