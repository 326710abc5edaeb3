"""The operators that a step calls: the kernels that a GPU launches for it, their shapes, and the bytes they read and write."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.networks.fast_cpu import as_on_gpus

# Operators that launch no kernel.
FREE = (
    "_unsafe_view",
    "detach",
    "alias",
    "empty",
    "new_empty",
    "empty_like",
    "empty_strided",
    "promote_types",
    "lift_fresh",
)


@dataclass(frozen=True)
class Operator:
    """A call of an operator: its name, the shapes of its tensors, and the bytes that these hold."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    bytes: int


class OperatorLog(TorchDispatchMode):
    """A context in which every operator that launches a kernel is recorded in `calls`."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Operator] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        namespace, name = func.name().split("::")
        if namespace != "profiler" and not func.is_view and name.split(".")[0] not in FREE:
            tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
            shapes = tuple(tuple(x.shape) for x in tensors)
            self.calls.append(Operator(name, shapes, sum(x.nbytes for x in tensors)))
        return result


def operators(step: Callable[[], object]) -> list[Operator]:
    """The operators of one call of `step`, in order, as they would be on a GPU."""
    with as_on_gpus(), OperatorLog() as log:
        step()
    return log.calls
