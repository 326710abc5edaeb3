"""What training has beside the paper. `Extras()` is the paper: every hook then does what section III.C says.

models.hgan.HGAN.training_step calls the hooks: what generators see, what discriminators are shown, what the cycle loss
compares, which losses are added, how fast each player learns. Each extra has a field, named as its flag, and one place below.
Figures are of validation on photographs of hands, 1,000 steps and more of mshgan4 at batch 1 (docs).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from models.chances import Shifts
from models.config import Objective
from models.features.vgg16 import VGG16Features
from models.joining import Hands, Part
from models.losses import content_loss, cycle_loss, detail_loss, l1_loss
from models.perturb import shifted
from models.rates import LinearDecay, inverse, warmed_up


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

    d_erode: pixels at that region's border that discriminators do not see either. Masks of photographs carry a fringe of
    their background, which D would teach G to paint.

    cycle_tone: the share, in [0, 1], that a hand's tone has in the cycle loss; see models.losses.cycle_loss.

    lambda_detail: weight of models.losses.detail_loss. Without it, mottling grows from some 600 steps on.

    lambda_content: weight of models.losses.content_loss, which holds what a picture shows and leaves its colours free.

    warmup, lr_ratio, lr_final, lr_decay: rates, see `rates`.
    """

    input_noise: float = 0.0
    d_shift: int = 0
    common_mask: bool = False
    d_erode: int = 0
    cycle_tone: float = 1.0
    lambda_detail: float = 0.0
    lambda_content: float = 0.0
    warmup: int = 0
    lr_ratio: float = 1.0
    lr_final: float = 0.0
    lr_decay: str = "none"

    @classmethod
    def of(cls, objective: Objective) -> Extras:
        """The extras that an objective asks for. Raises ValueError for those that cannot go together."""
        chosen = {field.name: getattr(objective, field.name) for field in fields(cls)}
        if chosen["lr_decay"] != "inverse":
            chosen["lr_final"] = 0.0  # which only "inverse" reads
        if chosen["d_erode"] and not (objective.common_mask and objective.mask):
            raise ValueError("--d_erode takes away from what --common_mask shows; it needs that and --mask")
        chosen["common_mask"] &= objective.mask
        return cls(**chosen)

    def seen(self, images: Tensor, noise: Tensor | None) -> Tensor:
        """What generators see of images (N, 3, H, W); noise: as many standard normal ones."""
        return images if noise is None else torch.add(images, noise, alpha=self.input_noise)

    def visible(self, synthetic: Tensor, real: Tensor) -> Tensor | None:
        """Where discriminators see a pair of hands with these masks (N, 1, H, W): bool, or None for everywhere."""
        if not self.common_mask:
            return None
        common = synthetic * real
        if self.d_erode:
            common = 1 - F.max_pool2d(1 - common, 2 * self.d_erode + 1, stride=1, padding=self.d_erode)
        return common > 0.5

    def shown(self, images: Tensor, visible: Tensor | None) -> Tensor:
        """What discriminators are shown of images of a pair's hands, (2 N, 3, H, W), before any shift."""
        if visible is None:
            return images
        return torch.where(visible, images.unflatten(0, (2, -1)), 1.0).flatten(0, 1)

    def shifted(self, images: Tensor, shifts: Shifts | None) -> Tensor:
        """Those images where discriminators see them."""
        return images if shifts is None else shifted(images, shifts)

    def cycle_loss(self, outputs: tuple[Tensor, Tensor], hands: tuple[Hands, Hands]) -> Tensor:
        """Both directions' cycle consistency."""
        if self.cycle_tone == 1:
            return sum(l1_loss(output, target.image) for output, target in zip(outputs, hands))
        targets, masks = torch.cat([h.image for h in hands]), torch.cat([h.mask for h in hands])
        return 2 * cycle_loss(torch.cat(outputs), targets, masks, tone=self.cycle_tone)

    def further_losses(self, part: Part, view: Tensor | list[Tensor], vgg: VGG16Features | None) -> dict[str, Weighted]:
        """Losses of the generators that the paper does not have, by name.

        view: what discriminators see of the part's fakes. vgg: the features of lambda_content.
        """
        losses = {}
        if self.lambda_detail:
            sources, masks = (torch.cat([getattr(h, name) for h in part.hands]) for name in ("image", "mask"))
            losses["G_detail"] = Weighted(self.lambda_detail, 2 * detail_loss(torch.cat(part.fakes), sources, masks))
        if self.lambda_content:
            fakes = view[2] if isinstance(view, list) else vgg.relu3_3(view)
            with torch.no_grad():
                sources = self.shown(torch.cat([h.image for h in part.hands]), part.visible)
                sources = vgg.relu3_3(self.shifted(sources, part.shifts_of_fakes))
            losses["G_content"] = Weighted(self.lambda_content, 2 * content_loss(fakes, sources))
        return losses

    def rates(self, step: int, *, lr: float, decay: LinearDecay) -> Rates:
        """Both players' learning rates in the step numbered `step`, from 0; the paper's is lr throughout.

        Both rise over the first `warmup` steps (models.rates.warmed_up). D's is lr_ratio times G's. lr_decay "linear": both
        fall by `decay`. "inverse": G's alone falls, down to lr_final: a new flaw in the skin takes D some hundred images to
        see (two time scales, Heusel et al. 2017), and the rate is a function of the step alone.
        """
        rise = lr * warmed_up(step, self.warmup)
        if self.lr_decay == "linear":
            rise *= decay.factor(step)
        fall = inverse(step, warmup=self.warmup, floor=self.lr_final / lr) if self.lr_decay == "inverse" else 1.0
        return Rates(G=rise * fall, D=rise * self.lr_ratio)
