"""SilNet's trainer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from data.frames import DOMAINS
from models.ema import EMA
from models.networks.silnet import SilNet
from models.supervised import Supervised
from util.runtime import Amp

EMA_DECAY = 0.98  # single steps can be bad: at a constant rate, some label the white background as hand


class HandSegmenter(Supervised):
    """A SilNet that learns the masks of both domains together, by binary cross-entropy.

    The moving average of its weights is validated and stored. base: SilNet's first width. background: what surrounds the
    hands ("white" or "keep"), recorded in the checkpoint.
    """

    total_steps: int | None = None  # the run's length, which its learning rate does not depend on

    def __init__(self, *, base: int, lr: float, beta1: float, background: str, amp: Amp, device: torch.device) -> None:
        net = SilNet(base=base)
        super().__init__("SilNet", net, lr=lr, beta1=beta1, config=net.config, amp=amp, device=device)
        self.background = background
        self.average = self.averages["SilNet"] = EMA(self.net, EMA_DECAY, average_buffers=True)

    def distribute(self) -> None:
        """Train with the other processes of torch.distributed: gradients are averaged over all ranks."""
        ids = [self.device.index] if self.device.type == "cuda" else None
        self.callables["SilNet"] = DistributedDataParallel(self.net, device_ids=ids)

    def compile(self) -> None:
        """Compile the network in place with torch.compile; its parameters keep their names."""
        self.net.compile()

    def training_step(self, batch: dict) -> dict[str, Tensor]:
        """One update on batch["synthetic"] and ["real"], (N, 3, H, W) in [-1, 1], and their masks in {0, 1}."""
        images, masks = (torch.cat([batch[domain + part] for domain in DOMAINS]) for part in ("", "_mask"))
        return super().training_step({"image": images, "mask": masks})

    def losses(self, logits: Tensor, batch: dict) -> dict[str, Tensor]:
        """The loss, and each domain's."""
        losses = F.binary_cross_entropy_with_logits(logits, batch["mask"], reduction="none").mean((1, 2, 3))
        by_domain = {f"{domain}_loss": part.mean() for domain, part in zip(DOMAINS, losses.chunk(2))}
        return {"loss": losses.mean()} | by_domain

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [-1, 1] -> the probability of hand, (N, 1, H, W), in eval mode."""
        return segment(self.average.module, images, self.amp)

    def state_dict(self) -> dict:
        """The state that a resumed run needs, and that of `inference_state`: latest.pt serves as --silnet, too."""
        return self.inference_state() | super().state_dict()

    def inference_state(self) -> dict:
        """The averaged network, with its configuration: a checkpoint of SilNet needs no other file."""
        described = {"config": self.net.config, "background": self.background}
        return {"silnet": described | {"network": self.average.module.state_dict()}}


def segment(net: nn.Module, images: Tensor, amp: Amp) -> Tensor:
    """The probability of hand by a SilNet in eval mode: images (N, 3, H, W) in [-1, 1] -> (N, 1, H, W) in [0, 1]."""
    with amp.autocast(images.device):
        return net(images).sigmoid()
