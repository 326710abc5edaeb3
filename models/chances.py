"""Every random choice of a training step, drawn before it begins.

The step itself is then the same sequence of operators every time, which a CUDA graph can record. The draws do not depend on
where a run was interrupted or on how a batch is split.
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


@dataclass(frozen=True)
class Chances:
    """The choices of a step on N pairs of hands.

    noise: (N, 6, 3, H, W), standard normal, for the images that generators are given; None without noise. pool_r, pool_s: exchanges of the two image pools.
    """

    noise: Tensor | None
    pool_r: Trades
    pool_s: Trades


def draw_chances(images: Tensor, *, noise: bool, pools: tuple[ImagePool, ImagePool], seed: tuple[int, ...]) -> Chances:
    """Draw the choices of a step on images like these, (N, 3, H, W). seed: of the run, the rank, and the step.

    Noise is drawn on the images' device. The pools' counts are advanced.
    """
    noise_seed, host_seed = (int(x) for x in np.random.SeedSequence(seed).generate_state(2, np.uint64))
    count, (height, width) = len(images), images.shape[-2:]
    pool_random = random.Random(host_seed)
    noises = None
    if noise:
        noise_generator = torch.Generator(images.device).manual_seed(noise_seed % 2**63)
        shape = (count, SEEN_BY_GENERATORS, 3, height, width)
        noises = torch.randn(shape, generator=noise_generator, device=images.device, dtype=images.dtype)
    trades = [pool.plan(count, pool_random) for pool in pools]
    return _each_tensor(lambda x: _to_device(x, images.device), Chances(noises, *trades))


def split_chances(chances: Chances, sizes: list[int]) -> list[Chances]:
    """The choices for each part of a batch of these sizes. The pools' exchanges stay those of the whole batch."""
    noises = chances.noise.split(sizes) if chances.noise is not None else [None] * len(sizes)
    return [Chances(noise, chances.pool_r, chances.pool_s) for noise in noises]


def copy_chances(target: Chances, source: Chances) -> None:
    """Overwrite the tensors of `target` with those of `source`, of the same shapes."""
    for to, new in zip(_tensors(target), _tensors(source), strict=True):
        to.copy_(new)


def _tensors(value: object) -> list[Tensor]:
    """The tensors in a dataclass of dataclasses, in order."""
    if isinstance(value, Tensor):
        return [value]
    return [x for field in fields(value) for x in _tensors(getattr(value, field.name))] if is_dataclass(value) else []


def _each_tensor(change: Callable[[Tensor], Tensor], value: T) -> T:
    """Copy a dataclass of dataclasses, with `change` applied to every tensor in it."""
    if isinstance(value, Tensor):
        return change(value)
    if is_dataclass(value):
        return type(value)(**{field.name: _each_tensor(change, getattr(value, field.name)) for field in fields(value)})
    return value


def _to_device(x: Tensor, device: torch.device) -> Tensor:
    if x.device == device or device.type != "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)
