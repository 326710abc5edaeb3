"""Every random choice of a training step, drawn before it begins.

So the step itself is the same sequence of operators every time, which a CUDA graph can record, and a run draws the same
whatever device it is on, wherever it was interrupted, and however a batch is split.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from models.image_pool import ImagePool, Trades

T = TypeVar("T")

SEEN_BY_GENERATORS = 6  # images a pair of hands: two fakes, two cycles, two identities
SEEN_BY_DISCRIMINATORS = 6  # two fakes in the generators' step; two fakes and two real ones in the discriminators'


@dataclass(frozen=True)
class Shifts:
    """Where each row and column of a shifted image comes from: int64 (N, K, H) and (N, K, W), for K images a pair."""

    rows: Tensor
    columns: Tensor

    def of(self, start: int, stop: int) -> Shifts:
        """Those of images start to stop - 1 of every pair, one image's batch after another's: (K N, H), (K N, W)."""
        rows, columns = (x[:, start:stop].transpose(0, 1).flatten(0, 1) for x in (self.rows, self.columns))
        return Shifts(rows, columns)


@dataclass(frozen=True)
class Chances:
    """The choices of a step on N pairs of hands.

    noise: (N, 6, 3, H, W), standard normal, one for each image that a generator is given; None without noise. shifts: of
    what discriminators are shown, or None. pool_r, pool_s: what the pools trade.
    """

    noise: Tensor | None
    shifts: Shifts | None
    pool_r: Trades
    pool_s: Trades


def draw_chances(
    images: Tensor, *, noise: bool, d_shift: int, pools: tuple[ImagePool, ImagePool], seed: tuple[int, ...]
) -> Chances:
    """Draw for a step on images like these, (N, 3, H, W). seed: of the run, the rank, and the step.

    Noise is drawn on the images' device. Pools count what they will hold.
    """
    noise_seed, host_seed = (int(x) for x in np.random.SeedSequence(seed).generate_state(2, np.uint64))
    count, (height, width) = len(images), images.shape[-2:]
    host, chance = np.random.default_rng(host_seed), random.Random(host_seed)
    drawn = None
    if noise:
        generator = torch.Generator(images.device).manual_seed(noise_seed % 2**63)
        shape = (count, SEEN_BY_GENERATORS, 3, height, width)
        drawn = torch.randn(shape, generator=generator, device=images.device, dtype=images.dtype)
    shifts = None
    if d_shift:
        starts = host.integers(-d_shift, d_shift, (count, SEEN_BY_DISCRIMINATORS, 2, 1), endpoint=True)
        # Past the border, its pixels are repeated.
        rows, columns = (
            torch.from_numpy((starts[:, :, axis] + np.arange(side)).clip(0, side - 1))
            for axis, side in enumerate((height, width))
        )
        shifts = Shifts(rows, columns)
    trades = [pool.plan(count, chance) for pool in pools]
    return _each_tensor(lambda x: _to_device(x, images.device), Chances(drawn, shifts, *trades))


def split_chances(chances: Chances, sizes: list[int]) -> list[Chances]:
    """Those of each part of a batch. Pools trade for the whole batch at once, and keep their trades."""
    noises = chances.noise.split(sizes) if chances.noise is not None else [None] * len(sizes)
    shifts = [None] * len(sizes)
    if chances.shifts is not None:
        shifts = [Shifts(*pair) for pair in zip(chances.shifts.rows.split(sizes), chances.shifts.columns.split(sizes))]
    return [Chances(noise, shift, chances.pool_r, chances.pool_s) for noise, shift in zip(noises, shifts)]


def copy_chances(target: Chances, source: Chances) -> None:
    """Overwrite the tensors of `target` by those of `source`, of the same shapes."""
    tensors: list[list[Tensor]] = [[], []]
    for chances, found in zip((target, source), tensors):
        _each_tensor(lambda x, found=found: found.append(x) or x, chances)
    for mine, its in zip(*tensors, strict=True):
        mine.copy_(its)


def _each_tensor(change: Callable[[Tensor], Tensor], value: T) -> T:
    """A dataclass of dataclasses with `change` applied to every tensor in it."""
    if isinstance(value, Tensor):
        return change(value)
    if is_dataclass(value):
        return type(value)(**{field.name: _each_tensor(change, getattr(value, field.name)) for field in fields(value)})
    return value


def _to_device(x: Tensor, device: torch.device) -> Tensor:
    if x.device == device or device.type != "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)
