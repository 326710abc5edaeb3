"""Several processes of one run, started by torchrun. Every function also works with a single process."""

import contextlib
import logging
import os
import secrets
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from util.errors import STOP_SIGNALS, UsageError, first_lines

log = logging.getLogger(__name__)

START_TIMEOUT = timedelta(minutes=5)  # for all processes to come together
TIMEOUT = timedelta(hours=3)  # of any exchange: the others wait while rank 0 validates or downloads


class Place(NamedTuple):
    """This process among those of the run: its rank of world_size, and its rank among those of this machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1


def place() -> Place:
    """What torchrun set in the environment. A single process unless both RANK and WORLD_SIZE are set.

    Clusters export WORLD_SIZE alone for jobs of a single process. Raises UsageError for values that make no sense.
    """
    rank, world_size = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    if rank is None or world_size is None:
        return Place()
    if not (rank.isdecimal() and world_size.isdecimal() and int(rank) < int(world_size)):
        raise UsageError(f"RANK={rank} WORLD_SIZE={world_size} name no process; start with torchrun, or unset both")
    local_rank = os.environ.get("LOCAL_RANK", int(rank) % max(1, torch.cuda.device_count()))
    return Place(int(rank), int(world_size), int(local_rank), int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def start(here: Place, device: torch.device) -> None:
    """Join the others, if any, to train on `device`, torch's current one. Raises UsageError if they do not come."""
    if here.world_size == 1 or dist.is_initialized():
        return
    at = ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
    log.info("rank %d of %d waits for the others at %s", here.rank, here.world_size, at)
    # Python's handlers are not called within PyTorch's wait, so signals end the process as they are used to.
    handlers = {number: signal.signal(number, signal.SIG_DFL) for number in STOP_SIGNALS}
    try:
        store, *_ = next(dist.rendezvous("env://", here.rank, here.world_size, timeout=START_TIMEOUT))
    except (ValueError, dist.DistError) as error:
        failed = f"the processes of RANK={here.rank} and WORLD_SIZE={here.world_size} did not come together"
        way_out = "start all of them with torchrun, or unset RANK and WORLD_SIZE for a single process"
        raise UsageError(f"{failed} ({first_lines(error)}); {way_out}") from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    backend, device_id = ("nccl", device) if device.type == "cuda" else ("gloo", None)
    group = {"store": store, "rank": here.rank, "world_size": here.world_size}
    dist.init_process_group(backend, **group, timeout=TIMEOUT, device_id=device_id)


def check_shared(folder: Path) -> None:
    """Raise UsageError, on every rank, unless all see rank 0's folder. All must call it."""
    if not dist.is_initialized():
        return
    token = [secrets.token_hex(8)]
    dist.broadcast_object_list(token, device=_device())
    file = folder / f".seen-{token[0]}"  # a name that no machine can have cached
    if rank() == 0:
        file.touch()
    barrier()
    (unseen,) = any_rank(not file.exists())
    if rank() == 0:
        file.unlink()
    if unseen:
        said = f"not all processes see the run's folder {folder.resolve()} of rank 0"
        raise UsageError(f"{said}: machines that train together need a shared disk; give it with --checkpoints_dir")


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
    tensor = torch.tensor(list(values.values()), dtype=torch.float64, device=_device())
    return dict(zip(values, average(tensor).tolist()))


def gather(value: Any) -> list[Any] | None:
    """Every process's value, by rank, on rank 0; None on the others. All must call it."""
    if not dist.is_initialized():
        return [value]
    gathered = [None] * dist.get_world_size() if rank() == 0 else None
    dist.gather_object(value, gathered, dst=0)
    return gathered


def any_rank(*flags: bool) -> list[bool]:
    """For each flag, whether any process raises it. All must call it after the same step. With NCCL it waits for the GPU."""
    return largest(torch.tensor(flags, dtype=torch.uint8, device=_device())).bool().tolist()


def asks_after(step: int) -> bool:
    """Whether the loop calls any_rank after this step: with NCCL only after each tenth."""
    return _device().type == "cpu" or step % 10 == 0


def largest(value: torch.Tensor) -> torch.Tensor:
    """The elementwise largest of all processes' tensors; the host does not wait for it."""
    if dist.is_initialized():
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return value


def average(value: torch.Tensor) -> torch.Tensor:
    """The mean of all processes' tensors, in place; the host does not wait for it."""
    if dist.is_initialized():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value


def _device() -> torch.device:
    """Where tensors must be to be exchanged."""
    return torch.device("cuda" if dist.is_initialized() and dist.get_backend() == "nccl" else "cpu")
