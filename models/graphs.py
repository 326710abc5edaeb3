"""A training step as a CUDA graph: recorded once, then replayed as a whole, without launching every kernel by itself."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from models.hgan import HGAN
from util.errors import UsageError, first_lines

log = logging.getLogger(__name__)

WARM_UP = 3  # steps before the recording, on a side stream, as PyTorch's documentation requires


def choose_step(model: HGAN, graphs: str, *, compiled: bool) -> Callable[[dict], dict[str, Tensor]]:
    """The model's training_step, or a GraphedStep, by `--cuda_graphs` {auto,on,off}.

    auto: recorded on CUDA where it can be; else a line says why not. Raises UsageError for on where it cannot be.
    """
    if graphs == "off" or graphs == "auto" and model.device.type == "cpu":
        return model.training_step
    obstacles = {
        "a CPU has no CUDA graphs; drop it, or give --device cuda": model.device.type == "cpu",
        "--amp fp16 skips steps on the host; --amp bf16 and off can be recorded": model.amp.name == "fp16",
        "several processes train; one without torchrun can be recorded": model.callables != model.networks,
        "--compile records by itself; one of the two": compiled,
    }
    for reason in (text for text, stands in obstacles.items() if stands):
        if graphs == "on":
            raise UsageError(f"--cuda_graphs on: {reason}")
        log.info("steps are not recorded as a CUDA graph: %s", reason)
        return model.training_step
    return GraphedStep(model, required=graphs == "on")


class GraphedStep:
    """Replaces a model's training_step. CUDA only, without --amp fp16, in one process, for batches of one shape.

    The first steps run normally; then one is recorded. Later ones copy their batch and plans into the recording's memory
    and replay it. One recording holds the updates of generators and discriminators. The learning rate is a tensor that
    begin_step writes. Loading a state drops the recording. If a step cannot be recorded, it and all later ones run normally,
    unless required: then UsageError is raised.
    """

    def __init__(self, model: HGAN, *, required: bool = True) -> None:
        self.model, self.step, self.load = model, model.training_step, model.load_state_dict
        model.load_state_dict = self.load_state_dict
        self.stream = torch.cuda.Stream(model.device)
        self.required, self.taken, self.graph = required, 0, None

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
        if self.graph is None and not self.record(inputs):
            self.model.training_step = self.step
            return self.step(batch, plans)
        for name, value in inputs.items():
            if value.shape != self.inputs[name].shape:
                raise ValueError(
                    f"{name} has shape {tuple(value.shape)}, recorded was {tuple(self.inputs[name].shape)}"
                )
            self.inputs[name].copy_(value)
        self.graph.replay()
        return dict(zip(self.losses, torch.stack(list(self.losses.values())).unbind()))

    def record(self, inputs: dict[str, Tensor]) -> bool:
        """Record a step, without taking it, on copies of the inputs; whether that succeeded."""
        self.inputs = {name: value.clone() for name, value in inputs.items()}
        graph = torch.cuda.CUDAGraph()
        try:
            # Loaders use CUDA in other threads. A recording that fails leaves its own stream the current one.
            capture = torch.cuda.graph(graph, capture_error_mode="thread_local")
            with torch.cuda.stream(torch.cuda.current_stream()), capture:
                before = torch.cuda.memory_reserved(self.model.device)
                self.losses = self.step(self.inputs, self.inputs["plans"])
        except RuntimeError as error:
            reason = first_lines(error.__context__ or error)  # ending a recording that failed raises an error, too
            if self.required:
                way_out = "give --cuda_graphs off, or, if memory is short, lower --batch_size"
                raise UsageError(f"--cuda_graphs on: the step cannot be recorded ({reason}); {way_out}") from error
            log.warning("the step cannot be recorded as a CUDA graph (%s): steps are launched one by one", reason)
            return False
        kept = (torch.cuda.memory_reserved(self.model.device) - before) >> 20
        log.info("steps are recorded as a CUDA graph, which keeps %d MiB of the GPU's memory", kept)
        self.graph = graph
        return True

    def load_state_dict(self, state: dict) -> None:
        """The model's load_state_dict; the next steps record anew, as loading puts other tensors in the optimizers."""
        self.taken, self.graph = 0, None
        self.load(state)
