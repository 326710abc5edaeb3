"""The training step, transcribed plainly: the yardstick of models/hgan.py's.

Written from the paper (section III) and from what models/departures.py says in words of each departure. It does what a first
implementation does: one pass for every network and image, features of real and fake images wherever they are used, everything in
one precision and in contiguous memory, PyTorch's plain operators, weights updated one tensor at a time, and whatever gradients
autograd computes on the way, wanted or not. Random choices are shared with the model that it is made from, and so are VGG16's
weights; the networks are copies of the model's, which tests/models/test_networks.py holds to transcriptions of their own.
"""

import copy
import random

import torch
import torch.nn.functional as F
from helpers import as_on_gpus
from torch import Tensor, nn

from models.hgan import HGAN
from models.image_pool import ImagePool


def vgg_scales(vgg: nn.Module, image: Tensor) -> list[Tensor]:
    """relu1_2, relu2_2, relu3_3 and relu4_3 of an image in [-1, 1], less and over its constants."""
    weights = [p.to(image) for p in vgg.parameters()]
    mean, std = torch.tensor([0.485, 0.456, 0.406]).to(image), torch.tensor([0.229, 0.224, 0.225]).to(image)
    x = ((image + 1) / 2 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    scales, offsets = [], list(vgg.offsets.to(image).view(1, -1, 1, 1).split([64, 128, 256, 512], dim=1))
    for stage, count in enumerate((2, 2, 3, 3)):
        if stage:
            x = F.max_pool2d(x, 2)
        for _ in range(count):
            x = F.relu(F.conv2d(x, weights.pop(0), weights.pop(0), padding=1))
        scales.append((x - offsets[stage]) / vgg.divisors[stage].to(image))
    return scales


def with_surroundings(image: Tensor, mask: Tensor) -> Tensor:
    """The hand's colours carried outward over cells of 2, 4, 8, ... pixels, and faded into the background from 8 pixels on."""
    pyramid = [(image * mask, mask)]
    while len(pyramid) < 6:
        pyramid.append(tuple(F.avg_pool2d(x, 2, ceil_mode=True) for x in pyramid[-1]))
    around = (image * mask).sum((2, 3), True) / mask.sum((2, 3), True).clamp(min=1e-6)
    for colour, part in pyramid[::-1]:
        mean = colour / part.clamp(min=1e-6)
        coarse = F.interpolate(around, size=part.shape[-2:], mode="bilinear")
        around = torch.where(part == 0, coarse, mean)
    reach = F.conv2d(F.pad(mask, (8,) * 4), torch.ones(1, 1, 17, 17).to(mask)).clamp(max=1).round()
    count = F.conv2d(torch.ones_like(mask), torch.ones(1, 1, 9, 9).to(mask), padding=4)
    near = F.conv2d(reach, torch.ones(1, 1, 9, 9).to(mask), padding=4) / count
    ground = (near * around.clamp(-1, 1) + (1 - near) * image).detach()
    return mask * image + (1 - mask) * ground


def tones_of(image: Tensor, mask: Tensor) -> Tensor:
    """Brightness, red less green, and yellow less blue of each hand's mean colour: (3, N)."""
    r, g, b = ((mask * image).sum((2, 3)) / mask.sum((2, 3))).T
    return torch.stack([r + g + b, r - g, r + g - 2 * b])


def moved(image: Tensor, mask: Tensor, tones: Tensor) -> Tensor:
    """The image, moved by one colour, so that the hand's mean has these tones (3, N)."""
    light, red, yellow = tones - tones_of(image, mask)
    colour = torch.stack(
        [light / 3 + red / 2 + yellow / 6, light / 3 - red / 2 + yellow / 6, (light - yellow) / 3], dim=1
    )
    return (image + colour[:, :, None, None]).clamp(-1, 1)


class Pool:
    """Images of the past, by slot."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: dict[int, Tensor] = {}

    def query(self, images: Tensor, trades: Tensor) -> Tensor:
        """An older image where `trades` says so, and else one of these; then keep these where it says."""
        images = images.detach()
        stored, own, slots = trades.tolist()
        answers = [images[i] if slot == self.size else self.images[slot] for slot, i in zip(stored, own)]
        for slot, image in zip(slots, images):
            self.images[slot] = image.clone()
        return torch.stack(answers)


class ReferenceStep:
    """Starts from a model's weights, before its first step; `step(batch)` trains them as the paper says.

    dtype: what everything is computed in, and batches are converted to. vgg: the features of a perceptual discriminator.
    silnet: logits of the hand's mask (N, 1, H, W), for the geometrically consistent loss.
    """

    def __init__(
        self, model: HGAN, *, vgg: nn.Module | None, dtype=torch.float32, silnet: nn.Module | None = None
    ) -> None:
        self.goal, self.dtype, self.vgg, self.silnet = model.objective, dtype, vgg, silnet
        self.perceptual, self.total_steps = model.config.netD == "perceptual", model.total_steps
        plain = {"dtype": dtype, "memory_format": torch.contiguous_format}
        self.jointnet = copy.deepcopy(model.jointnet).to(dtype) if self.goal.lambda_joints else None
        self.nets = {name: copy.deepcopy(net).to(**plain) for name, net in model.networks.items()}
        adam = {"lr": self.goal.lr, "betas": (self.goal.beta1, 0.999), "foreach": False, "fused": False}
        self.adam_G = torch.optim.Adam([*self.nets["G_r"].parameters(), *self.nets["G_s"].parameters()], **adam)
        self.adam_D = torch.optim.Adam([*self.nets["D_r"].parameters(), *self.nets["D_s"].parameters()], **adam)
        self.pools = {"D_r": Pool(self.goal.pool_size), "D_s": Pool(self.goal.pool_size)}
        self.plans = ImagePool(self.goal.pool_size), ImagePool(self.goal.pool_size)
        self.steps = 0
        self.past: list[dict[str, list[Tensor]]] = []  # the generators' weights after every step
        self.tones: list[Tensor] = []  # means of every step's tones and of their squares, synthetic and real: (2, 2, 3)

    @as_on_gpus()  # PyTorch's plain operators
    def step(self, batch: dict, exchange: Tensor | None = None) -> dict[str, Tensor]:
        """The step of section III.C on a batch of models.hgan.HGAN.training_step; returns the losses that it does.

        exchange: of the model's step; None: its own.
        """
        if exchange is None:
            exchange = [pool.plan(len(batch["real"]), random.Random(self.steps)) for pool in self.plans]
        goal = self.goal
        names = ("synthetic", "real", "synthetic_mask", "real_mask")
        s, r, mask_s, mask_r = (batch[name].to(self.dtype) for name in names)
        self.set_rates()

        def paint(name: str, image: Tensor, mask: Tensor, tones: Tensor) -> Tensor:
            painted = self.nets[name](with_surroundings(image, mask) if goal.extend_colors else image)
            return moved(painted, mask, tones) if goal.match_tone else painted

        tones_s, tones_r = tones_of(s, mask_s), tones_of(r, mask_r)
        self.tones.append(torch.stack([torch.stack([t.mean(1), (t**2).mean(1)]) for t in (tones_s, tones_r)]))
        (mean_s, square_s), (mean_r, square_r) = sum(self.tones) / len(self.tones)
        spread_s, spread_r = (
            (square - mean**2).clamp(min=1e-4).sqrt() for square, mean in ((square_s, mean_s), (square_r, mean_r))
        )
        real_tones = (((tones_s.T - mean_s) / spread_s).clamp(-2, 2) * spread_r + mean_r).T
        synthetic_tones = (((tones_r.T - mean_r) / spread_r).clamp(-2, 2) * spread_s + mean_s).T

        # Generators.
        raw_r = paint("G_r", s, mask_s, real_tones)
        fake_r = self.masked(raw_r, s, mask_s)
        raw_s = paint("G_s", r, mask_r, synthetic_tones)
        fake_s = self.masked(raw_s, r, mask_r)
        cycle_s = paint("G_s", fake_r, mask_s, tones_s)
        cycle_r = paint("G_r", fake_s, mask_r, tones_r)
        seen = mask_s * mask_r if goal.common_mask else torch.ones_like(mask_s)  # by discriminators
        shown_r, shown_s = self.shown(fake_r, seen), self.shown(fake_s, seen)
        maps_r = self.judge("D_r", shown_r)
        maps_s = self.judge("D_s", shown_s)
        gan = sum(0.5 * ((d - 1) ** 2).mean() for d in maps_r + maps_s)
        cycle = self.off(cycle_s, s, mask_s) + self.off(cycle_r, r, mask_r)
        identity = torch.zeros(())
        loss = goal.lambda_gan * gan + goal.lambda_cycle * cycle
        if goal.lambda_identity > 0:
            same_r, same_s = paint("G_r", r, mask_r, tones_r), paint("G_s", s, mask_s, tones_s)
            identity = self.off(same_r, r, mask_r) + self.off(same_s, s, mask_s)
            loss = loss + goal.lambda_cycle * goal.lambda_identity * identity
        losses = {"G_gan": gan, "G_cycle": cycle, "G_identity": identity}
        if goal.lambda_geo:
            losses["G_geo"] = F.binary_cross_entropy_with_logits(self.silnet(raw_r), mask_s)
            losses["G_geo"] = losses["G_geo"] + F.binary_cross_entropy_with_logits(self.silnet(raw_s), mask_r)
            loss = loss + goal.lambda_geo * losses["G_geo"]
        if goal.lambda_joints:
            before, after = (self.jointnet(image) for image in (s, fake_r))
            counts = 1 + 20 * before.clamp(min=0, max=1)
            losses["G_joints"] = (counts * (after - before) ** 2).sum() / before.numel()
            loss = loss + goal.lambda_joints * losses["G_joints"]
        self.adam_G.zero_grad()
        loss.backward()
        self.adam_G.step()
        self.past.append({name: [p.detach().clone() for p in self.nets[name].parameters()] for name in ("G_r", "G_s")})

        # Discriminators.
        self.adam_D.zero_grad()
        for name, real, fake, trades in zip(("D_r", "D_s"), (r, s), (shown_r, shown_s), exchange):
            old = self.pools[name].query(fake, trades) if goal.pool_size else fake.detach()
            on_real = self.judge(name, self.shown(real, seen))
            on_fake = self.judge(name, old)
            losses[name] = sum(0.5 * ((d - 1) ** 2).mean() for d in on_real) + sum(0.5 * (d**2).mean() for d in on_fake)
            losses[name].backward()
            losses[f"{name}_real"] = sum(d.mean() for d in on_real) / len(on_real)
            losses[f"{name}_fake"] = sum(d.mean() for d in on_fake) / len(on_fake)
        self.adam_D.step()

        self.steps += 1
        return {name: value.detach() for name, value in losses.items()}

    def mean_weights(self, name: str) -> list[Tensor]:
        """The mean of a generator's weights over the steps, in which the first counts 1 * 2 times, the second 2 * 3 times."""
        counts = [t * (t + 1) for t in range(1, len(self.past) + 1)]
        return [
            sum(c * p for c, p in zip(counts, values)) / sum(counts)
            for values in zip(*(each[name] for each in self.past))
        ]

    def set_rates(self) -> None:
        """Constant, or falling linearly over the run's second half."""
        rate = self.goal.lr
        if self.goal.lr_decay == "linear" and self.total_steps and self.steps > self.total_steps / 2:
            rate = rate * 2 * (1 - self.steps / self.total_steps)
        for adam in (self.adam_G, self.adam_D):
            for group in adam.param_groups:
                group["lr"] = rate

    def masked(self, generated: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        """mask * G(x) + (1 - mask) * x, or G(x) without masks."""
        return mask * generated + (1 - mask) * x if self.goal.mask else generated

    def off(self, image: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        """L1 of a cycle or an identity; of the hand alone where generators do not see what is beside it."""
        difference = (image - x).abs()
        return (mask * difference if self.goal.extend_colors else difference).mean()

    def shown(self, image: Tensor, seen: Tensor) -> Tensor:
        """The image there, and white elsewhere."""
        return seen * image + (1 - seen)

    def judge(self, name: str, image: Tensor) -> list[Tensor]:
        """A discriminator's maps of an image."""
        return self.nets[name](vgg_scales(self.vgg, image) if self.perceptual else image)
