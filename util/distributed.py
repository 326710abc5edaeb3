"""Several processes of one run, started by torchrun. Every function also works with a single process."""

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
TIMEOUT = timedelta(hours=3)  # of any exchange: the others wait while rank 0 validates or downloads


@dataclass(frozen=True)
class Place:
    """This process among those of the run: its rank of world_size, and its rank among those of this machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1


def place() -> Place:
    """What torchrun set in the environment. A single process unless both RANK and WORLD_SIZE are set.

    Clusters export WORLD_SIZE alone for jobs of a single process. Raises UsageError for values that make no sense.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return Place()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    said = " ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)
    try:
        rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local_rank = int(os.environ.get("LOCAL_RANK", rank % max(1, torch.cuda.device_count())))
        here = Place(rank, world_size, local_rank, int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
        valid = 0 <= rank < world_size and local_rank >= 0 and here.local_world_size > 0
    except ValueError:
        valid = False
    if not valid:
        raise UsageError(
            f"{said} in the environment do not name a process; start with torchrun, or unset RANK and WORLD_SIZE"
        )
    return here


def start(here: Place, device: torch.device) -> None:
    """Join the other processes, if there are any. device: where this one trains; it must be torch's current device.

    Raises UsageError if the others do not come.
    """
    if here.world_size == 1 or dist.is_initialized():
        return
    try:
        store, *_ = next(dist.rendezvous("env://", here.rank, here.world_size, timeout=START_TIMEOUT))
    except (ValueError, dist.DistError) as error:
        raise UsageError(
            f"RANK={here.rank} and WORLD_SIZE={here.world_size} say that {here.world_size} processes train together, and they "
            f"did not come together at {os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')} "
            f"({first_lines(error)}); start all of them with torchrun, or unset RANK and WORLD_SIZE for a single process"
        ) from error
    on_gpu = device.type == "cuda"
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=store,
        rank=here.rank,
        world_size=here.world_size,
        timeout=TIMEOUT,
        device_id=device if on_gpu else None,
    )


def finish() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number; 0 logs and saves."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def barrier() -> None:
    """Wait for all processes."""
    if dist.is_initialized():
        dist.barrier()


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
    total = torch.tensor(list(values.values()), dtype=torch.float64, device=_device())
    dist.all_reduce(total)
    return dict(zip(values, (total / dist.get_world_size()).tolist()))


def gather(value: Any) -> list[Any] | None:
    """Every process's value, by rank, on rank 0; None on the others. All must call it."""
    if not dist.is_initialized():
        return [value]
    gathered = [None] * dist.get_world_size() if rank() == 0 else None
    dist.gather_object(value, gathered, dst=0)
    return gathered


def any_rank(*flags: bool) -> list[bool]:
    """For each flag, whether any process raises it. All must call it after the same step; on GPUs it waits for the device."""
    if not dist.is_initialized():
        return list(flags)
    return largest(torch.tensor(flags, dtype=torch.uint8, device=_device())).bool().tolist()


def asks_after(step: int) -> bool:
    """Whether the loop calls any_rank after this step: with NCCL only after each tenth, as it waits for the device."""
    return not dist.is_initialized() or dist.get_backend() != "nccl" or step % 10 == 0


def largest(value: torch.Tensor) -> torch.Tensor:
    """The elementwise largest of all processes' tensors; the host does not wait for it."""
    if dist.is_initialized():
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return value


def _device() -> torch.device:
    """Where tensors must be to be exchanged."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
