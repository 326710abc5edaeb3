"""The trainer of a Vision Transformer that classifies hands."""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.guard import step_if_finite
from models.networks.vit import create_vit
from models.trainer_state import TrainerState
from util.checkpoint import check_config
from util.runtime import Amp


class HandClassifier:
    """A ViT with its optimizer: Adam at a constant learning rate (paper, section IV.D: 1e-5), cross-entropy."""

    def __init__(self, *, vit: str, img_size: int, num_classes: int, lr: float, amp: Amp, device: torch.device) -> None:
        self.amp, self.device = amp, device
        self.config = {"vit": vit, "img_size": img_size, "num_classes": num_classes}
        self.net = create_vit(vit, img_size=img_size, num_classes=num_classes).to(device)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=lr, fused=True)
        self.scaler = amp.grad_scaler(device)
        self._trained = TrainerState(networks={"ViT": self.net}, optimizers={"ViT": self.optimizer}, scaler=self.scaler)

    def training_step(self, batch: dict) -> dict[str, Tensor]:
        """One update on batch["image"], (N, 3, S, S) in [-1, 1], and batch["label"], int64 (N,).

        Returns the loss and the accuracy on the batch, detached scalars, and whether the update was
        skipped because the loss or a gradient was not finite ("skipped", 0 or 1).
        """
        self.net.train()
        with self.amp.autocast(self.device):
            logits = self.net(batch["image"])
        logits = logits.float()
        loss = F.cross_entropy(logits, batch["label"])
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        skipped = step_if_finite(self.optimizer, self.scaler, loss)
        self.scaler.update()
        accuracy = (logits.argmax(1) == batch["label"]).float().mean()
        return {"loss": loss.detach(), "accuracy": accuracy, "skipped": skipped}

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) in [-1, 1] -> float32 (N, num_classes), each row adding up to 1."""
        self.net.eval()
        with self.amp.autocast(self.device):
            logits = self.net(images)
        return logits.float().softmax(1)

    def state_dict(self) -> dict:
        """The state that a resumed run needs, in plain types and tensors."""
        return {"config": self.config} | self._trained.state_dict()

    def inference_state(self) -> dict:
        """The network alone."""
        return {"network": self.net.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Load the result of `state_dict`. Raises ValueError, naming the options that differ, for another architecture."""
        check_config(state.get("config"), self.config)
        self._trained.load_state_dict(state)
