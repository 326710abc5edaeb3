"""Several processes of one run, started by torchrun; every helper also works without."""

import os

import torch
import torch.distributed as dist


def start() -> tuple[int, int, int]:
    """Join the process group that torchrun set up, if any. Returns (rank, world size, local rank)."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        return 0, 1, 0
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return dist.get_rank(), world_size, int(os.environ.get("LOCAL_RANK", "0"))


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


def mean(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """The values, under the same names on every process, averaged over all."""
    if not dist.is_initialized():
        return values
    total = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return dict(zip(values, (total / dist.get_world_size()).tolist()))


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set on any process."""
    if not dist.is_initialized():
        return flag
    value = torch.tensor(float(flag), device=device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value.item())


def largest(value: torch.Tensor) -> torch.Tensor:
    """The elementwise largest of all processes' tensors, without waiting for it on the host."""
    if dist.is_initialized():
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return value
