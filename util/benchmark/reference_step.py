"""The training step, transcribed plainly: the yardstick of models/hgan.py's, for equality and for speed.

Written from the paper (section III), from CycleGAN's definition of its networks, and from what models/extras.py says in
words of each extra, with PyTorch's own layers. It does what a first implementation does: one pass for every network and
image, features of real and fake images wherever they are used, everything in one precision and in contiguous memory, weights
updated one tensor at a time, and whatever gradients autograd computes on the way, wanted or not. Random choices are shared with
the model that it is made from, and so are VGG16's weights.
"""

import copy
import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.hgan import HGAN
from models.image_pool import Exchange, ImagePool, Trades

NORMS = {
    "instance": lambda channels: [nn.InstanceNorm2d(channels)],
    "batch": lambda channels: [nn.BatchNorm2d(channels)],
    "none": lambda channels: [],
}
BLOCKS = {"resnet_4blocks": 4, "resnet_6blocks": 6, "resnet_9blocks": 9}


class Residual(nn.Module):
    """x + F(x)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def generator(*, blocks: int, ngf: int, norm: str, upsample: str) -> nn.Module:
    """CycleGAN's ResNet generator: images (N, 3, H, W) in [-1, 1] -> the same; H and W multiples of 4."""
    normalise = NORMS[norm]

    def residual() -> Residual:
        c = 4 * ngf
        return Residual(
            nn.ReflectionPad2d(1),
            nn.Conv2d(c, c, 3),
            *normalise(c),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(c, c, 3),
            *normalise(c),
        )

    def up(i: int, o: int) -> list[nn.Module]:
        if upsample == "deconv":
            return [nn.ConvTranspose2d(i, o, 3, stride=2, padding=1, output_padding=1)]
        return [nn.Upsample(scale_factor=2, mode="bilinear"), nn.ReflectionPad2d(1), nn.Conv2d(i, o, 3)]

    return nn.Sequential(
        nn.ReflectionPad2d(3),
        nn.Conv2d(3, ngf, 7),
        *normalise(ngf),
        nn.ReLU(),
        nn.Conv2d(ngf, 2 * ngf, 3, stride=2, padding=1),
        *normalise(2 * ngf),
        nn.ReLU(),
        nn.Conv2d(2 * ngf, 4 * ngf, 3, stride=2, padding=1),
        *normalise(4 * ngf),
        nn.ReLU(),
        *[residual() for _ in range(blocks)],
        *([nn.ReflectionPad2d(1), nn.AvgPool2d(2, 1), nn.AvgPool2d(2, 1)] if upsample == "smooth" else []),
        *up(4 * ngf, 2 * ngf),
        *normalise(2 * ngf),
        nn.ReLU(),
        *up(2 * ngf, ngf),
        *normalise(ngf),
        nn.ReLU(),
        nn.ReflectionPad2d(3),
        nn.Conv2d(ngf, 3, 7),
        nn.Tanh(),
    )


class SingleScale(nn.Module):
    """A discriminator of images with one map, as a list."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> list[Tensor]:
        return [self.layers(image)]


def patch_discriminator(ndf: int, norm: str) -> nn.Module:
    """CycleGAN's three-layer PatchGAN."""
    normalise = NORMS[norm]
    return SingleScale(
        nn.Conv2d(3, ndf, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(ndf, 2 * ndf, 4, 2, 1),
        *normalise(2 * ndf),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * ndf, 4 * ndf, 4, 2, 1),
        *normalise(4 * ndf),
        nn.LeakyReLU(0.2),
        nn.Conv2d(4 * ndf, 8 * ndf, 4, 1, 1),
        *normalise(8 * ndf),
        nn.LeakyReLU(0.2),
        nn.Conv2d(8 * ndf, 1, 4, 1, 1),
    )


def pixel_discriminator(ndf: int, norm: str) -> nn.Module:
    """CycleGAN's 1x1 PatchGAN."""
    return SingleScale(
        nn.Conv2d(3, ndf, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(ndf, 2 * ndf, 1),
        *NORMS[norm](2 * ndf),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * ndf, 1, 1),
    )


class PerceptualDiscriminator(nn.Module):
    """Fig. 2, left: VGG16's four scales -> three maps, at 1/8, 1/16 and 1/32 of the image's size."""

    def __init__(self, ndf: int) -> None:
        super().__init__()
        self.trunk = nn.ModuleList(
            [nn.Conv2d(64, ndf, 4, 2, 1), nn.Conv2d(2 * ndf, 2 * ndf, 4, 2, 1), nn.Conv2d(4 * ndf, 4 * ndf, 4, 2, 1)]
        )
        self.lateral = nn.ModuleList(nn.Conv2d(c, w * ndf, 3, 1, 1) for c, w in ((128, 1), (256, 2), (512, 4)))
        self.tail = nn.ModuleList(nn.Conv2d(8 * ndf, 8 * ndf, 4, 2, 1) for _ in range(2))
        self.heads = nn.ModuleList(nn.Conv2d(8 * ndf, 1, 3, 1, 1) for _ in range(3))

    def forward(self, scales: list[Tensor]) -> list[Tensor]:
        x = scales[0]
        for trunk, lateral, scale in zip(self.trunk, self.lateral, scales[1:]):
            x = torch.cat([F.leaky_relu(trunk(x), 0.2), F.leaky_relu(lateral(scale), 0.2)], 1)
        maps = [self.heads[0](x)]
        for tail, head in zip(self.tail, self.heads[1:]):
            x = F.leaky_relu(tail(x), 0.2)
            maps.append(head(x))
        return maps


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


def missing_edges(fake: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    """What a translation lacks of its source's strong edges, three pixels or more inside the outline: one number."""

    def slopes(image: Tensor) -> tuple[Tensor, Tensor]:
        light = torch.log(((image.mean(1) + 1) / 2 + 0.1).clamp(min=0.05))[:, None]
        light = F.conv2d(F.pad(light, (1,) * 4, mode="replicate"), torch.ones(1, 1, 3, 3).to(light) / 9)
        wide = F.pad(light, (1,) * 4, mode="replicate")
        return (wide[:, :, 1:-1, 2:] - wide[:, :, 1:-1, :-2]) / 2, (wide[:, :, 2:, 1:-1] - wide[:, :, :-2, 1:-1]) / 2

    (xs, ys), (xt, yt) = slopes(x), slopes(fake)
    steep = torch.sqrt(xs**2 + ys**2)
    ground = F.conv2d(F.pad(1 - mask, (3,) * 4), torch.ones(1, 1, 7, 7).to(mask))
    counts = ((steep - 0.05) / 0.05).clamp(0, 1) * (ground < 0.5)
    lacking = counts * F.relu(0.6 * steep - (xs * xt + ys * yt) / steep.clamp(min=1e-4))
    return (lacking.flatten(1).sum(1) / (counts.flatten(1).sum(1) + 50)).mean()


class Pool:
    """Images of the past, by slot."""

    def __init__(self) -> None:
        self.images: dict[int, Tensor] = {}

    def query(self, images: Tensor, trades: Trades) -> Tensor:
        """An older image where `trades` says so, and else one of these; then keep these where it says."""
        images = images.detach()
        old, stored, own, slots = (x.tolist() for x in (trades.old, trades.stored, trades.own, trades.slots))
        answers = [self.images[stored[i]] if old[i] else images[own[i]] for i in range(len(images))]
        for slot, image in zip(slots, images):
            self.images[slot] = image.clone()
        return torch.stack(answers)


class ReferenceStep:
    """Starts from a model's weights, before its first step; `step(batch)` trains them as the paper says.

    dtype: what everything is computed in, and batches are converted to. vgg: the features of a perceptual discriminator.
    silnet: logits of the hand's mask (N, 1, H, W), for the geometrically consistent loss.
    """

    def __init__(
        self,
        model: HGAN,
        *,
        vgg: nn.Module | None,
        dtype: torch.dtype = torch.float32,
        silnet: nn.Module | None = None,
    ) -> None:
        c, self.goal, self.dtype, self.vgg = model.config, model.objective, dtype, vgg
        self.silnet, self.perceptual, self.total_steps = silnet, c.netD == "perceptual", model.total_steps
        self.nets = {
            name: generator(blocks=BLOCKS[c.netG], ngf=c.ngf, norm=c.norm, upsample=c.upsample)
            for name in ("G_r", "G_s")
        }
        for name in ("D_r", "D_s"):
            self.nets[name] = {
                "perceptual": lambda: PerceptualDiscriminator(c.ndf),
                "patch": lambda: patch_discriminator(c.ndf, c.norm),
                "pixel": lambda: pixel_discriminator(c.ndf, c.norm),
            }[c.netD]()
        for name, net in self.nets.items():
            net.to(model.device, dtype)
            with torch.no_grad():
                for mine, theirs in zip(net.parameters(), model.networks[name].parameters(), strict=True):
                    mine.copy_(theirs)
        self.averages = {name: copy.deepcopy(self.nets[name]) for name in ("G_r", "G_s")}
        adam = {"lr": self.goal.lr, "betas": (self.goal.beta1, 0.999), "foreach": False, "fused": False}
        self.adam_G = torch.optim.Adam([*self.nets["G_r"].parameters(), *self.nets["G_s"].parameters()], **adam)
        self.adam_D = torch.optim.Adam([*self.nets["D_r"].parameters(), *self.nets["D_s"].parameters()], **adam)
        self.pools = {"D_r": Pool(), "D_s": Pool()}
        self.plans = ImagePool(self.goal.pool_size), ImagePool(self.goal.pool_size)
        self.steps = 0

    def step(self, batch: dict, exchange: Exchange | None = None) -> dict[str, Tensor]:
        """The step of section III.C on a batch of models.hgan.HGAN.training_step; returns the losses that it does.

        exchange: of the model's step; None: its own.
        """
        if exchange is None:
            exchange = Exchange(*(pool.plan(len(batch["real"]), random.Random(self.steps)) for pool in self.plans))
        goal = self.goal
        names = ("synthetic", "real", "synthetic_mask", "real_mask")
        s, r, mask_s, mask_r = (batch[name].to(self.dtype) for name in names)
        self.set_rates()

        def paint(name: str, image: Tensor, mask: Tensor) -> Tensor:
            return self.nets[name](with_surroundings(image, mask) if goal.fill else image)

        # Generators.
        identity_weight = goal.lambda_cycle * goal.lambda_identity
        raw_r = paint("G_r", s, mask_s)
        same_r = paint("G_r", r, mask_r) if goal.lambda_identity else None
        fake_r = self.masked(raw_r, s, mask_s)
        raw_s = paint("G_s", r, mask_r)
        fake_s = self.masked(raw_s, r, mask_r)
        cycle_s = paint("G_s", fake_r, mask_s)
        same_s = paint("G_s", s, mask_s) if goal.lambda_identity else None
        cycle_r = paint("G_r", fake_s, mask_r)
        seen = self.region(mask_s, mask_r)
        shown_r, shown_s = self.shown(fake_r, seen), self.shown(fake_s, seen)
        maps_r = self.judge("D_r", shown_r)
        maps_s = self.judge("D_s", shown_s)
        gan = sum(0.5 * ((d - 1) ** 2).mean() for d in maps_r + maps_s)
        cycle = self.off(cycle_s, s, mask_s) + self.off(cycle_r, r, mask_r)
        identity = torch.zeros(())
        loss = goal.lambda_gan * gan + goal.lambda_cycle * cycle
        if goal.lambda_identity > 0:
            identity = self.off(same_r, r, mask_r) + self.off(same_s, s, mask_s)
            loss = loss + identity_weight * identity
        losses = {"G_gan": gan, "G_cycle": cycle, "G_identity": identity}
        if goal.lambda_geo:
            losses["G_geo"] = F.binary_cross_entropy_with_logits(self.silnet(raw_r), mask_s)
            losses["G_geo"] = losses["G_geo"] + F.binary_cross_entropy_with_logits(self.silnet(raw_s), mask_r)
            loss = loss + goal.lambda_geo * losses["G_geo"]
        if goal.lambda_edges:
            losses["G_edges"] = missing_edges(fake_r, s, mask_s) + missing_edges(fake_s, r, mask_r)
            loss = loss + goal.lambda_edges * losses["G_edges"]
        self.adam_G.zero_grad()
        loss.backward()
        self.adam_G.step()

        # Discriminators.
        self.adam_D.zero_grad()
        for name, real, fake, trades in (
            ("D_r", r, shown_r, exchange.r),
            ("D_s", s, shown_s, exchange.s),
        ):
            old = self.pools[name].query(fake, trades) if goal.pool_size else fake.detach()
            on_real = self.judge(name, self.shown(real, seen))
            on_fake = self.judge(name, old)
            losses[name] = sum(0.5 * ((d - 1) ** 2).mean() for d in on_real) + sum(0.5 * (d**2).mean() for d in on_fake)
            losses[name].backward()
            losses[f"{name}_real"] = sum(d.mean() for d in on_real) / len(on_real)
            losses[f"{name}_fake"] = sum(d.mean() for d in on_fake) / len(on_fake)
        self.adam_D.step()

        self.steps += 1
        decay = min(goal.ema, (1 + self.steps) / (3 + self.steps))
        with torch.no_grad():
            for name, average in self.averages.items():
                for mean, weight in zip(average.parameters(), self.nets[name].parameters()):
                    mean.copy_(decay * mean + (1 - decay) * weight)
        return {name: value.detach() for name, value in losses.items()}

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
        return (mask * difference if self.goal.fill else difference).mean()

    def region(self, mask_s: Tensor, mask_r: Tensor) -> Tensor:
        """1 where discriminators see: everywhere, or where both hands are."""
        return mask_s * mask_r if self.goal.common_mask else torch.ones_like(mask_s)

    def shown(self, image: Tensor, seen: Tensor) -> Tensor:
        """The image there, and white elsewhere."""
        return seen * image + (1 - seen)

    def judge(self, name: str, image: Tensor) -> list[Tensor]:
        """A discriminator's maps of an image."""
        return self.nets[name](vgg_scales(self.vgg, image) if self.perceptual else image)
