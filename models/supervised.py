"""Networks that learn from labels: SilNet (masks), the Vision Transformer (classes), JointNet and the downstream nets (TASKS)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel

from data.frames import DOMAINS
from data.joints import N_JOINTS
from models import VITS
from models.departures import joint_loss
from models.networks.jointnet import JointNet
from models.networks.layers import at_least_float32
from models.networks.silnet import SilNet
from models.networks.vit import VisionTransformer
from models.optimization import load_optimizer, load_scaler, step_if_finite
from util.checkpoint_file import check_config
from util.runtime import Amp

AVERAGE_DECAY = 0.98  # of SilNet's weights: single steps can be bad; some label the white background as hand
LEVELS = 4  # resolutions of the downstream U-Net: a pixel sees most of a 96-pixel picture
SIGMA = 1.5  # pixels: standard deviation of the Gaussian target of a joint
WINDOW = 5  # pixels: side of the square whose centre of mass is the joint
TASKS = {"segmentation": 1, "keypoints": N_JOINTS}  # of the downstream study: maps that the U-Net gives


class Supervised:
    """A network (name: in checkpoints), Adam, and the step that trains it. config: what a checkpoint must agree with. schedule:
    of the learning rate, stepped after each update; not stored, so a network that has one is trained in one go."""

    schedule: LRScheduler | None = None

    def __init__(
        self, name: str, net: nn.Module, *, lr: float, beta1: float = 0.9, config: dict, amp: Amp, device: torch.device
    ) -> None:
        self.name, self.config, self.amp, self.device = name, config, amp, device
        self.net = self.called = net.to(device)  # called: what training calls; distribute() wraps it
        self.networks = {name: self.net}
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=lr, betas=(beta1, 0.999), fused=True)
        self.scaler = amp.grad_scaler(device)

    def losses(self, logits: Tensor, batch: dict) -> dict[str, Tensor]:
        """Scalars to log, among them "loss", which is minimised. logits: of batch["image"], in float32."""
        raise NotImplementedError

    def training_step(self, batch: dict) -> dict[str, Tensor]:
        """One update on batch["image"], (N, 3, H, W) in [-1, 1], and the labels beside it.

        Returns the losses, detached, and "skipped": 1 if a loss or gradient was not finite and nothing was changed, else 0.
        """
        self.net.train()
        self.optimizer.zero_grad()
        statistics = [buffer.clone() for buffer in self.net.buffers()]  # batch norm's
        losses = self.losses(self.logits(self.called, batch["image"]), batch)
        self.scaler.scale(losses["loss"]).backward()
        skipped = step_if_finite(self.optimizer, self.scaler, losses["loss"])
        self.scaler.update()
        for buffer, before in zip(self.net.buffers(), statistics):
            buffer.copy_(torch.where(skipped > 0, before, buffer))
        if self.schedule:
            self.schedule.step()
        return {name: loss.detach() for name, loss in losses.items()} | {"skipped": skipped}

    def logits(self, net: nn.Module, images: Tensor) -> Tensor:
        """The output of `net`, in float32."""
        with self.amp.autocast(self.device):
            return at_least_float32(net(images))

    def state_dict(self) -> dict:
        """The state that a resumed run needs, in plain types and tensors."""
        return {
            "config": self.config,
            "networks": {self.name: self.net.state_dict()},
            "optimizers": {self.name: self.optimizer.state_dict()},
            "scaler": self.scaler.state_dict(),
        }

    def inference_state(self) -> dict:
        """The network alone."""
        return {"network": self.net.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Load the result of `state_dict`. Raises ValueError, naming what differs, for another architecture."""
        check_config(state["config"], self.config)
        self.net.load_state_dict(state["networks"][self.name])
        load_optimizer(self.optimizer, state["optimizers"][self.name])
        load_scaler(self.scaler, state["scaler"])


class HandSegmenter(Supervised):
    """A SilNet (base: its first width) that learns the masks of both domains together; a moving average of its weights is
    validated and stored."""

    def __init__(self, *, base: int, lr: float, beta1: float, amp: Amp, device: torch.device) -> None:
        net = SilNet(base=base)
        super().__init__("SilNet", net, lr=lr, beta1=beta1, config=net.config, amp=amp, device=device)
        self.average = AveragedModel(self.net, avg_fn=moving_average, use_buffers=True).eval().requires_grad_(False)

    def distribute(self) -> None:
        """Train with the other processes of torch.distributed: gradients are averaged over all ranks."""
        self.called = DistributedDataParallel(self.net, [self.device.index] if self.device.type == "cuda" else None)

    def compile(self) -> None:
        """Compile the network in place."""
        self.net.compile()

    def training_step(self, batch: dict) -> dict[str, Tensor]:
        """One update on batch["synthetic"] and ["real"], (N, 3, H, W) in [-1, 1], and their masks in {0, 1}."""
        images, masks = (torch.cat([batch[domain + part] for domain in DOMAINS]) for part in ("", "_mask"))
        losses = super().training_step({"image": images, "mask": masks})
        self.average.update_parameters(self.net)
        return losses

    def losses(self, logits: Tensor, batch: dict) -> dict[str, Tensor]:
        losses = F.binary_cross_entropy_with_logits(logits, batch["mask"], reduction="none").mean((1, 2, 3))
        halves = zip(DOMAINS, losses.chunk(2))
        return {"loss": losses.mean()} | {f"{domain}_loss": half.mean() for domain, half in halves}

    def probabilities(self, images: Tensor) -> Tensor:
        return segment(self.average.module, images, self.amp)

    def state_dict(self) -> dict:
        """With the `inference_state`, so that latest.pt serves as --silnet, too."""
        return super().state_dict() | self.inference_state() | {"updates": self.average.n_averaged}

    def inference_state(self) -> dict:
        """The averaged network and all that it takes to use it."""
        return {"silnet": {"config": self.config, "network": self.average.module.state_dict()}}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.average.module.load_state_dict(state["silnet"]["network"])
        self.average.n_averaged.copy_(state["updates"])


def moving_average(average: Tensor, latest: Tensor, updates: Tensor) -> Tensor:
    """Move towards the latest value by 1 - AVERAGE_DECAY, at first by more, so that a short run's start is forgotten."""
    return average + (latest - average) * (2 / (3 + updates)).clamp(min=1 - AVERAGE_DECAY)


@torch.inference_mode()
def segment(net: nn.Module, images: Tensor, amp: Amp) -> Tensor:
    """The probability of hand by a SilNet in eval mode: images (N, 3, H, W) in [-1, 1] -> (N, 1, H, W) in [0, 1]."""
    with amp.autocast(images.device):
        return net(images).sigmoid()


class HandClassifier(Supervised):
    """A ViT that learns batch["label"], int64 (N,)."""

    def __init__(self, *, vit: str, img_size: int, num_classes: int, lr: float, amp: Amp, device: torch.device) -> None:
        size = {"img_size": img_size, "num_classes": num_classes}
        net = VisionTransformer(**VITS[vit], **size)
        super().__init__("ViT", net, lr=lr, config={"vit": vit, **size}, amp=amp, device=device)

    def losses(self, logits: Tensor, batch: dict) -> dict[str, Tensor]:
        accuracy = (logits.argmax(1) == batch["label"]).float().mean()
        return {"loss": F.cross_entropy(logits, batch["label"]), "accuracy": accuracy}

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) in [-1, 1] -> float32 (N, num_classes), each row adding up to 1."""
        return self.logits(self.net.eval(), images).softmax(1)


class DownstreamNet(Supervised):
    """A U-Net (SilNet's, with LEVELS levels) for one of TASKS, on batches of the downstream study.

    Adam's rate falls linearly to 0 over total_steps, so that the result depends little on the last few steps.
    """

    def __init__(self, task: str, *, width: int, lr: float, total_steps: int, amp: Amp, device: torch.device) -> None:
        self.task = task
        net = SilNet(out_channels=TASKS[task], base=width, levels=LEVELS)
        net = net.to(memory_format=torch.channels_last)  # a third quicker on CPUs
        super().__init__("UNet", net, lr=lr, config=net.config, amp=amp, device=device)
        self.schedule = LambdaLR(self.optimizer, lambda step: 1 - step / total_steps)

    def losses(self, logits: Tensor, batch: dict) -> dict[str, Tensor]:
        if self.task == "keypoints":
            return {"loss": keypoint_loss(logits, batch)}
        return {"loss": F.binary_cross_entropy_with_logits(logits, batch["mask"])}

    @torch.inference_mode()
    def predict(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) in [-1, 1] -> bool masks (N, S, S), or joints (N, 21, 2) in pixels."""
        logits = self.logits(self.net.eval(), images)
        return locate(logits) if self.task == "keypoints" else logits[:, 0] > 0


class JointFinder(Supervised):
    """A JointNet that learns batch["maps"]; its rate rises and falls once over total_steps."""

    def __init__(self, *, total_steps: int, amp: Amp, device: torch.device) -> None:
        super().__init__("JointNet", JointNet(), lr=2e-3, config={}, amp=amp, device=device)
        self.schedule = OneCycleLR(self.optimizer, 2e-3, total_steps=total_steps + 1, pct_start=0.1)

    def losses(self, logits: Tensor, batch: dict) -> dict[str, Tensor]:
        return {"loss": joint_loss(logits, batch["maps"])}


def keypoint_loss(logits: Tensor, batch: dict) -> Tensor:
    """Cross-entropy over the pixels of each joint's map (N, 21, S, S) with a Gaussian about it; mean over visible joints."""
    centres = torch.arange(logits.shape[-1], device=logits.device) + 0.5
    distance = (centres - batch["joints"][..., None]) / SIGMA  # (N, 21, 2, S)
    across, down = distance.square().mul(-0.5).softmax(-1).unbind(2)  # the Gaussian is their outer product
    expected = ((logits @ across[..., None])[..., 0] * down).sum(-1)
    loss = logits.flatten(2).logsumexp(-1) - expected
    seen = batch["seen"].float()
    return (loss * seen).sum() / seen.sum().clamp(min=1)


def locate(logits: Tensor) -> Tensor:
    """Logits (N, 21, S, S) -> (N, 21, 2): x and y in pixels of the centre of mass of the WINDOW about each map's maximum."""
    size = logits.shape[-1]
    centres = torch.arange(size, device=logits.device) + 0.5
    best = logits.flatten(2).argmax(-1)
    near_x, near_y = ((centres - 0.5 - at[..., None]).abs() <= WINDOW // 2 for at in (best % size, best // size))
    weight = logits.flatten(2).softmax(-1).view_as(logits) * near_y[..., :, None] * near_x[..., None, :]
    weight = weight / weight.sum((-2, -1), keepdim=True)
    return torch.stack([(weight.sum(-2) * centres).sum(-1), (weight.sum(-1) * centres).sum(-1)], dim=-1)
