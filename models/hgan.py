"""H-GAN and its baselines: CycleGAN with masks (paper section III, Fig. 2 right)."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from models import DISCRIMINATORS, GENERATORS, departures
from models.config import NetworkConfig, Objective
from models.ema import EMA
from models.extras import Extras, Weighted
from models.features.vgg16 import VGG16Features
from models.half import half_weights
from models.image_pool import ImagePool
from models.joining import Hands, Part, halves, join_hands
from models.losses import geometric_loss, l1_loss, lsgan_discriminator_loss, lsgan_generator_loss, mean_of_maps
from models.networks.layers import init_weights
from models.run_length import RunLength
from models.trainer_state import TrainerState
from models.updater import Updater, create_adam, finite_or_white, set_rate
from util import distributed
from util.checkpoint import check_config
from util.runtime import Amp


def create_generator(config: NetworkConfig) -> nn.Module:
    """An initialised generator: images (N, 3, H, W) in [-1, 1] -> the same."""
    net = GENERATORS[config.netG](ngf=config.ngf, norm=config.norm, dropout=config.dropout, upsample=config.upsample)
    init_weights(net, init_type=config.init_type, gain=config.init_gain)
    return net


def create_discriminator(config: NetworkConfig) -> nn.Module:
    """An initialised discriminator: a view of an image -> list of maps; see models.networks.discriminators."""
    arguments = {
        "patch": {"norm": config.norm},
        "pixel": {"norm": config.norm},
        "perceptual": {},
    }
    net = DISCRIMINATORS[config.netD](ndf=config.ndf, **arguments[config.netD])
    init = net.init_scaled if config.normalize_features and config.netD == "perceptual" else partial(init_weights, net)
    init(init_type=config.init_type, gain=config.init_gain)
    return net


def composite(generated: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
    """mask * generated + (1 - mask) * source, for a binary mask (N, 1, H, W); the background equals the source's bit for bit.

    mask None: returns `generated`.
    """
    return generated if mask is None else torch.where(mask > 0.5, generated, source)


@torch.inference_mode()
def translate(
    net: nn.Module, images: Tensor, masks: Tensor | None, amp: Amp, *, extend_colors: bool, masked: bool
) -> Tensor:
    """Apply a generator in eval mode to images (N, 3, H, W) in [-1, 1] of hands where masks (N, 1, H, W) are 1.

    masks None: the hand is the whole image. masked: composite by the masks. extend_colors: that of the generator's training
    (models/extras.py).
    """
    x = departures.extend_colors(images, masks) if extend_colors and masks is not None else images
    with amp.autocast(images.device):
        painted = net(x)
    return composite(painted, images, masks if masked else None)


class HGAN:
    """G_r: S -> R, G_s: R -> S, D_r and D_s with their optimizers, averages and pools, and the step that trains them.

    vgg: the frozen features of a perceptual discriminator; None for the others. silnet: a trained SilNet for the
    geometrically consistent loss; None without it. Checkpoints hold neither of them.

    total_steps: the run's length, for rates that depend on it; None: rates stay constant. accumulate:
    number of parts of the batch that a step computes one after another. Gradients are the same, except with batch norm,
    whose statistics are then those of a part. checkpoint_activations: see ResNetGenerator. channels_last: whether the
    perceptual discriminator and VGG16 use this memory format; None: on CUDA.
    """

    PER_RANK = ("pools",)  # the parts of state_dict() that differ between the processes of a run

    def __init__(
        self,
        config: NetworkConfig,
        objective: Objective,
        *,
        vgg: VGG16Features | None,
        amp: Amp,
        device: torch.device,
        silnet: nn.Module | None = None,
        seed: int = 0,
        total_steps: int | None = None,
        accumulate: int = 1,
        checkpoint_activations: bool = False,
        channels_last: bool | None = None,
    ) -> None:
        self.config, self.objective, self.amp, self.device = config, objective, amp, device
        self.extras, self.seed, self.accumulate = Extras.of(objective), seed, accumulate
        self.G_r, self.G_s = (create_generator(config).to(device) for _ in range(2))
        self.D_r, self.D_s = (create_discriminator(config).to(device) for _ in range(2))
        self.networks = {"G_r": self.G_r, "G_s": self.G_s, "D_r": self.D_r, "D_s": self.D_s}
        self.callables: dict[str, nn.Module] = dict(self.networks)  # what training calls; distribute() wraps them
        self.averages = {name: EMA(self.networks[name], 0.0) for name in ("G_r", "G_s")}
        if vgg is None and self.D_r.view == "vgg":
            raise ValueError("the perceptual discriminator needs VGG16's features (vgg)")
        self.vgg = vgg.to(device) if vgg else None
        self.view = self.vgg if self.D_r.view == "vgg" else nn.Identity()
        self.silnet = silnet.to(device).eval().requires_grad_(False) if silnet else None
        for net in (self.G_r, self.G_s):
            net.checkpointing = checkpoint_activations
        if device.type == "cuda" if channels_last is None else channels_last:
            # On CUDA, reflection padding and instance norm support NCHW only, so networks that use them keep it.
            for net in (self.view, self.D_r, self.D_s) if self.D_r.view == "vgg" else ():
                net.to(memory_format=torch.channels_last)

        adam = {"lr": objective.lr, "beta1": objective.beta1, "device": device}
        self.optimizer_G = create_adam([*self.G_r.parameters(), *self.G_s.parameters()], **adam)
        self.optimizer_D = create_adam([*self.D_r.parameters(), *self.D_s.parameters()], **adam)
        self.scaler = amp.grad_scaler(device)
        self.pool_r, self.pool_s = ImagePool(objective.pool_size), ImagePool(objective.pool_size)
        self.update_G = Updater(self.optimizer_G, self.scaler, called=self.callables, still=(self.D_r, self.D_s))
        self.update_D = Updater(self.optimizer_D, self.scaler, called=self.callables)
        self._trained = TrainerState(
            networks=self.networks,
            averages=self.averages,
            optimizers={"G": self.optimizer_G, "D": self.optimizer_D},
            scaler=self.scaler,
        )
        self.length = RunLength(total_steps)
        self.zero = torch.zeros((), device=device)
        self.freedom = torch.zeros((), device=device)  # of RunLength; a tensor, so that a CUDA graph reads it
        self.compiled = False
        self.steps = 0

    @property
    def total_steps(self) -> int | None:
        """The run's length. Changing it during a run changes no rate or weight abruptly (models.run_length.RunLength)."""
        return self.length.total

    @total_steps.setter
    def total_steps(self, total: int | None) -> None:
        self.length = self.length.continued(total, self.steps, falls=self.objective.lr_decay == "linear")

    def distribute(self) -> None:
        """Train with the other processes of torch.distributed: gradients are averaged over all ranks.

        While the generators train, the discriminators are called unwrapped, as DistributedDataParallel would wait for
        gradients of theirs, which are not computed.
        """
        ids = [self.device.index] if self.device.type == "cuda" else None
        # Each rank keeps its batch norm statistics: a broadcast before a second call would break the first one's graph.
        buffers = {"broadcast_buffers": False} if self.config.norm == "batch" else {}
        for name, net in self.networks.items():
            self.callables[name] = DistributedDataParallel(net, device_ids=ids, **buffers)

    def compile(self) -> None:
        """Compile the networks in place with torch.compile; their parameters keep their names."""
        self.compiled = True
        for net in filter(None, (*self.networks.values(), self.view, self.silnet)):
            net.compile()

    # ------------------------------------------------------------------ training

    def training_step(self, batch: dict, exchange: Tensor | None = None) -> dict[str, Tensor]:
        """One update of the generators, then one of the discriminators (section III.C).

        batch: "synthetic" and "real" (N, 3, H, W) in [-1, 1] with "synthetic_mask" and "real_mask" (N, 1, H, W) in
        {0, 1}, on this model's device. exchange: the result of `begin_step`, if that was called already. Returns the losses and
        the discriminators' means, detached scalars, and whether an update was skipped because a loss or a gradient was not
        finite ("skipped", 0 or 1). With masks, fakes are composited; cycles and identities are not.
        """
        exchange = self.begin_step(batch) if exchange is None else exchange
        parts, weight, losses = self._parts(batch), self.objective, {}

        for part in self.update_G.over(parts):
            s, r = part.hands
            with self._precision("G_r", "G_s", "D_r", "D_s"):
                raw_r, *identity_r = self._paint("G_r", s, *self._identity(r))
                fake_r = self._masked(raw_r, s)
                raw_s, cycle_s, *identity_s = self._paint("G_s", r, Hands(fake_r, s.mask), *self._identity(s))
                fake_s = self._masked(raw_s, r)
                (cycle_r,) = self._paint("G_r", Hands(fake_s, r.mask))
                view = self._view_of_fakes(part, fake_r, fake_s)
                on_fake_r, on_fake_s = (D(half) for D, half in zip((self.D_r, self.D_s), halves(view)))
                terms = self._further_losses(part, raw_r, raw_s)
            loss_gan = lsgan_generator_loss(on_fake_r) + lsgan_generator_loss(on_fake_s)
            loss_cycle = self._l1(cycle_s, s) + self._l1(cycle_r, r)
            loss_identity = sum(map(self._l1, identity_r + identity_s, (r, s)), self.zero)
            loss_G = weight.lambda_gan * loss_gan
            loss_G = loss_G + weight.lambda_cycle * (loss_cycle + weight.lambda_identity * loss_identity)
            loss_G = loss_G + sum(term.weight * term.loss for term in terms.values())
            self.update_G.backward(part.share * loss_G)
            add(losses, part, G_gan=loss_gan, G_cycle=loss_cycle, G_identity=loss_identity)
            add(losses, part, **{name: term.loss for name, term in terms.items()})
        skipped_G = self.update_G.apply()

        self._exchange_fakes(parts, exchange)
        for part in self.update_D.over(parts):
            with self._precision("D_r", "D_s"):
                view_r, view_s = self._view_of_judged(part)
                on_real_r, on_fake_r = self._judge("D_r", view_r)
                on_real_s, on_fake_s = self._judge("D_s", view_s)
            loss_D_r = lsgan_discriminator_loss(on_real_r, on_fake_r)
            loss_D_s = lsgan_discriminator_loss(on_real_s, on_fake_s)
            self.update_D.backward(part.share * (loss_D_r + loss_D_s))
            add(losses, part, D_r=loss_D_r, D_s=loss_D_s)
            add(losses, part, D_r_real=mean_of_maps(on_real_r), D_r_fake=mean_of_maps(on_fake_r))
            add(losses, part, D_s_real=mean_of_maps(on_real_s), D_s_fake=mean_of_maps(on_fake_s))
        skipped = torch.maximum(skipped_G, self.update_D.apply())

        self.scaler.update()
        for name, average in self.averages.items():
            average.follow(self.networks[name])
        return losses | {"skipped": skipped}

    def begin_step(self, batch: dict) -> Tensor:
        """Prepare the next step on the host: set what depends on the run's length, advance counters, choose the pools' exchanges.

        Returns the plans of both pools, stacked. They depend on (seed, rank, step) alone, so a resumed run makes the same.
        """
        rate = self.extras.rate(self.steps, lr=self.objective.lr, length=self.length)
        for optimizer in (self.optimizer_G, self.optimizer_D):
            set_rate(optimizer, rate)
        self.freedom.fill_(self.length.freedom(self.steps))
        for average in self.averages.values():
            average.advance()
        choices = random.Random(str((self.seed, distributed.rank(), self.steps)))
        self.steps += 1
        plans = torch.stack([pool.plan(len(batch["real"]), choices) for pool in (self.pool_r, self.pool_s)])
        # A copy to a GPU does not wait for it.
        return plans.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else plans

    def _parts(self, batch: dict) -> list[Part]:
        """The batch in `accumulate` parts, or as many as it has images."""
        names = ("synthetic", "real", "synthetic_mask", "real_mask")
        return [
            Part(
                hands=(Hands(s, mask_s), Hands(r, mask_r)),
                share=len(r) / len(batch["real"]),
                visible=self.extras.visible(mask_s, mask_r),
            )
            for s, r, mask_s, mask_r in zip(*(batch[name].chunk(self.accumulate) for name in names))
        ]

    @contextmanager
    def _precision(self, *names: str) -> Iterator[None]:
        """Autocast, with half-precision copies of these networks' weights and of VGG16's."""
        # Compiled code casts weights itself, and checkpointing recomputes after this context has ended.
        plain = self.compiled or self.G_r.checkpointing
        nets = [self.networks[name] for name in names] + ([self.vgg] if self.vgg else [])
        with self.amp.autocast(self.device), half_weights(nets, None if plain else self.amp.dtype):
            yield

    def _identity(self, hands: Hands) -> list[Hands]:
        """The hands of the identity loss, none where its weight is 0."""
        return [hands] if self.objective.lambda_identity > 0 else []

    def _paint(self, name: str, *hands: Hands) -> list[Tensor]:
        """Apply a generator to several batches of hands. Returns images (N, 3, H, W) in [-1, 1] for each."""
        net = self.callables[name]
        painted = [net(self.extras.seen(batch)) for batch in ([join_hands(hands)] if self._joins else hands)]
        return list(painted[0].split([len(h.image) for h in hands])) if self._joins else painted

    def _masked(self, painted: Tensor, source: Hands) -> Tensor:
        """Composite by the source's mask, if the model uses masks."""
        return composite(painted, source.image, source.mask) if self.objective.mask else painted

    def _l1(self, painted: Tensor, target: Hands) -> Tensor:
        """L1 loss of a cycle or an identity."""
        return l1_loss(self.extras.compared(painted, target), target.image)

    def _view_of_fakes(self, part: Part, fake_r: Tensor, fake_s: Tensor) -> Tensor | list[Tensor]:
        """The discriminators' view of both fakes, concatenated. Stores in the part the fakes and the images shown."""
        part.fakes = fake_r, fake_s
        shown = self.extras.shown(torch.cat(part.fakes), part.visible)
        part.shown = finite_or_white(shown.detach()).chunk(2)
        return self.view(shown)

    def _further_losses(self, part: Part, *painted: Tensor) -> dict[str, Weighted]:
        """GeoConGAN's loss, if its weight is not 0, and the extras' losses."""
        losses = self.extras.further_losses(part, self.freedom, self.length)
        if self.objective.lambda_geo:
            logits, masks = self.silnet(torch.cat(painted)), torch.cat([hands.mask for hands in part.hands])
            losses["G_geo"] = Weighted(self.objective.lambda_geo, 2 * geometric_loss(logits, masks))
        return losses

    def _exchange_fakes(self, parts: list[Part], exchange: Tensor) -> None:
        """Exchange the shown fakes of each part for past ones, by the image pools."""
        sizes = [len(part.shown[0]) for part in parts]
        new = (torch.cat(shown) for shown in zip(*(part.shown for part in parts)))
        old = (pool.query(x, plan).split(sizes) for pool, x, plan in zip((self.pool_r, self.pool_s), new, exchange))
        for part, *shown in zip(parts, *old):
            part.shown = tuple(shown)

    @torch.no_grad()
    def _view_of_judged(self, part: Part) -> tuple:
        """The views of D_r and of D_s: images of its domain, then fakes, along the batch."""
        real_s, real_r = self.extras.shown(torch.cat([h.image for h in part.hands]), part.visible).chunk(2)
        fake_r, fake_s = part.shown
        images = torch.cat([real_r, fake_r, real_s, fake_s])
        return halves(self.view(images))

    def _judge(self, name: str, view: Tensor | list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """A discriminator's maps for the first half of a batch of views, which is real, and for the second, which is fake."""
        net = self.callables[name]
        return halves(net(view)) if self._joins else tuple(net(half) for half in halves(view))

    @property
    def _joins(self) -> bool:
        """Whether batches may be joined, as the samples of a batch do not depend on each other."""
        return self.config.norm != "batch"

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict:
        """The state that a resumed run needs, in plain types and tensors."""
        pools = {"r": self.pool_r.state_dict(), "s": self.pool_s.state_dict()}
        # "decay": the name in earlier checkpoints, when the length decided the learning rate alone
        own = {"config": asdict(self.config), "steps": self.steps, "decay": asdict(self.length), "pools": pools}
        return own | self._trained.state_dict()

    def inference_state(self) -> dict:
        """The generators, averaged with --ema, as best.pt holds them."""
        averages = {name: average.state_dict() for name, average in self.averages.items()}
        return {"config": asdict(self.config), "averages": averages}

    def load_state_dict(self, state: dict) -> None:
        """Load the result of `state_dict`. Raises ValueError, naming the options that differ, for another architecture."""
        check_config(state.get("config"), asdict(self.config))
        self.steps = state["steps"]
        self._trained.load_state_dict(state)
        self.pool_r.load_state_dict(state["pools"]["r"], self.device)
        self.pool_s.load_state_dict(state["pools"]["s"], self.device)
        total, self.length = self.total_steps, RunLength(**state["decay"])
        if total is not None:
            self.total_steps = total


def add(losses: dict[str, Tensor], part: Part, **named: Tensor) -> None:
    """Add a part's losses, each times the part's share of the batch."""
    for name, loss in named.items():
        loss = loss.detach() * part.share if part.share < 1 else loss.detach()
        losses[name] = losses[name] + loss if name in losses else loss
