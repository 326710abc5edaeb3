"""A training step as a CUDA graph: recorded once, then replayed as a whole, without launching every kernel by itself."""

import torch
from torch import Tensor

from models.hgan import HGAN
from util.errors import UsageError

WARM_UP = 3  # steps before the recording, on a side stream, as PyTorch's documentation requires


class GraphedStep:
    """Replaces a model's training_step. Create it after the model's state is loaded. CUDA only, without --amp fp16.

    The first steps run normally; then one is recorded. Later ones copy their batch and exchanges into the recording's memory
    and replay it. One recording holds the updates of generators and discriminators. Learning rates and averaging rates are
    tensors that begin_step writes. Raises UsageError if the model cannot be recorded.
    """

    def __init__(self, model: HGAN) -> None:
        if model.device.type != "cuda":
            raise UsageError("--cuda_graphs needs a CUDA device; drop it, or give --device cuda")
        if model.amp.name == "fp16":
            raise UsageError(
                "--cuda_graphs cannot be combined with --amp fp16, whose scaler skips steps; give --amp bf16 or off"
            )
        if model.config.dropout and model.G_r.checkpointing:
            raise UsageError(
                "--cuda_graphs cannot record --checkpoint_activations with --dropout, which sets random states within the step; "
                "drop one of them"
            )
        if any(net is not model.callables[name] for name, net in model.networks.items()):
            raise UsageError("--cuda_graphs trains in one process; drop it, or run without torchrun")
        self.model, self.step = model, type(model).training_step
        self.graph: torch.cuda.CUDAGraph | None = None
        self.batch: dict[str, Tensor] = {}
        self.exchange: Tensor | None = None
        self.losses: dict[str, Tensor] = {}
        self.taken = 0
        self.stream = torch.cuda.Stream(model.device)

    def __call__(self, batch: dict) -> dict[str, Tensor]:
        """training_step(batch); all batches must have the same shapes."""
        batch = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
        exchange = self.model.begin_step(batch)
        if self.taken < WARM_UP:
            self.taken += 1
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                losses = self.step(self.model, batch, exchange)
            torch.cuda.current_stream().wait_stream(self.stream)
            return losses
        if self.graph is None:
            self.batch, self.exchange = {name: value.clone() for name, value in batch.items()}, exchange
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):  # loaders use CUDA in other threads
                self.losses = self.step(self.model, self.batch, self.exchange)
        for name, value in batch.items():
            self.batch[name].copy_(value)
        if exchange is not self.exchange:
            self.exchange.copy_(exchange)
        self.graph.replay()
        names = list(self.losses)
        return dict(zip(names, torch.stack([self.losses[name] for name in names]).unbind()))
