"""Several processes of one run, started by torchrun; every function also works with a single process.

Two groups of the same processes: gradients are averaged over the default one (NCCL on GPUs, gloo on CPUs). All that the
host decides or waits for (barriers, logged means, whether to stop) goes over a second one, gloo on the CPU, which
has a long timeout: rank 0 may validate or download for longer than NCCL's watchdog allows.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from util.errors import UsageError, first_lines

START_TIMEOUT = timedelta(minutes=2)  # for all processes to come together
STEP_TIMEOUT = timedelta(minutes=30)  # for one gradient; after that a rank hangs
HOST_TIMEOUT = timedelta(days=2)  # for rank 0's validation or download

_host: dist.ProcessGroup | None = None  # the second group


@dataclass(frozen=True)
class Place:
    """This process among those of the run: its rank of world_size, and its rank among those of this machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1


def place() -> Place:
    """What torchrun set in the environment. A single process unless both RANK and WORLD_SIZE are there.

    Clusters export WORLD_SIZE alone for jobs that are a single process. Raises UsageError for values that are no counts.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return Place()
    rank, world_size = _count("RANK", 0), _count("WORLD_SIZE", 1)
    local_world_size = _count("LOCAL_WORLD_SIZE", 1) if "LOCAL_WORLD_SIZE" in os.environ else 1
    local_rank = _count("LOCAL_RANK", 0) if "LOCAL_RANK" in os.environ else rank % max(1, torch.cuda.device_count())
    if rank >= world_size:
        raise UsageError(
            f"RANK={rank} of WORLD_SIZE={world_size} in the environment; start with torchrun, or unset RANK"
        )
    return Place(rank, world_size, local_rank, local_world_size)


def _count(name: str, least: int) -> int:
    text = os.environ[name]
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise UsageError(
            f"{name}={text!r} in the environment is no count of processes; start with torchrun, or unset it"
        )
    return int(text)


def start(here: Place, device: torch.device) -> None:
    """Join the other processes, if there are any. device: where this one trains; it must be torch's current device.

    Raises UsageError where the others do not come.
    """
    global _host
    if here.world_size == 1 or dist.is_initialized():
        return
    where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    remedy = "start all of them with torchrun, or unset RANK and WORLD_SIZE for a single process"
    try:
        store, *_ = next(dist.rendezvous("env://", here.rank, here.world_size, timeout=START_TIMEOUT))
    except (ValueError, dist.DistError) as error:
        raise UsageError(
            f"RANK={here.rank} and WORLD_SIZE={here.world_size} say that {here.world_size} processes train together, and "
            f"they did not come together at {where} ({first_lines(error)}); {remedy}"
        ) from error
    on_gpu = device.type == "cuda"
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=store,
        rank=here.rank,
        world_size=here.world_size,
        timeout=STEP_TIMEOUT,
        device_id=device if on_gpu else None,
    )
    _host = dist.new_group(backend="gloo", timeout=HOST_TIMEOUT)


def finish() -> None:
    """Leave the process groups, if there are any."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number; 0 logs and saves."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def barrier() -> None:
    """Wait for all processes, however long one of them takes."""
    if dist.is_initialized():
        dist.barrier(group=_host)


@contextlib.contextmanager
def rank_0_first() -> Iterator[None]:
    """Rank 0 runs the block first, the others after it, so that they find what it downloaded."""
    if rank() > 0:
        barrier()
    yield
    if rank() == 0:
        barrier()


def mean(values: dict[str, float]) -> dict[str, float]:
    """The values, under the same names on every process, averaged over all."""
    if not dist.is_initialized():
        return values
    total = torch.tensor(list(values.values()), dtype=torch.float64)
    dist.all_reduce(total, group=_host)
    return dict(zip(values, (total / dist.get_world_size()).tolist()))


def gather(value: Any) -> list[Any] | None:
    """Every process's value, by rank, on rank 0; None on the others. All must call it."""
    if not dist.is_initialized():
        return [value]
    gathered = [None] * dist.get_world_size() if rank() == 0 else None
    dist.gather_object(value, gathered, dst=0, group=_host)
    return gathered


class Agreement:
    """Flags that any process may raise, and that all see at the same step.

    Processes exchange them in the background, so that no step waits: with several processes, `exchange` returns what
    was raised up to the previous call.
    """

    def __init__(self) -> None:
        self._under_way: tuple[dist.Work, torch.Tensor] | None = None

    def exchange(self, *flags: bool, at_once: bool = False) -> list[bool]:
        """Raise flags, and return for each whether any process has raised it. All must call it alike.

        at_once: wait for what the others raise in this very call.
        """
        if not dist.is_initialized():
            return list(flags)
        raised = torch.zeros(len(flags), dtype=torch.uint8)
        if self._under_way:
            work, raised = self._under_way
            work.wait()
        sent = torch.tensor(flags, dtype=torch.uint8)
        work = dist.all_reduce(sent, op=dist.ReduceOp.MAX, group=_host, async_op=True)
        self._under_way = (work, sent)
        if at_once:
            work.wait()
            raised, self._under_way = torch.maximum(raised, sent), None
        return raised.bool().tolist()


def largest(value: torch.Tensor) -> torch.Tensor:
    """The elementwise largest of all processes' tensors, without waiting for it on the host."""
    if dist.is_initialized():
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return value
