"""SilNet's trainer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from data.frames import DOMAINS
from models.ema import EMA
from models.guard import BufferGuard, step_if_finite
from models.networks.silnet import SilNet
from models.trainer_state import TrainerState
from util.checkpoint import check_config
from util.runtime import Amp

EMA_DECAY = 0.98  # single steps can be bad: at a constant rate, some label the white background as hand


class HandSegmenter:
    """A SilNet with its optimizer: Adam, binary cross-entropy on the hands of both domains together.

    The moving average of its weights is validated and stored. base: SilNet's first width. background: what surrounds the
    hands ("white" or "keep"), recorded in the checkpoint.
    """

    total_steps: int | None = None  # the run's length, which its learning rate does not depend on

    def __init__(self, *, base: int, lr: float, beta1: float, background: str, amp: Amp, device: torch.device) -> None:
        self.amp, self.device, self.background = amp, device, background
        self.net = SilNet(base=base).to(device)
        self.networks: dict[str, nn.Module] = {"SilNet": self.net}
        self.callable: nn.Module = self.net  # what training calls; distribute() wraps it
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=lr, betas=(beta1, 0.999), fused=True)
        self.scaler = amp.grad_scaler(device)
        self.average = EMA(self.net, EMA_DECAY, average_buffers=True)
        self.buffers = BufferGuard([self.net])
        self._trained = TrainerState(
            networks=self.networks,
            averages={"SilNet": self.average},
            optimizers={"SilNet": self.optimizer},
            scaler=self.scaler,
        )

    def distribute(self) -> None:
        """Train with the other processes of torch.distributed: gradients are averaged over all ranks."""
        ids = [self.device.index] if self.device.type == "cuda" else None
        self.callable = DistributedDataParallel(self.net, device_ids=ids)

    def compile(self) -> None:
        """Compile the network in place with torch.compile; its parameters keep their names."""
        self.net.compile()

    def training_step(self, batch: dict) -> dict[str, Tensor]:
        """One update on batch["synthetic"] and ["real"], (N, 3, H, W) in [-1, 1], and their masks in {0, 1}.

        Returns the loss and each domain's loss, detached scalars, and whether the update was skipped because the
        loss or a gradient was not finite ("skipped", 0 or 1).
        """
        self.net.train()
        self.buffers.remember()
        images, masks = (torch.cat([batch[domain + part] for domain in DOMAINS]) for part in ("", "_mask"))
        with self.amp.autocast(self.device):
            logits = self.callable(images)
        losses = F.binary_cross_entropy_with_logits(logits, masks, reduction="none").mean((1, 2, 3))
        self.optimizer.zero_grad(set_to_none=True)
        loss = losses.mean()
        self.scaler.scale(loss).backward()
        skipped = step_if_finite(self.optimizer, self.scaler, loss)
        self.buffers.restore(skipped)
        self.scaler.update()
        self.average.update(self.net)

        by_domain = {f"{domain}_loss": part.mean() for domain, part in zip(DOMAINS, losses.detach().chunk(2))}
        return {"loss": loss.detach(), "skipped": skipped} | by_domain

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [-1, 1] -> the probability of hand, (N, 1, H, W), in eval mode."""
        return segment(self.average.module, images, self.amp)

    def state_dict(self) -> dict:
        """The state that a resumed run needs, in plain types and tensors."""
        return self.inference_state() | self._trained.state_dict()

    def inference_state(self) -> dict:
        """The averaged network, with its configuration: a checkpoint of SilNet needs no other file."""
        described = {"config": self.net.config, "background": self.background}
        return {"silnet": described | {"network": self.average.module.state_dict()}}

    def load_state_dict(self, state: dict) -> None:
        """Load the result of `state_dict`. Raises ValueError, naming what differs, for another architecture."""
        check_config(state["silnet"]["config"], self.net.config)
        self._trained.load_state_dict(state)


def segment(net: nn.Module, images: Tensor, amp: Amp) -> Tensor:
    """The probability of hand by a SilNet in eval mode: images (N, 3, H, W) in [-1, 1] -> (N, 1, H, W) in [0, 1]."""
    with amp.autocast(images.device):
        return net(images).sigmoid()
