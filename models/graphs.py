"""A training step as a CUDA graph: recorded once, then replayed as a whole, without launching every kernel by itself."""

import torch
from torch import Tensor

from models.hgan import HGAN
from util.errors import UsageError

WARM_UP = 3  # steps before the recording, on a side stream, as PyTorch's documentation requires


class GraphedStep:
    """Replaces a model's training_step. CUDA only, without --amp fp16, in one process, for batches of one shape.

    The first steps run normally; then one is recorded. Later ones copy their batch and planss into the recording's memory
    and replay it. One recording holds the updates of generators and discriminators. The learning rate is a tensor that
    begin_step writes. Loading a state drops the recording. Raises UsageError if the model cannot be recorded.
    """

    def __init__(self, model: HGAN) -> None:
        if model.device.type != "cuda":
            raise UsageError("--cuda_graphs needs a CUDA device; drop it, or give --device cuda")
        if model.amp.name == "fp16":
            raise UsageError(
                "--cuda_graphs cannot be combined with --amp fp16, whose scaler skips steps; give --amp bf16 or off"
            )
        if any(net is not model.callables[name] for name, net in model.networks.items()):
            raise UsageError("--cuda_graphs trains in one process; drop it, or run without torchrun")
        self.model, self.step, self.load = model, model.training_step, model.load_state_dict
        model.load_state_dict = self.load_state_dict
        self.stream = torch.cuda.Stream(model.device)
        self.taken, self.graph = 0, None

    def __call__(self, batch: dict) -> dict[str, Tensor]:
        """training_step(batch). Raises ValueError for a batch of another shape than the recorded one."""
        batch = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
        plans = self.model.begin_step(batch)
        if self.taken < WARM_UP:
            self.taken += 1
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                losses = self.step(batch, plans)
            torch.cuda.current_stream().wait_stream(self.stream)
            return losses
        inputs = batch | {"plans": plans}
        if self.graph is None:
            self.inputs = {name: value.clone() for name, value in inputs.items()}
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):  # loaders use CUDA in other threads
                self.losses = self.step(self.inputs, self.inputs["plans"])
        for name, value in inputs.items():
            if value.shape != self.inputs[name].shape:
                raise ValueError(
                    f"{name} has shape {tuple(value.shape)}, recorded was {tuple(self.inputs[name].shape)}"
                )
            self.inputs[name].copy_(value)
        self.graph.replay()
        return dict(zip(self.losses, torch.stack(list(self.losses.values())).unbind()))

    def load_state_dict(self, state: dict) -> None:
        """The model's load_state_dict; the next steps record anew, as loading puts other tensors in the optimizers."""
        self.taken, self.graph = 0, None
        self.load(state)
