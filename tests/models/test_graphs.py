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

from models.graphs import WARM_UP, GraphedStep, choose_step
from util.errors import UsageError

EXTRAS = {"common_mask": True, "extend_colors": True, "lambda_joints": 300.0, "lr_decay": "linear", "total_steps": 10}
EXTRAS |= {"match_tone": True, "average_weights": True}


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


def graphed(model, **arguments) -> GraphedStep:
    model.device = torch.device("cuda")
    step = GraphedStep(model, **arguments)
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


OBSTACLES = {"fp16": {"amp": "fp16"}, "torchrun": {}, "--compile": {}, "--device cuda": {}}


@pytest.mark.parametrize(("word", "changes"), OBSTACLES.items())
def test_what_cannot_be_recorded_runs_as_it_is_or_is_refused(recordings, caplog, word, changes):
    caplog.set_level("INFO")
    model = build(None, "pixcyclegan4", **changes)
    if word != "--device cuda":
        model.device = torch.device("cuda")
    if word == "torchrun":
        model.callables = {name: torch.nn.Sequential(net) for name, net in model.networks.items()}
    arguments = {"compiled": word == "--compile"}
    assert choose_step(model, "off", **arguments) == choose_step(model, "auto", **arguments) == model.training_step
    assert [word in line for line in caplog.messages] == [True] * (word != "--device cuda")  # silent on a CPU
    with pytest.raises(UsageError, match=f"--cuda_graphs on.*{word}"):
        choose_step(model, "on", **arguments)


def test_a_recording_that_fails_is_given_up_with_one_line(recordings, caplog, monkeypatch):
    """As where memory runs out: CUDA then says only that something failed before."""

    @contextlib.contextmanager
    def capture(recording, **_):
        try:
            yield
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    def step(batch, plans=None):
        if plans is not None and batch is getattr(model.training_step, "inputs", None):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(batch, plans)

    monkeypatch.setattr(torch.cuda, "graph", capture)
    for required in (False, True):
        model, other = build(None, "pixcyclegan4"), build(None, "pixcyclegan4")
        plain, model.training_step = model.training_step, step
        model.training_step = graphed(model, required=required)
        for seed in range(WARM_UP):
            assert same(model.training_step(make_batch(seed=seed)), other.training_step(make_batch(seed=seed)))
        if required:
            with pytest.raises(UsageError, match="out of memory.*--cuda_graphs off.*--batch_size"):
                model.training_step(make_batch())
            return
        for seed in range(3):
            assert same(model.training_step(make_batch(seed=seed)), other.training_step(make_batch(seed=seed)))
        assert "out of memory" in caplog.text and len(caplog.messages) == 1


def test_batches_of_another_shape_are_refused(recordings):
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
