"""Batches: endless streams from worker processes, that start at any step; or a data set once, in order, by threads."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, islice

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from util.workers import in_processes, in_threads


def stream_loader(
    dataset: Dataset, batch_size: int, *, num_workers: int, start_step: int = 0, rank: int = 0, world_size: int = 1
) -> Iterator[dict]:
    """Endless batches of a dataset whose samples are a pure function of their number, from worker processes.

    Step t of all ranks together takes the samples t * B * R to (t + 1) * B * R - 1, for B samples a batch and R ranks,
    of which this rank takes every R-th.
    """
    step = batch_size * world_size
    batches = ((range(t * step + rank, (t + 1) * step, world_size),) for t in count(start_step))
    read = in_processes(partial(_read, dataset), batches, count=num_workers)
    return (_with_values(batch, np.ndarray, torch.from_numpy) for batch in read)


def _read(dataset: Dataset, samples: range) -> dict:
    """A batch whose tensors are arrays: processes send tensors by shared memory, of which Docker has little."""
    return _with_values(collate([dataset[k] for k in samples]), Tensor, Tensor.numpy)


def collate(samples: list[dict]) -> dict:
    """Stack the tensors of samples along a new first dimension; all else becomes lists."""
    lists = {key: [sample[key] for sample in samples] for key in samples[0]}
    return {key: torch.stack(values) if isinstance(values[0], Tensor) else values for key, values in lists.items()}


def ordered_batches(dataset: Dataset, batch_size: int, *, num_workers: int) -> Iterator[dict]:
    """The whole dataset, once, in order, read by threads."""
    samples = in_threads(dataset.__getitem__, range(len(dataset)), count=num_workers)
    while batch := list(islice(samples, batch_size)):
        yield collate(batch)


def _with_values(batch: dict, kind: type, convert: Callable) -> dict:
    return {key: convert(value) if isinstance(value, kind) else value for key, value in batch.items()}


def to_device(batch: dict, device: torch.device) -> dict:
    """A batch with its tensors on the device; to CUDA they go by pinned memory, and nothing waits."""
    cuda = device.type == "cuda"
    return _with_values(batch, Tensor, lambda each: (each.pin_memory() if cuda else each).to(device, non_blocking=cuda))
