"""Medians of times that are taken in turns, so that a busy machine slows all alike."""

import statistics
import time
from collections.abc import Callable

import torch


def alternate(
    subjects: dict[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, tuple[float, float]]:
    """Run each in turn, `rounds` times. Returns the median seconds of each, by the clock and of the processors."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, step in subjects.items():
            wait(device)
            clock, processor = time.perf_counter(), time.process_time()
            step()
            wait(device)
            seconds[name].append((time.perf_counter() - clock, time.process_time() - processor))
    return {name: tuple(statistics.median(column) for column in zip(*times)) for name, times in seconds.items()}


def wait(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
