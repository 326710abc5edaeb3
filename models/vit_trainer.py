"""The trainer of a Vision Transformer that classifies hands."""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.networks.vit import create_vit
from models.supervised import Supervised
from util.runtime import Amp


class HandClassifier(Supervised):
    """A ViT that learns batch["label"], int64 (N,): constant learning rate (paper, section IV.D: 1e-5), cross-entropy."""

    def __init__(self, *, vit: str, img_size: int, num_classes: int, lr: float, amp: Amp, device: torch.device) -> None:
        config = {"vit": vit, "img_size": img_size, "num_classes": num_classes}
        net = create_vit(vit, img_size=img_size, num_classes=num_classes)
        super().__init__("ViT", net, lr=lr, config=config, amp=amp, device=device)

    def losses(self, logits: Tensor, batch: dict) -> dict[str, Tensor]:
        """The loss, and the accuracy on the batch."""
        accuracy = (logits.argmax(1) == batch["label"]).float().mean()
        return {"loss": F.cross_entropy(logits, batch["label"]), "accuracy": accuracy}

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) in [-1, 1] -> float32 (N, num_classes), each row adding up to 1."""
        return self.logits(self.net.eval(), images).softmax(1)
