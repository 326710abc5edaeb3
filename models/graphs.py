"""A training step as a CUDA graph: recorded once, then launched whole, where single launches keep a GPU waiting."""

import torch
from torch import Tensor

from models.chances import Chances, copy_chances
from models.hgan import HGAN
from util.errors import UsageError

WARM_UP = 3  # steps taken before the recording, on a side stream, as PyTorch's documentation asks


class GraphedStep:
    """Takes the place of a model's training_step, after whatever loads its state. CUDA alone, and no --amp fp16.

    The first steps run as they are; then one is recorded, and later ones copy their batch and choices into the memory
    that it reads and replay it. The two players' updates are one recording: the discriminators' follows the generators'
    at once, and shares its memory. Learning rates and averaging rates are tensors that begin_step writes. Raises
    UsageError for what cannot be recorded.
    """

    def __init__(self, model: HGAN) -> None:
        if model.device.type != "cuda":
            raise UsageError("--cuda_graphs needs a CUDA device; drop it, or give --device cuda")
        if model.amp.name == "fp16":
            raise UsageError("--cuda_graphs does not go with --amp fp16, whose scaler skips steps; give bf16 or off")
        if any(net is not model.callables[name] for name, net in model.networks.items()):
            raise UsageError("--cuda_graphs trains in one process; drop it, or torchrun")
        self.model, self.step = model, type(model).training_step
        self.graph: torch.cuda.CUDAGraph | None = None
        self.batch: dict[str, Tensor] = {}
        self.chances: Chances | None = None
        self.losses: dict[str, Tensor] = {}
        self.taken = 0
        self.stream = torch.cuda.Stream(model.device)

    def __call__(self, batch: dict) -> dict[str, Tensor]:
        """training_step(batch); every batch must have the first one's shapes."""
        batch = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
        chances = self.model.begin_step(batch)
        if self.taken < WARM_UP:
            self.taken += 1
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                losses = self.step(self.model, batch, chances)
            torch.cuda.current_stream().wait_stream(self.stream)
            return losses
        if self.graph is None:
            self.batch, self.chances = {name: value.clone() for name, value in batch.items()}, chances
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):  # loaders use CUDA beside
                self.losses = self.step(self.model, self.batch, self.chances)
        for name, value in batch.items():
            self.batch[name].copy_(value)
        if chances is not self.chances:
            copy_chances(self.chances, chances)
        self.graph.replay()
        names = list(self.losses)
        return dict(zip(names, torch.stack([self.losses[name] for name in names]).unbind()))
