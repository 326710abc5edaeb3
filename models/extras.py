"""What training has beside the paper. `Extras()` is the paper: every hook then does what section III.C says.

models.hgan.HGAN.training_step calls the hooks: what generators see, what discriminators are shown, what the cycle loss
compares, which losses are added, how fast each player learns. Each extra has a field, named as its flag, and one place below.
Figures are of validation on photographs of hands, 1,000 steps and more of mshgan4 at batch 1 (docs).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from models.chances import Shifts
from models.config import Objective
from models.fill import filled
from models.joining import Hands, Part
from models.losses import edge_loss
from models.perturb import shifted
from models.rates import LinearDecay, warmed_up


@dataclass(frozen=True)
class Rates:
    """Learning rates of a step."""

    G: float
    D: float


@dataclass(frozen=True)
class Weighted:
    """A loss, and its weight in the generators' objective."""

    weight: float
    loss: Tensor


@dataclass(frozen=True)
class Extras:
    """Which extras are on, and how strongly.

    input_noise: deviation of white noise on what generators see, of images in [-1, 1]. A renderer's skin is perfectly smooth,
    and a deterministic network can only make texture of it by amplifying its own ripples: ridges, at the wavelength of its
    coarsest features. Noise is something to make texture of. It also drowns what a generator would hide in its output for
    the other one to restore the source from (Bashkirova et al. 2019).

    d_shift: pixels by which what discriminators see is moved at random. A discriminator then cannot hold on to the grid of
    its strides (Zhao et al. 2020).

    common_mask: discriminators see hands only where the batch's synthetic and real hand overlap, white elsewhere. Real and
    fake then have the same outlines, so that D cannot tell them apart by a shape that G must not change; against such a D
    all that G can do is to overdo texture.

    fill: generators see the hand's own colours in a band around it (models.fill.filled), and cycle and identity losses compare
    hands alone. With the bare white background, translations had coloured fringes 1.7 to 1.9 times as strong in chroma as
    photographs' outlines; with it, .75 (half size, 2,500 to 3,900 steps).

    lambda_edges: weight of models.losses.edge_loss. Nothing else keeps a finger in front of a palm: without it, .77 of the
    depth edges survived, and fists dissolved; with it, .88 (the same trials).

    warmup, lr_decay: rates, see `rates`.
    """

    input_noise: float = 0.0
    d_shift: int = 0
    common_mask: bool = False
    fill: bool = False
    lambda_edges: float = 0.0
    warmup: int = 0
    lr_decay: str = "none"

    @classmethod
    def of(cls, objective: Objective) -> Extras:
        """The extras that an objective asks for; without masks, none that needs them."""
        chosen = {field.name: getattr(objective, field.name) for field in fields(cls)}
        for name in ("common_mask", "fill"):
            chosen[name] &= objective.mask
        return cls(**chosen)

    def seen(self, hands: Hands, noise: Tensor | None) -> Tensor:
        """What generators see of hands: images (N, 3, H, W); noise: as many standard normal ones."""
        images = filled(hands.image, hands.mask) if self.fill else hands.image
        return images if noise is None else torch.add(images, noise, alpha=self.input_noise)

    def compared(self, painted: Tensor, target: Hands) -> Tensor:
        """What cycle and identity losses compare with the target's images, of images (N, 3, H, W) as painted."""
        return torch.where(target.mask > 0.5, painted, target.image) if self.fill else painted

    def visible(self, synthetic: Tensor, real: Tensor) -> Tensor | None:
        """Where discriminators see a pair of hands with these masks (N, 1, H, W): bool, or None for everywhere."""
        return synthetic * real > 0.5 if self.common_mask else None

    def shown(self, images: Tensor, visible: Tensor | None) -> Tensor:
        """What discriminators are shown of images of a pair's hands, (2 N, 3, H, W), before any shift."""
        if visible is None:
            return images
        return torch.where(visible, images.unflatten(0, (2, -1)), 1.0).flatten(0, 1)

    def shifted(self, images: Tensor, shifts: Shifts | None) -> Tensor:
        """Those images where discriminators see them."""
        return images if shifts is None else shifted(images, shifts)

    def further_losses(self, part: Part) -> dict[str, Weighted]:
        """Losses of the generators that the paper does not have, by name."""
        if not self.lambda_edges:
            return {}
        sources, masks = (torch.cat([getattr(h, name) for h in part.hands]) for name in ("image", "mask"))
        return {"G_edges": Weighted(self.lambda_edges, 2 * edge_loss(torch.cat(part.fakes), sources, masks))}

    def rates(self, step: int, *, lr: float, decay: LinearDecay) -> Rates:
        """Both players' learning rates in the step numbered `step`, from 0; the paper's is lr throughout.

        They rise over the first `warmup` steps (models.rates.warmed_up) and, with lr_decay "linear", fall by `decay`.
        """
        rate = lr * warmed_up(step, self.warmup) * (decay.factor(step) if self.lr_decay == "linear" else 1.0)
        return Rates(G=rate, D=rate)
