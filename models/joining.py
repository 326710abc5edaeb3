"""Hands with their masks, parts of a batch, and batches joined for one call of a network."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Hands:
    """A batch of one domain's hands.

    image: (N, 3, H, W) in [-1, 1]. mask: (N, 1, H, W), 1 where the hand is and 0 elsewhere.
    """

    image: Tensor
    mask: Tensor


@dataclass
class Part:
    """A part of a step's batch, or all of it: N pairs of hands, and the step's results for them.

    hands: the synthetic and the real ones. share: of the batch. visible: where discriminators see the hands, bool (N, 1, H, W); None: everywhere. fakes:
    translations of the synthetic and of the real hands. shown: the same as discriminators are shown them.
    """

    hands: tuple[Hands, Hands]
    share: float
    visible: Tensor | None
    fakes: tuple[Tensor, ...] = ()
    shown: tuple[Tensor, ...] = ()


def join_hands(hands: Sequence[Hands]) -> Hands:
    """Concatenate batches. A network's output stays the same unless it depends on the whole batch, as with batch norm."""
    if len(hands) == 1:
        return hands[0]
    return Hands(torch.cat([h.image for h in hands]), torch.cat([h.mask for h in hands]))


def halves(batch: Tensor | list[Tensor]) -> tuple:
    """The first and the second half of a batch: a tensor (2N, ...), or a list of such."""
    if isinstance(batch, Tensor):
        return batch.chunk(2)
    return tuple(list(half) for half in zip(*(x.chunk(2) for x in batch)))
