"""The downstream study's trainer: a U-Net that learns one of two tasks from hands and their labels."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from data.joints import N_JOINTS
from models.networks.silnet import SilNet
from models.supervised import Supervised
from util.runtime import Amp

LEVELS = 4  # resolutions of the U-Net: a pixel sees most of a 96-pixel picture
SIGMA = 1.5  # pixels: standard deviation of the Gaussian target of a joint
WINDOW = 5  # pixels: side of the square whose centre of mass is the joint


def segmentation_loss(logits: Tensor, batch: dict) -> Tensor:
    """Binary cross-entropy of logits (N, 1, S, S) with batch["mask"], mean over pixels."""
    return F.binary_cross_entropy_with_logits(logits, batch["mask"])


def segment(logits: Tensor) -> Tensor:
    """Logits (N, 1, S, S) -> bool (N, S, S), True on the hand."""
    return logits[:, 0] > 0


def keypoint_loss(logits: Tensor, batch: dict) -> Tensor:
    """Cross-entropy over the pixels of each joint's map (N, 21, S, S) with a Gaussian about the joint.

    Mean over the joints that are in the image (batch["seen"]); 0 if none is.
    """
    size = logits.shape[-1]
    centres = torch.arange(size, device=logits.device) + 0.5
    distance = (centres - batch["joints"][..., None]) / SIGMA  # (N, 21, 2, S)
    across, down = distance.square().mul(-0.5).softmax(-1).unbind(2)  # the Gaussian is their outer product
    expected = ((logits @ across[..., None])[..., 0] * down).sum(-1)
    loss = logits.flatten(2).logsumexp(-1) - expected
    seen = batch["seen"].float()
    return (loss * seen).sum() / seen.sum().clamp(min=1)


def locate(logits: Tensor) -> Tensor:
    """Logits (N, 21, S, S) -> (N, 21, 2): x and y in pixels of each map's mode.

    The mode is the centre of mass of the WINDOW x WINDOW square about the most probable pixel.
    """
    size = logits.shape[-1]
    centres = torch.arange(size, device=logits.device) + 0.5
    best = logits.flatten(2).argmax(-1)
    near_x, near_y = ((centres - 0.5 - at[..., None]).abs() <= WINDOW // 2 for at in (best % size, best // size))
    weight = logits.flatten(2).softmax(-1).view_as(logits) * near_y[..., :, None] * near_x[..., None, :]
    weight = weight / weight.sum((-2, -1), keepdim=True)
    return torch.stack([(weight.sum(-2) * centres).sum(-1), (weight.sum(-1) * centres).sum(-1)], dim=-1)


class Task(NamedTuple):
    """A task: the network's out_channels, its loss (logits, batch), and its prediction from logits."""

    out_channels: int
    loss: Callable[[Tensor, dict], Tensor]
    predict: Callable[[Tensor], Tensor]


TASKS = {
    "segmentation": Task(1, segmentation_loss, segment),
    "keypoints": Task(N_JOINTS, keypoint_loss, locate),
}


class DownstreamNet(Supervised):
    """A U-Net (SilNet's, with LEVELS levels) for one of TASKS; Adam's rate falls linearly to 0 over total_steps.

    It trains on batches of data.pasted.downstream.AnnotatedHands. With a falling rate, the result depends little on the last
    few steps, so that runs differ by their training sets.
    """

    def __init__(self, task: str, *, width: int, lr: float, total_steps: int, amp: Amp, device: torch.device) -> None:
        self.task = TASKS[task]
        net = SilNet(out_channels=self.task.out_channels, base=width, levels=LEVELS)
        net.to(memory_format=torch.channels_last)  # a third quicker on CPUs
        super().__init__("UNet", net, lr=lr, config=net.config, amp=amp, device=device)
        self.schedules["UNet"] = LambdaLR(self.optimizer, lambda step: 1 - step / total_steps)

    def losses(self, logits: Tensor, batch: dict) -> dict[str, Tensor]:
        """The task's loss."""
        return {"loss": self.task.loss(logits, batch)}

    @torch.inference_mode()
    def predict(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) in [-1, 1] -> bool masks (N, S, S), or joints (N, 21, 2) in pixels."""
        return self.task.predict(self.logits(self.net.eval(), images))
