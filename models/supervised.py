"""Training a network on labelled images: what SilNet, the Vision Transformer and the downstream networks share."""

import torch
from torch import Tensor, nn

from models.ema import EMA
from models.networks.layers import at_least_float32
from models.trainer_state import TrainerState
from models.updater import Updater
from util.checkpoint import check_config
from util.runtime import Amp


class Supervised:
    """A network with its optimizer, Adam, and the step that trains it. Subclasses define `losses`.

    name: of the network in checkpoints and in `networks`. config: what a checkpoint must agree with.
    """

    def __init__(
        self, name: str, net: nn.Module, *, lr: float, beta1: float = 0.9, config: dict, amp: Amp, device: torch.device
    ) -> None:
        self.amp, self.device, self.config = amp, device, config
        self.net = net.to(device)
        self.networks: dict[str, nn.Module] = {name: self.net}
        self.callables: dict[str, nn.Module] = dict(self.networks)  # what training calls
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=lr, betas=(beta1, 0.999), fused=True)
        self.scaler = amp.grad_scaler(device)
        self.updater = Updater(self.optimizer, self.scaler, called=self.callables)
        self.averages: dict[str, EMA] = {}
        self.schedules: dict[str, torch.optim.lr_scheduler.LRScheduler] = {}
        self._trained = TrainerState(
            networks=self.networks,
            averages=self.averages,
            optimizers={name: self.optimizer},
            schedules=self.schedules,
            scaler=self.scaler,
        )

    def losses(self, logits: Tensor, batch: dict) -> dict[str, Tensor]:
        """Scalars to log of a batch, among them "loss", which is minimised. logits: the network's, in float32."""
        raise NotImplementedError

    def training_step(self, batch: dict) -> dict[str, Tensor]:
        """One update on batch["image"], (N, 3, H, W) in [-1, 1], and the labels beside it.

        Returns the `losses`, detached, and whether the update was skipped because the loss or a gradient was not finite
        ("skipped", 0 or 1).
        """
        self.net.train()
        self.updater.start()
        (net,) = self.callables.values()
        losses = self.losses(self.logits(net, batch["image"]), batch)
        self.updater.backward(losses["loss"])
        skipped = self.updater.apply()
        self.scaler.update()
        for schedule in self.schedules.values():
            schedule.step()
        for average in self.averages.values():
            average.update(self.net)
        return {name: loss.detach() for name, loss in losses.items()} | {"skipped": skipped}

    def logits(self, net: nn.Module, images: Tensor) -> Tensor:
        """What a network with these weights computes of images, in float32."""
        with self.amp.autocast(self.device):
            return at_least_float32(net(images))

    def state_dict(self) -> dict:
        """The state that a resumed run needs, in plain types and tensors."""
        return {"config": self.config} | self._trained.state_dict()

    def inference_state(self) -> dict:
        """The network alone."""
        return {"network": self.net.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Load the result of `state_dict`. Raises ValueError, naming what differs, for another architecture."""
        check_config(state.get("config"), self.config)
        self._trained.load_state_dict(state)
