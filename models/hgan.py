"""H-GAN and the baselines it is compared with: CycleGAN with masks (paper section III, Fig. 2 right)."""

import contextlib
from collections.abc import Callable
from dataclasses import asdict

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from models import DISCRIMINATORS, GENERATOR, GENERATORS
from models.config import NetworkConfig, Objective
from models.ema import EMA
from models.features.vgg16 import VGG16Features
from models.guard import BufferGuard, finite_or_white, step_if_finite
from models.image_pool import ImagePool
from models.losses import (
    cycle_loss,
    detail_loss,
    geometric_loss,
    l1_loss,
    lsgan_discriminator_loss,
    lsgan_generator_loss,
    r1_penalty,
)
from models.networks.layers import concatenated, detached, init_weights, joined, split
from models.perturb import randomly_shifted, with_fixed_noise, with_noise
from models.trainer_state import TrainerState
from util.checkpoint import check_config
from util.runtime import Amp

SLOWER_AFTER = 100  # the first step from which generators' rate may fall; see _set_learning_rate
R1_EVERY = 2  # steps between two R1 penalties; each counts that many times (Karras et al. 2020)


def create_generator(config: NetworkConfig) -> nn.Module:
    """An initialised generator: images (N, 3, H, W) in [-1, 1] -> the same."""
    net = GENERATORS[config.netG](
        ngf=config.ngf, norm=config.norm, dropout=config.dropout, upsample=config.upsample, hand_share=config.hand_share
    )
    init_weights(net, init_type=config.init_type, gain=config.init_gain)
    return net


def create_discriminator(config: NetworkConfig) -> nn.Module:
    """An initialised discriminator: a view of an image -> list of maps; see models.networks.discriminators."""
    norm = "none" if config.netD == "perceptual" else config.norm
    net = DISCRIMINATORS[config.netD](ndf=config.ndf, norm=norm)
    net.init_weights(init_type=config.init_type, gain=config.init_gain)
    return net


def composite(generated: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
    """mask * generated + (1 - mask) * source, which for a binary mask (N, 1, H, W) is a choice, pixel by pixel.

    So the background is the source's to the last bit. mask None: `generated` as it is.
    """
    return generated if mask is None else torch.where(mask > 0.5, generated, source)


@torch.inference_mode()
def translate(
    net: nn.Module, images: Tensor, masks: Tensor | None, amp: Amp, *, input_noise: float, masked: bool
) -> Tensor:
    """Apply a generator in eval mode to images (N, 3, H, W) in [-1, 1] of hands where masks (N, 1, H, W) are 1.

    masks None: hands are everywhere. masked: leave the images as they are beside the hands. input_noise: what the
    generator was trained with; here the noise is always the same.
    """
    with amp.autocast(images.device):
        painted = net(with_fixed_noise(images, input_noise), masks)
    return composite(painted, images, masks if masked else None)


class HGAN:
    """G_r: S -> R, G_s: R -> S, D_r and D_s with their optimizers, averages and pools, and the step that trains them.

    vgg: the frozen features that a perceptual discriminator views images through; None for the others. silnet: a
    trained SilNet, in eval mode, for the geometrically consistent loss; None without it. Neither is part of the state:
    a checkpoint holds only what was trained.

    accumulate: compute a step in so many parts of its batch, one after another, with the same gradients, but for the
    draws of noise and shifts, and for batch norm's statistics, which become a part's. checkpoint_activations: see
    ResNetGenerator. channels_last: the memory format of networks that consist of convolutions alone; None: on CUDA.
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
        accumulate: int = 1,
        checkpoint_activations: bool = False,
        channels_last: bool | None = None,
    ) -> None:
        self.config, self.objective, self.amp, self.device = config, objective, amp, device
        self.G_r, self.G_s = (create_generator(config).to(device) for _ in range(2))
        self.D_r, self.D_s = (create_discriminator(config).to(device) for _ in range(2))
        self.networks = {"G_r": self.G_r, "G_s": self.G_s, "D_r": self.D_r, "D_s": self.D_s}
        self.callables: dict[str, nn.Module] = dict(self.networks)  # what training calls; distribute() wraps them
        self.averages = {name: EMA(self.networks[name], objective.ema) for name in ("G_r", "G_s")}
        self.view = vgg.to(device) if self.D_r.view == "vgg" else nn.Identity()
        self.silnet = silnet.to(device).eval().requires_grad_(False) if silnet else None
        self.accumulate = accumulate
        for net in (self.G_r, self.G_s):
            net.checkpointing = checkpoint_activations
        if device.type == "cuda" if channels_last is None else channels_last:
            # Reflection padding and instance norm know no other format than NCHW on CUDA, so what has them keeps it.
            for net in (self.view, self.D_r, self.D_s) if self.D_r.view == "vgg" else ():
                net.to(memory_format=torch.channels_last)

        adam = {"lr": objective.lr, "betas": (objective.beta1, 0.999), "fused": True}
        self.optimizer_G = torch.optim.Adam([*self.G_r.parameters(), *self.G_s.parameters()], **adam)
        self.optimizer_D = torch.optim.Adam([*self.D_r.parameters(), *self.D_s.parameters()], **adam)
        self.scaler = amp.grad_scaler(device)
        self.pool_r = ImagePool(objective.pool_size, seed=2 * seed)
        self.pool_s = ImagePool(objective.pool_size, seed=2 * seed + 1)
        self.buffers = BufferGuard(self.networks.values())
        self.steps = 0

    def distribute(self) -> None:
        """Train with the other processes of torch.distributed: gradients are averaged over all ranks.

        Only training's calls are wrapped: while the generators train, the discriminators are called bare, for they
        must not wait for gradients that nobody computes.
        """
        ids = [self.device.index] if self.device.type == "cuda" else None
        # Batch norm's statistics stay each rank's own: sent round before a second call, they would break the first's graph.
        buffers = {"broadcast_buffers": False} if self.config.norm == "batch" else {}
        for name, net in self.networks.items():
            self.callables[name] = DistributedDataParallel(net, device_ids=ids, **buffers)

    def compile(self) -> None:
        """torch.compile networks in place; their parameters keep their names.

        Discriminators under R1 stay as they are: compiled code has no second derivative.
        """
        judges = () if self.objective.lambda_r1 else (self.D_r, self.D_s)
        for net in (self.G_r, self.G_s, *judges, self.view, *([self.silnet] if self.silnet else ())):
            net.compile()

    # ------------------------------------------------------------------ training

    def training_step(self, batch: dict) -> dict[str, Tensor]:
        """One update of the generators, then one of the discriminators (section III.C).

        batch: "synthetic" and "real" (N, 3, H, W) in [-1, 1] with "synthetic_mask" and "real_mask" (N, 1, H, W) in
        {0, 1}, on this model's device. Returns the losses and the discriminators' means, detached scalars, and whether an
        update was skipped because a loss or a gradient was not finite ("skipped", 0 or 1).
        """
        self._set_learning_rate()
        self.buffers.remember()
        parts, shares = self._parts(batch)

        self._freeze_discriminators(True)
        made, broken_G = self._update(self.optimizer_G, shares, self._generators_loss, parts)
        self._freeze_discriminators(False)
        fakes = [fakes for fakes, _ in made]
        judged, broken_D = self._update(self.optimizer_D, shares, self._discriminators_loss, parts, fakes)
        broken = torch.maximum(broken_G, broken_D)
        self.buffers.restore(broken)

        self.scaler.update()
        self.steps += 1
        for name, average in self.averages.items():
            average.update(self.networks[name])
        losses = [of_G | of_D for (_, of_G), of_D in zip(made, judged)]
        means = {name: sum(share * of[name].detach() for share, of in zip(shares, losses)) for name in losses[0]}
        return means | {"skipped": broken}

    def _generators_loss(self, batch: dict) -> tuple[Tensor, tuple]:
        """The generators' objective on a batch, and ((fakes and views of them), losses). D's weights are frozen.

        Images that wait for the same network go through it together.
        """
        weight, call = self.objective, self.callables
        synth, real = batch["synthetic"], batch["real"]
        mask_s, mask_r = batch["synthetic_mask"], batch["real_mask"]
        identity = weight.lambda_identity > 0

        with self.amp.autocast(self.device):
            raw_r, *same_r = self._generate(call["G_r"], (synth, mask_s), *[(real, mask_r)] * identity)
            fake_r = self._masked(raw_r, synth, mask_s)
            raw_s, cycle_s, *same_s = self._generate(
                call["G_s"], (real, mask_r), (fake_r, mask_s), *[(synth, mask_s)] * identity
            )
            fake_s = self._masked(raw_s, real, mask_r)
            (cycle_r,) = self._generate(call["G_r"], (fake_s, mask_r))
            if not weight.raw_l1:  # then nothing tells the generators what to paint beside the hand, and it drifts
                cycle_s, cycle_r = self._masked(cycle_s, fake_r, mask_s), self._masked(cycle_r, fake_s, mask_r)
                same_s = [self._masked(same, synth, mask_s) for same in same_s]
                same_r = [self._masked(same, real, mask_r) for same in same_r]
            shown_r, shown_s = self._shown(batch, fake_r, fake_s)
            view_r, view_s = joined(self.view, *(randomly_shifted(fake, weight.d_shift) for fake in (shown_r, shown_s)))
            fooled_r, fooled_s = self.D_r(view_r), self.D_s(view_s)
            shapes = joined(self.silnet, raw_r, raw_s) if weight.lambda_geo else ()
        loss_gan = lsgan_generator_loss(fooled_r) + lsgan_generator_loss(fooled_s)
        tone = weight.cycle_tone
        loss_cycle = cycle_loss(cycle_s, synth, mask_s, tone=tone) + cycle_loss(cycle_r, real, mask_r, tone=tone)
        loss_identity = l1_loss(same_r[0], real) + l1_loss(same_s[0], synth) if identity else torch.zeros(())
        loss_G = weight.lambda_gan * loss_gan + weight.lambda_cycle * loss_cycle
        if identity:
            loss_G = loss_G + weight.lambda_cycle * weight.lambda_identity * loss_identity
        losses = {"G_gan": loss_gan, "G_cycle": loss_cycle, "G_identity": loss_identity}
        if weight.lambda_detail:
            loss_detail = detail_loss(fake_r, synth, mask_s) + detail_loss(fake_s, real, mask_r)
            loss_G = loss_G + weight.lambda_detail * loss_detail
            losses["G_detail"] = loss_detail
        if weight.lambda_geo:
            loss_geo = sum(map(geometric_loss, shapes, (batch["synthetic_mask"], batch["real_mask"])))
            loss_G = loss_G + weight.lambda_geo * loss_geo
            losses["G_geo"] = loss_geo
        known = (detached(view_r), detached(view_s)) if self.accumulate == 1 else (None, None)
        return loss_G, ((finite_or_white(shown_r.detach()), finite_or_white(shown_s.detach()), *known), losses)

    def _discriminators_loss(self, batch: dict, fakes: tuple) -> tuple[Tensor, dict[str, Tensor]]:
        """The discriminators' objective on real images and on fakes out of the history, and losses and means."""
        weight, call = self.objective, self.callables
        synth, real = self._shown(batch, batch["synthetic"], batch["real"])
        fake_r, fake_s, known_r, known_s = fakes

        old_r, old_s = self.pool_r.query(fake_r), self.pool_s.query(fake_s)
        with self.amp.autocast(self.device):
            with torch.no_grad():
                view_r, view_s = self._views(
                    (real, old_r, known_r if old_r is fake_r else None),
                    (synth, old_s, known_s if old_s is fake_s else None),
                )
            real_r, judged_r = self._judge(call["D_r"], view_r)
            real_s, judged_s = self._judge(call["D_s"], view_s)
        loss_D_r = lsgan_discriminator_loss(real_r, judged_r)
        loss_D_s = lsgan_discriminator_loss(real_s, judged_s)
        loss_D = loss_D_r + loss_D_s
        if weight.lambda_r1 and self.steps % R1_EVERY == 0:
            slope = r1_penalty(self.D_r, halves(view_r)[0]) + r1_penalty(self.D_s, halves(view_s)[0])
            loss_D = loss_D + weight.lambda_r1 * R1_EVERY * slope
        return loss_D, {
            "D_r": loss_D_r,
            "D_s": loss_D_s,
            "D_r_real": mean(real_r),
            "D_r_fake": mean(judged_r),
            "D_s_real": mean(real_s),
            "D_s_fake": mean(judged_s),
        }

    def _masked(self, generated: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """The composite by the source's mask, of a model that has them."""
        return composite(generated, source, mask) if self.objective.mask else generated

    def _shown(self, batch: dict, *images: Tensor) -> list[Tensor]:
        """What discriminators are shown of images, of hands of either domain.

        common_mask: only where the batch's synthetic and real hand overlap, white elsewhere. Real and fake hands then
        have the same outlines, so that D cannot tell them apart by a shape that G must not change; against such a D all
        that G can do is to overdo texture.
        """
        if not (self.objective.common_mask and self.objective.mask):
            return list(images)
        common = batch["synthetic_mask"] * batch["real_mask"] > 0.5
        return [torch.where(common, image, 1.0) for image in images]

    def _parts(self, batch: dict) -> tuple[list[dict], list[float]]:
        """The batch in `accumulate` parts, or as many as it has images, and the share of it that each holds."""
        names = ("synthetic", "real", "synthetic_mask", "real_mask")
        columns = zip(*(batch[name].chunk(self.accumulate) for name in names))
        parts = [dict(zip(names, column)) for column in columns]
        return parts, [len(part["real"]) / len(batch["real"]) for part in parts]

    def _views(self, *domains: tuple[Tensor, Tensor, Tensor | list[Tensor] | None]) -> list[Tensor | list[Tensor]]:
        """For each (real, fake, the view of fake if it is known): the view of the real images and then the fake ones."""
        shown = (torch.cat([real, fake]) if known is None else real for real, fake, known in domains)
        views = joined(self.view, *(randomly_shifted(images, self.objective.d_shift) for images in shown))
        return [view if known is None else concatenated(view, known) for view, (_, _, known) in zip(views, domains)]

    def _generate(self, net: nn.Module, *pairs: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """What a generator paints of each (image, mask) pair, seen through noise."""
        noisy = [(with_noise(image, self.objective.input_noise), mask) for image, mask in pairs]
        return joined(net, *noisy, join=self._joins)

    def _judge(self, net: nn.Module, view: Tensor | list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """The maps of the first half of a batch of views, which is real, and of the second, which is not."""
        if self._joins:
            return halves(net(view))
        return tuple(net(part) for part in halves(view))

    def _set_learning_rate(self) -> None:
        """Both players' rates rise linearly over the first `warmup` steps; later the generators' alone falls.

        Adam's first steps move every weight by lr in the gradient's direction, whatever its size. In a discriminator
        without normalisation these moves add up over thousands of inputs a layer, and the losses jump a hundredfold.
        After the warm-up, but not before step SLOWER_AFTER, generators' rate is lr in inverse proportion to the step, down to
        lr_final, while discriminators stay at lr_ratio times lr: a new flaw in the skin takes D some hundred images to see (two
        time scales, Heusel et al. 2017). The rates are functions of the step alone, so that a run's length can be changed
        while it is going on.
        """
        weight, step = self.objective, self.steps + 1
        rise = min(1.0, step / max(weight.warmup, 1))
        fall = max(min(1.0, weight.lr_final / weight.lr), min(1.0, max(weight.warmup, SLOWER_AFTER) / step))
        for optimizer, share in ((self.optimizer_G, rise * fall), (self.optimizer_D, rise * weight.lr_ratio)):
            for group in optimizer.param_groups:
                group["lr"] = weight.lr * share

    @property
    def _joins(self) -> bool:
        """Whether samples of a batch are independent of each other, so that batches may be joined."""
        return self.config.norm != "batch"

    def _freeze_discriminators(self, frozen: bool) -> None:
        """No gradients of D's weights while G trains: they would be computed and thrown away."""
        for net in (self.D_r, self.D_s):
            net.requires_grad_(not frozen)

    def _update(
        self, optimizer: torch.optim.Optimizer, shares: list[float], objective: Callable, *arguments: list
    ) -> tuple[list, Tensor]:
        """One step down objective(*arguments of a part) -> (loss, result), a mean over parts, if all of it is finite.

        Returns the parts' results, and 1.0 where the step was skipped, else 0.0.
        """
        optimizer.zero_grad(set_to_none=True)
        results, total = [], 0.0
        for share, *values in zip(shares, *arguments):
            with self._gradients_stay_here(len(results) < len(shares) - 1):
                loss, result = objective(*values)
                self.scaler.scale(share * loss).backward()
            results.append(result)
            total = total + loss.detach()
        return results, step_if_finite(optimizer, self.scaler, total)

    def _gradients_stay_here(self, here: bool) -> contextlib.ExitStack:
        """Within the block, if `here`, gradients add up in this process and wait to be averaged over all."""
        stack = contextlib.ExitStack()
        for net in self.callables.values() if here else ():
            if isinstance(net, DistributedDataParallel):
                stack.enter_context(net.no_sync())
        return stack

    # ------------------------------------------------------------------ use

    def translate(self, images: Tensor, masks: Tensor | None, *, direction: str = "StoR") -> Tensor:
        """Images (N, 3, H, W) in [-1, 1] of one domain -> the other, by the averaged generator, composited by masks.

        direction: "StoR" (G_r) or "RtoS" (G_s). A model trained without masks composites nothing.
        """
        net, how = self.averages[GENERATOR[direction]].module, self.objective
        return translate(net, images, masks, self.amp, input_noise=how.input_noise, masked=how.mask)

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict:
        """Everything that a resumed run needs of the model, in plain types and tensors."""
        pools = {"r": self.pool_r.state_dict(), "s": self.pool_s.state_dict()}
        return {"config": asdict(self.config), "steps": self.steps, "pools": pools} | self._trained().state_dict()

    def inference_state(self) -> dict:
        """What translating takes: the averaged generators, as best.pt holds them."""
        averages = {name: average.state_dict() for name, average in self.averages.items()}
        return {"config": asdict(self.config), "averages": averages}

    def load_state_dict(self, state: dict) -> None:
        """Undo `state_dict`. Raises ValueError, naming the options that differ, for another architecture's."""
        check_config(state.get("config"), asdict(self.config))
        self.steps = state["steps"]
        self._trained().load_state_dict(state)
        self.pool_r.load_state_dict(state["pools"]["r"], self.device)
        self.pool_s.load_state_dict(state["pools"]["s"], self.device)

    def _trained(self) -> TrainerState:
        optimizers = {"G": self.optimizer_G, "D": self.optimizer_D}
        return TrainerState(networks=self.networks, averages=self.averages, optimizers=optimizers, scaler=self.scaler)


def halves(batch: Tensor | list[Tensor]) -> tuple:
    """The first and the second half of a batch: a tensor (2N, ...), or a list of such."""
    half = len(batch[0] if isinstance(batch, list) else batch) // 2
    return split(batch, [half, half])


def mean(maps: list[Tensor]) -> Tensor:
    """The mean over all maps of a discriminator, each map weighing the same: near 1 it says real, near 0 fake."""
    return torch.stack([m.mean() for m in maps]).mean()
