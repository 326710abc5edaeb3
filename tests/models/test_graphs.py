"""Steps as CUDA graphs, as far as a CPU can show it: a recording, replayed operator by operator."""

import contextlib
import copy
from types import SimpleNamespace

import pytest
import torch
from helpers import CPU, build, make_batch, same
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.graphs import WARM_UP, GraphedStep
from util.errors import UsageError

EXTRAS = {"common_mask": True, "extend_colors": True, "lambda_edges": 40.0, "lr_decay": "linear", "total_steps": 10}


class Recording(TorchDispatchMode):
    """In place of torch.cuda.CUDAGraph: operators with the very tensors that they read and write, to be called again.

    As after a capture, memory is left as it was before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.overwritten = [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        for place, argument in enumerate(func._schema.arguments):
            if argument.alias_info and argument.alias_info.is_write:
                value = args[place] if place < len(args) else kwargs.get(argument.name)
                self.overwritten += [(x, x.clone()) for x in tree_leaves(value) if isinstance(x, Tensor)]
        result = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, result))
        return result

    @torch.no_grad()
    def undo(self) -> None:
        for tensor, content in reversed(self.overwritten):
            tensor.copy_(content)

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, result in self.calls:
            for recorded, new in zip(tree_leaves(result), tree_leaves(func(*args, **kwargs))):
                if isinstance(recorded, Tensor) and recorded.data_ptr() != new.data_ptr():
                    recorded.copy_(new)


@pytest.fixture
def recordings(monkeypatch):
    """torch.cuda's streams and graphs for a CPU."""

    @contextlib.contextmanager
    def capture(recording, **_):
        with recording:
            yield
        recording.undo()

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recording)
    monkeypatch.setattr(torch.cuda, "graph", capture)


def graphed(model) -> GraphedStep:
    model.device = torch.device("cuda")
    step = GraphedStep(model)
    model.device = CPU
    return step


@pytest.mark.parametrize(("model", "amp"), [("mshgan4", "bf16"), ("pixcyclegan4", "off")])
def test_replayed_steps_are_those_that_are_not_recorded(vgg, recordings, model, amp):
    """To the last bit: nothing that changes from step to step is a constant of the recording."""
    plain, recorded = (build(vgg, model, amp=amp, **EXTRAS) for _ in range(2))
    step = graphed(recorded)
    for seed in range(WARM_UP + 5):  # the pools of 3 are full, the rate falls
        batch = make_batch(seed=seed)
        assert same(step(batch), plain.training_step(batch)), seed
    assert step.graph.calls and same(recorded.state_dict(), plain.state_dict())


def test_fp16_and_batches_of_another_shape_are_refused(recordings):
    with pytest.raises(UsageError, match="--amp fp16"):
        graphed(build(None, "pixcyclegan4", amp="fp16"))
    step = graphed(build(None, "pixcyclegan4"))
    for seed in range(WARM_UP + 1):
        step(make_batch(count=2, seed=seed))
    with pytest.raises(ValueError, match="recorded"):
        step(make_batch(count=1))


def test_loading_a_state_drops_the_recording(recordings):
    """The steps after it are those of a model that was not recorded."""
    plain, recorded = (build(None, "pixcyclegan4") for _ in range(2))
    step, start = graphed(recorded), copy.deepcopy(plain.state_dict())
    for seed in range(WARM_UP + 2):
        step(make_batch(seed=seed))
    recorded.load_state_dict(copy.deepcopy(start))
    for seed in range(WARM_UP + 3):
        assert same(step(make_batch(seed=seed)), plain.training_step(make_batch(seed=seed))), seed
