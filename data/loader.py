"""DataLoaders over endless streams that start at any step."""

import signal
from collections.abc import Iterator

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from data.unpaired import collate


class StreamSampler(Sampler[list[int]]):
    """Batches of sample numbers from `start_step` on, without end.

    Step t of all ranks together takes the samples t * B * R to (t + 1) * B * R - 1, for B samples a batch and R ranks,
    of which this rank takes every R-th.
    """

    def __init__(self, batch_size: int, *, start_step: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self.batch_size, self.start_step, self.rank, self.world_size = batch_size, start_step, rank, world_size

    def __iter__(self) -> Iterator[list[int]]:
        step = self.start_step
        while True:
            first = step * self.batch_size * self.world_size
            yield list(range(first + self.rank, first + self.batch_size * self.world_size, self.world_size))
            step += 1


def stream_loader(
    dataset: Dataset,
    batch_size: int,
    *,
    num_workers: int,
    device: torch.device,
    start_step: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader:
    """A loader of endless batches of a dataset whose samples are a pure function of their number."""
    before_fork()
    return DataLoader(
        dataset,
        batch_sampler=StreamSampler(batch_size, start_step=start_step, rank=rank, world_size=world_size),
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        worker_init_fn=start_worker,
        prefetch_factor=4 if num_workers else None,
        # Making an iterator draws a seed; from the global state, a resumed run's dropout would differ from here on.
        generator=torch.Generator().manual_seed(0),
    )


def before_fork() -> None:
    """Call it before workers are forked: OpenCV's threads do not survive a fork, and a worker that counts on them hangs.

    One thread a process is also what a pool of processes wants.
    """
    cv2.setNumThreads(1)


def start_worker(_: int) -> None:
    """Stopping workers is the main process's business."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a cluster signals every process of the job
        signal.signal(number, signal.SIG_IGN)


def on_device(batches: Iterator[dict], device: torch.device) -> Iterator[dict]:
    """The batches with their tensors on the device; on CUDA each is copied, by a stream of its own, while the device is
    still at work on the one before."""
    if device.type != "cuda":
        yield from (to_device(batch, device) for batch in batches)
        return
    copying = torch.cuda.Stream(device)
    for batch in batches:
        with torch.cuda.stream(copying):
            batch = to_device(batch, device)
        computing = torch.cuda.current_stream(device)
        computing.wait_stream(copying)
        for value in batch.values():
            if isinstance(value, torch.Tensor):
                value.record_stream(computing)  # or its memory might be given to a later copy too early
        yield batch


def to_device(batch: dict, device: torch.device) -> dict:
    """Move a batch's tensors, without waiting where they are pinned."""
    return {
        key: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for key, value in batch.items()
    }
