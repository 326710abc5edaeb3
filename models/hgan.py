"""H-GAN and its baselines: CycleGAN with masks (paper section III, Fig. 2 right)."""

import random
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from models import DISCRIMINATORS, GENERATORS, departures
from models.config import NetworkConfig, Objective
from models.features.vgg16 import VGG16Features
from models.image_pool import ImagePool, finite_or_white
from models.losses import geometric_loss, l1_loss, lsgan_discriminator_loss, lsgan_generator_loss, mean_of_maps
from models.networks.jointnet import load_jointnet
from models.networks.layers import init_weights
from models.optimization import WeightAverage, create_adam, linear_decay, load_optimizer, load_scaler, step_if_finite
from util import distributed
from util.checkpoint_file import check_config
from util.runtime import Amp

RISE_STEPS = 1000  # in which the learning rate may rise from 0 to its full height, if a run becomes longer


def create_generator(config: NetworkConfig) -> nn.Module:
    """An initialised generator: images (N, 3, H, W) in [-1, 1] -> the same."""
    net = GENERATORS[config.netG](ngf=config.ngf, norm=config.norm, dropout=config.dropout, upsample=config.upsample)
    init_weights(net, init_type=config.init_type, gain=config.init_gain)
    return net


def create_discriminator(config: NetworkConfig) -> nn.Module:
    """An initialised discriminator: a view of an image -> list of maps; see models.networks.discriminators."""
    net = DISCRIMINATORS[config.netD](ndf=config.ndf, norm=config.norm)
    scaled = config.normalize_features and net.sees_features
    init = net.init_scaled if scaled else partial(init_weights, net)
    init(init_type=config.init_type, gain=config.init_gain)
    return net


def composite(generated: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
    """`generated` where the mask (N, 1, H, W) is 1, and `source` bit for bit elsewhere; mask None: `generated`."""
    return generated if mask is None else torch.where(mask > 0.5, generated, source)


def tone_of(tones: departures.Tones | None, direction: str) -> Callable[..., Tensor] | None:
    """The `tone` of `generate` in a direction of models.DIRECTIONS; None without match_tone."""
    return tones and tones.matcher(to_real=direction == "StoR")


@torch.inference_mode()
def generate(
    net: nn.Module,
    images: Tensor,
    masks: Tensor,
    amp: Amp,
    *,
    tone: Callable[..., Tensor] | None,
    mask: bool,
    extend_colors: bool,
    mean_of_views: bool,
) -> Tensor:
    """Apply a generator in eval mode to images (N, 3, H, W) in [-1, 1] of hands where masks (N, 1, H, W) are 1.

    tone: (painted, images, masks) -> painted with other mean colours of hands; None: as painted. mask, extend_colors: as in the
    generator's training. mean_of_views: see departures.mean_of_views. Returns images that are not composited.
    """
    net.eval()  # training_step sets training mode
    x = departures.extend_colors(images, masks) if extend_colors else images
    paint = net.forward  # not __call__, which --compile would compile for every new size
    with amp.autocast(images.device):
        painted = departures.mean_of_views(paint, x, masked=mask) if mean_of_views else paint(x)
    return tone(painted, images, masks) if tone else painted


class HGAN:
    """G_r: S -> R, G_s: R -> S, D_r and D_s with their optimizers and pools, and the step that trains them.

    vgg: the frozen features of a perceptual discriminator; None for the others. silnet: a trained SilNet for the
    geometrically consistent loss; None without it. Checkpoints hold no frozen network. total_steps: the run's length, on which
    the learning rate depends; None: it stays constant. It may change when a run goes on.
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
    ) -> None:
        self.config, self.objective, self.amp, self.device = config, objective, amp, device
        self.seed, self.total_steps, self.steps = seed, total_steps, 0
        self.G_r, self.G_s = (create_generator(config).to(device) for _ in range(2))
        self.D_r, self.D_s = (create_discriminator(config).to(device) for _ in range(2))
        self.networks = {"G_r": self.G_r, "G_s": self.G_s, "D_r": self.D_r, "D_s": self.D_s}
        self.callables: dict[str, nn.Module] = dict(self.networks)  # what training calls; distribute() wraps them
        generators = {name: self.networks[name] for name in ("G_r", "G_s")}
        self.average = WeightAverage(generators, device) if objective.average_weights else None
        self.translators = self.average.networks if self.average else generators  # what translates, once trained
        if vgg is None and self.D_r.sees_features:
            raise ValueError("the perceptual discriminator needs VGG16's features (vgg)")
        self.view = vgg.to(device) if self.D_r.sees_features else nn.Identity()  # of images, for the discriminators
        self.tones = departures.Tones().to(device) if objective.match_tone else None
        self.jointnet = load_jointnet().to(device) if objective.lambda_joints else None
        self.silnet = silnet.to(device).eval().requires_grad_(False) if silnet else None
        if device.type == "cuda" and self.D_r.sees_features:
            # Other networks have reflection padding and instance norm, which support NCHW only on CUDA.
            for net in (self.view, self.D_r, self.D_s):
                net.to(memory_format=torch.channels_last)

        adam = {"lr": objective.lr, "beta1": objective.beta1, "device": device}
        self.optimizer_G = create_adam([*self.G_r.parameters(), *self.G_s.parameters()], **adam)
        self.optimizer_D = create_adam([*self.D_r.parameters(), *self.D_s.parameters()], **adam)
        self.learning_rate = objective.lr
        self.scaler = amp.grad_scaler(device)
        self.pool_r, self.pool_s = ImagePool(objective.pool_size), ImagePool(objective.pool_size)

    def distribute(self) -> None:
        """Train with the other processes of torch.distributed: gradients are averaged over all ranks.

        Each rank keeps its batch norm statistics: a broadcast before a second call would break the first one's graph.
        """
        # Its new name, forward_sync_buffers, is unknown to older versions.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")
        ids = [self.device.index] if self.device.type == "cuda" else None
        for name, net in self.networks.items():
            self.callables[name] = DistributedDataParallel(net, device_ids=ids, broadcast_buffers=False)

    def compile(self) -> None:
        """Compile the networks in place with torch.compile; their parameters keep their names."""
        for net in filter(None, (*self.networks.values(), self.view, self.silnet, self.jointnet)):
            net.compile()

    # ------------------------------------------------------------------ training

    def begin_step(self, batch: dict) -> Tensor:
        """Prepare a step on the host: set the learning rate, count the step, plan what the pools exchange.

        Returns the plans of both pools, stacked. They depend on (seed, rank, step) alone, so a resumed run makes the same.
        """
        for net in (self.G_r, self.G_s):
            net.train()  # `generate` may have set eval mode
        lr = self.objective.lr
        decay = linear_decay(self.steps, self.total_steps) if self.objective.lr_decay == "linear" else 1.0
        # Where it is greater than before, as a run goes on to a greater length or at a greater --lr, it rises steadily.
        self.learning_rate = min(lr * decay, self.learning_rate + lr / RISE_STEPS)
        for optimizer in (self.optimizer_G, self.optimizer_D):
            for group in optimizer.param_groups:
                group["lr"].fill_(self.learning_rate)
        choices = random.Random(str((self.seed, distributed.rank(), self.steps)))
        self.steps += 1
        plans = torch.stack([pool.plan(len(batch["real"]), choices) for pool in (self.pool_r, self.pool_s)])
        # A copy to a GPU does not wait for it.
        return plans.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else plans

    def training_step(self, batch: dict, plans: Tensor | None = None) -> dict[str, Tensor]:
        """One update of the generators, then one of the discriminators (section III.C).

        batch: "synthetic" and "real" (N, 3, H, W) in [-1, 1] with "synthetic_mask" and "real_mask" (N, 1, H, W) in
        {0, 1}, on this model's device. plans: the result of `begin_step`, if that was called already. Returns the losses
        and the discriminators' means, detached scalars, and whether an update was skipped because a loss or a gradient was not
        finite ("skipped", 0 or 1).
        """
        plans = self.begin_step(batch) if plans is None else plans
        goal = self.objective
        s, mask_s, r, mask_r = (batch[name] for name in ("synthetic", "synthetic_mask", "real", "real_mask"))
        overlap = mask_s * mask_r > 0.5 if goal.common_mask else None
        colour_s = colour_r = to_s = to_r = None  # mean colours of hands, and of their translations
        if self.tones:
            colour_s, colour_r = departures.mean_colours(s, mask_s), departures.mean_colours(r, mask_r)
            self.tones.see(colour_s, colour_r)
            to_r, to_s = self.tones(colour_s, to_real=True), self.tones(colour_r, to_real=False)
        same_s, same_r = ([(s, mask_s, colour_s)], [(r, mask_r, colour_r)]) if goal.lambda_identity else ([], [])

        # Generators. The discriminators and the other generator see composited fakes; `_l1` says what cycles and identities
        # compare. The discriminators are frozen, and called without the wrappers of distribute(), which would wait for their
        # gradients.
        for net in (self.D_r, self.D_s):
            net.requires_grad_(False)
        with self.amp.autocast(self.device):
            raw_r, *identity_r = self._paint("G_r", (s, mask_s, to_r), *same_r)
            fake_r = composite(raw_r, s, mask_s if goal.mask else None)
            raw_s, cycle_s, *identity_s = self._paint("G_s", (r, mask_r, to_s), (fake_r, mask_s, colour_s), *same_s)
            fake_s = composite(raw_s, r, mask_r if goal.mask else None)
            (cycle_r,) = self._paint("G_r", (fake_s, mask_r, colour_r))
            fakes = torch.cat([fake_r, fake_s])
            shown = departures.show_overlap(fakes, overlap)
            on_fake_r, on_fake_s = (D(half) for D, half in zip((self.D_r, self.D_s), halves(self.view(shown))))
            silhouettes = self.silnet(torch.cat([raw_r, raw_s])) if goal.lambda_geo else None

        if goal.lambda_identity:
            identity = self._l1(*identity_r, r, mask_r) + self._l1(*identity_s, s, mask_s)
        else:
            identity = torch.zeros((), device=self.device)
        terms = {  # weight, loss
            "G_gan": (goal.lambda_gan, lsgan_generator_loss(on_fake_r) + lsgan_generator_loss(on_fake_s)),
            "G_cycle": (goal.lambda_cycle, self._l1(cycle_s, s, mask_s) + self._l1(cycle_r, r, mask_r)),
            "G_identity": (goal.lambda_cycle * goal.lambda_identity, identity),
        }
        if goal.lambda_geo:
            terms["G_geo"] = goal.lambda_geo, 2 * geometric_loss(silhouettes, torch.cat([mask_s, mask_r]))
        if goal.lambda_joints:
            pose, painted_pose = self.jointnet(torch.cat([s, fake_r])).chunk(2)
            terms["G_joints"] = goal.lambda_joints, departures.joint_loss(painted_pose, pose.detach())
        skipped_G = self._update(self.optimizer_G, sum(weight * loss for weight, loss in terms.values()))
        if self.average:
            self.average.update()

        # Discriminators, on real hands and on fakes of this and of earlier steps.
        for net in (self.D_r, self.D_s):
            net.requires_grad_(True)
        with self.amp.autocast(self.device):
            with torch.no_grad():
                shown_r, shown_s = finite_or_white(shown.detach()).chunk(2)
                # Past fakes are white where their own step's hands did not overlap.
                pooled_r, pooled_s = self.pool_r.query(shown_r, plans[0]), self.pool_s.query(shown_s, plans[1])
                real_s, real_r = departures.show_overlap(torch.cat([s, r]), overlap).chunk(2)
                views_r, views_s = halves(self.view(torch.cat([real_r, pooled_r, real_s, pooled_s])))
            on_real_r, on_pooled_r = self._judge("D_r", views_r)
            on_real_s, on_pooled_s = self._judge("D_s", views_s)
        loss_D_r = lsgan_discriminator_loss(on_real_r, on_pooled_r)
        loss_D_s = lsgan_discriminator_loss(on_real_s, on_pooled_s)
        skipped_D = self._update(self.optimizer_D, loss_D_r + loss_D_s)

        self.scaler.update()
        losses = {name: loss for name, (_, loss) in terms.items()} | {"D_r": loss_D_r, "D_s": loss_D_s}
        losses |= {"D_r_real": mean_of_maps(on_real_r), "D_r_fake": mean_of_maps(on_pooled_r)}
        losses |= {"D_s_real": mean_of_maps(on_real_s), "D_s_fake": mean_of_maps(on_pooled_s)}
        losses["skipped"] = torch.maximum(skipped_G, skipped_D)
        return {name: value.detach() for name, value in losses.items()}

    def _paint(self, name: str, *hands: tuple[Tensor, Tensor, Tensor | None]) -> Iterable[Tensor]:
        """Apply a generator to several batches (images, masks, mean colours or None) in one call, and set the mean colours of what it
        painted. Returns images (N, 3, H, W) in [-1, 1] for each."""
        net, batches = self.callables[name], hands
        if len(hands) > 1 and self.config.norm != "batch":  # whose statistics are those of one batch
            batches = [[None if parts[0] is None else torch.cat(parts) for parts in zip(*hands)]]
        extend = self.objective.extend_colors
        painted = [net(departures.extend_colors(x, mask) if extend else x) for x, mask, _ in batches]
        if self.tones:
            painted = [departures.set_colours(x, mask, colours) for x, (_, mask, colours) in zip(painted, batches)]
        return painted if batches is hands else painted[0].chunk(len(hands))

    def _l1(self, painted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """L1 loss of a cycle or an identity: of the hand alone where generators do not see what is beside it."""
        return l1_loss(composite(painted, target, mask) if self.objective.extend_colors else painted, target)

    def _judge(self, name: str, view: Tensor | list[Tensor]) -> Iterable[list[Tensor]]:
        """A discriminator's maps for the first half of a batch of views, which is real, and for the second, which is fake."""
        net = self.callables[name]
        return [net(half) for half in halves(view)] if self.config.norm == "batch" else halves(net(view))

    def _update(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
        """Minimise the loss by one step. Returns 1.0 if it was skipped, else 0.0; see `step_if_finite`."""
        optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        return step_if_finite(optimizer, self.scaler, loss)

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict:
        """The state that a resumed run needs, in plain types and tensors."""
        return {
            "config": asdict(self.config),
            "steps": self.steps,
            "networks": {name: net.state_dict() for name, net in self.networks.items()},
            "optimizers": {"G": self.optimizer_G.state_dict(), "D": self.optimizer_D.state_dict()},
            "scaler": self.scaler.state_dict(),
            "average": self.average and self.average.state_dict(),
            "tones": self.tones and self.tones.state_dict(),
            "pools": {"r": self.pool_r.state_dict(), "s": self.pool_s.state_dict()},
        }

    def inference_state(self) -> dict:
        """The generators that translate, as best.pt holds them."""
        return {
            "config": asdict(self.config),
            "networks": {name: net.state_dict() for name, net in self.translators.items()},
            "tones": self.tones and self.tones.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Load the result of `state_dict`. Raises ValueError, naming the options that differ, for another architecture."""
        check_config(state["config"], asdict(self.config))
        self.steps = state["steps"]
        for name, net in self.networks.items():
            net.load_state_dict(state["networks"][name])
        for name, optimizer in (("G", self.optimizer_G), ("D", self.optimizer_D)):
            load_optimizer(optimizer, state["optimizers"][name])
        self.learning_rate = float(state["optimizers"]["G"]["param_groups"][0]["lr"])
        load_scaler(self.scaler, state["scaler"])
        for part, name in ((self.average, "average"), (self.tones, "tones")):
            if part:
                part.load_state_dict(state[name])
        self.pool_r.load_state_dict(state["pools"]["r"], self.device)
        self.pool_s.load_state_dict(state["pools"]["s"], self.device)


def halves(batch: Tensor | list[Tensor]) -> Iterable:
    """The first and the second half of a batch: of a tensor (2N, ...), or of each of a list of such."""
    if isinstance(batch, Tensor):
        return batch.chunk(2)
    return [list(half) for half in zip(*(x.chunk(2) for x in batch))]
