"""Batches: endless streams from worker processes, that start at any step; or a data set once, in order, by threads."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, islice
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data.unpaired import collate
from util.errors import RunError, go_on
from util.files import printable
from util.workers import POLL, STALLED, before_workers, end_workers, in_threads, start_worker, worker_context


def stream_loader(
    dataset: Dataset,
    batch_size: int,
    *,
    num_workers: int,
    start_step: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader:
    """A loader of endless batches of a dataset whose samples are a pure function of their number.

    Step t of all ranks together takes the samples t * B * R to (t + 1) * B * R - 1, for B samples a batch and R ranks,
    of which this rank takes every R-th.
    """

    def samples(k: int) -> range:
        first = (start_step + k) * batch_size * world_size
        return range(first + rank, first + batch_size * world_size, world_size)

    return Loader(dataset, samples, num_workers=num_workers)


def ordered_items(dataset: Dataset, *, num_workers: int) -> Iterator[Any]:
    """The dataset's items, once, in order, read by threads. `dataset.files(k)` names what item k is read from."""
    return in_threads(
        dataset.__getitem__,
        range(len(dataset)),
        count=num_workers,
        name=lambda k: ", ".join(map(printable, dataset.files(k))),
    )


def ordered_batches(dataset: Dataset, batch_size: int, *, num_workers: int) -> Iterator[dict]:
    """The whole dataset, once, in order, read by threads."""
    samples = ordered_items(dataset, num_workers=num_workers)
    while batch := list(islice(samples, batch_size)):
        yield collate(batch)


class Loader(DataLoader):
    """A DataLoader of endless batches whose tensors come from the workers as arrays, through pipes rather than shared
    memory.

    samples: k -> the numbers of the samples in batch k. A worker that gives nothing for STALLED seconds is an error. The
    dataset's `files(k)`, if it has that, names what sample k is read from.
    """

    def __init__(self, dataset: Dataset, samples: Callable[[int], range], *, num_workers: int) -> None:
        self.samples = samples
        before_workers(num_workers)
        super().__init__(
            dataset,
            batch_sampler=map(samples, count()),
            num_workers=num_workers,
            collate_fn=collate_arrays,
            worker_init_fn=start_worker,
            multiprocessing_context=worker_context() if num_workers else None,
            timeout=POLL if num_workers else 0,
            prefetch_factor=4 if num_workers else None,
            # Making an iterator draws a seed, which must not come from the global state.
            generator=torch.Generator().manual_seed(0),
        )

    def __iter__(self) -> Iterator[dict]:
        batches = super().__iter__()
        if self.num_workers:
            parts = (batches._workers, batches._workers_done_event, batches._worker_result_queue)
            threading.Thread(target=_watch, args=parts, daemon=True).start()
        for k in count():
            yield _convert(self._wait_for(batches, k), np.ndarray, torch.from_numpy)

    def _wait_for(self, batches: Iterator[dict], k: int) -> dict:
        """Batch k, the next one. Raises RunError if it does not come."""
        for _ in range(max(1, STALLED // POLL)):  # counted, not timed: a process may be stopped for hours and go on
            try:
                return next(batches)
            except RuntimeError as error:
                if "DataLoader timed out" not in str(error):
                    raise
        end_workers()
        read = getattr(self.dataset, "files", lambda sample: [f"sample {sample}"])
        names = [printable(file) for sample in self.samples(k) for file in read(sample)]
        raise RunError(
            f"no images have come for {STALLED} s: reader process {k % self.num_workers} of {self.num_workers} hangs at "
            f"{', '.join(names[:4])}{' ...' if len(names) > 4 else ''}; see whether these files and their disk can be "
            f"read, or pass --num_workers 0; {go_on()}"
        ) from None


def _watch(workers: list[BaseProcess], done: Event, results: Queue) -> None:
    """Make the loss of a worker an error at once. One that is killed while it writes leaves a part of a batch in the pipe,
    and a lock held; the main process would wait for the rest for ever, in a read that no time limit of DataLoader ends.
    Here the pipe is closed at all of its other ends, so that the read returns and DataLoader looks after its workers.
    """
    wait([worker.sentinel for worker in workers])
    if not done.is_set():
        for worker in workers:
            worker.kill()
        results._writer.close()


def collate_arrays(samples: list[dict]) -> dict:
    """Joins samples to a batch, and turns its tensors into arrays."""
    return _convert(collate(samples), Tensor, Tensor.numpy)


def _convert(batch: dict, kind: type, convert: Callable) -> dict:
    return {key: convert(value) if isinstance(value, kind) else value for key, value in batch.items()}


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
            if isinstance(value, Tensor):
                value.record_stream(computing)  # or its memory might be given to a later copy too early
        yield batch


def to_device(batch: dict, device: torch.device) -> dict:
    """A batch with its tensors on the device; to CUDA they go by pinned memory, and nothing waits."""
    return _convert(batch, Tensor, partial(_move, device=device))


def _move(value: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda" and value.device.type == "cpu":
        return value.pin_memory().to(device, non_blocking=True)
    return value.to(device)
