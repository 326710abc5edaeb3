"""Training's departures from the paper. With `Extras()`, the step is the one of section III.C.

models.hgan.HGAN.training_step calls the methods: inputs of generators and discriminators, what the cycle loss compares,
further losses, and learning rates. Each extra is a field, named as its flag, and acts in one method. Figures are measured
on photographs of hands, with mshgan4 at batch 1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from models import departures
from models.config import Objective
from models.joining import Hands, Part
from models.losses import detail_loss, edge_loss
from models.run_length import RunLength

DETAIL = 0.1  # weight of detail over that of edges


@dataclass(frozen=True)
class Weighted:
    """A loss and its weight in the generators' objective."""

    weight: float | Tensor
    loss: Tensor


@dataclass(frozen=True)
class Extras:
    """Which extras are on, and how strongly.

    common_mask: discriminators see hands only where the batch's synthetic and real hands overlap, and white elsewhere. Real
    and fake then have the same outlines, so that D cannot tell them apart by a shape that G must not change. Against such a
    D, G can only exaggerate texture, to 1.2 times the photographs' after 7,000 steps (docs/study.md).

    extend_colors: generators see the hand's own colours in a band around it (models.departures.extend_colors), and cycle and identity losses compare
    hands only. With a white background, translations had coloured fringes 1.7 to 1.9 times as strong in chroma as the
    outlines of photographs; with the band, 1.1 times (docs/study.md).

    lambda_edges: weight of what keeps a source's inner structure: in a long run, its strong edges (models.losses.edge_loss).
    No other loss keeps a finger in front of a palm: without it, .77 of the inner edges survived 3,900 steps, and fists
    dissolved; with it, .95 survived 7,000. A run of up to some 1,000 steps ends before creases form, and keeps all detail
    instead (DETAIL times models.losses.detail_loss). Runs in between keep some of both (RunLength.freedom; docs/study.md).

    lr_decay: at a constant rate, generators and discriminators oscillate; as it falls, they settle (docs/study.md).
    """

    common_mask: bool = False
    extend_colors: bool = False
    lambda_edges: float = 0.0
    lr_decay: str = "none"

    @classmethod
    def of(cls, objective: Objective) -> Extras:
        """The extras that an objective asks for; without masks, none that needs them."""
        chosen = {field.name: getattr(objective, field.name) for field in fields(cls)}
        for name in ("common_mask", "extend_colors"):
            chosen[name] &= objective.mask
        return cls(**chosen)

    def seen(self, hands: Hands) -> Tensor:
        """Generators' input for hands, images (N, 3, H, W)."""
        return departures.extend_colors(hands.image, hands.mask) if self.extend_colors else hands.image

    def compared(self, painted: Tensor, target: Hands) -> Tensor:
        """The images that cycle and identity losses compare with the target's, from painted ones (N, 3, H, W)."""
        return torch.where(target.mask > 0.5, painted, target.image) if self.extend_colors else painted

    def visible(self, synthetic: Tensor, real: Tensor) -> Tensor | None:
        """Where discriminators see pairs of hands with these masks (N, 1, H, W): bool, or None for everywhere."""
        return synthetic * real > 0.5 if self.common_mask else None

    def shown(self, images: Tensor, visible: Tensor | None) -> Tensor:
        """Discriminators' input, for images of both hands of N pairs, (2 N, 3, H, W)."""
        if visible is None:
            return images
        return torch.where(visible, images.unflatten(0, (2, -1)), 1.0).flatten(0, 1)

    def further_losses(self, part: Part, freedom: Tensor, length: RunLength) -> dict[str, Weighted]:
        """Losses of the generators that the paper does not have, by the names under which they are logged.

        freedom: the step's, a scalar. What weighs nothing in any step of the run is not computed.
        """
        if not self.lambda_edges:
            return {}
        losses: dict[str, Weighted] = {}
        least, greatest = length.freedoms
        sources, masks = (torch.cat([getattr(h, name) for h in part.hands]) for name in ("image", "mask"))
        fakes = torch.cat(part.fakes)
        if greatest > 0:
            losses["G_edges"] = Weighted(self.lambda_edges * freedom, 2 * edge_loss(fakes, sources, masks))
        if least < 1:
            weight = self.lambda_edges * DETAIL * (1 - freedom)
            losses["G_detail"] = Weighted(weight, 2 * detail_loss(fakes, sources, masks))
        return losses

    def rate(self, step: int, *, lr: float, length: RunLength) -> float:
        """The learning rate in the step numbered `step`, from 0; the paper's is lr throughout."""
        return lr * length.factor(step) if self.lr_decay == "linear" else lr
