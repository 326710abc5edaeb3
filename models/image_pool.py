"""The history of generated images that discriminators are shown (Shrivastava et al. 2017; CycleGAN's pool of 50)."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Trades:
    """The exchanges of a pool with a batch of N images, as tensors (N,) on its device.

    Where `old` is True, the pool returns the image in slot `stored`, elsewhere the batch's image number `own`. The batch's
    images are then written to `slots`; slot `size` is never read.
    """

    old: Tensor
    stored: Tensor
    own: Tensor
    slots: Tensor

    def to(self, device: torch.device) -> Trades:
        """The same on a device; copies to a GPU do not wait for it."""
        if device.type != "cuda":
            return self
        return Trades(*(x.pin_memory().to(device, non_blocking=True) for x in self._tensors()))

    def copy_(self, other: Trades) -> None:
        """Overwrite the tensors with those of another exchange of as many images."""
        for mine, new in zip(self._tensors(), other._tensors()):
            mine.copy_(new)

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.old, self.stored, self.own, self.slots


@dataclass(frozen=True)
class Exchange:
    """The exchanges of a step with both pools, of fakes of D_r's domain and of D_s's."""

    r: Trades
    s: Trades

    def copy_(self, other: Exchange) -> None:
        """Overwrite the tensors with those of another step."""
        self.r.copy_(other.r)
        self.s.copy_(other.s)


class ImagePool:
    """Holds up to `size` past images, detached; `query` exchanges new images for old ones with probability one half.

    A pool of size 0 returns the images that it is given. `plan` makes the choices on the host, ahead of the step, so that
    `query` is the same sequence of operators at every step and never waits for the device.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0  # slots in use
        self.images: Tensor | None = None  # (size + 1, C, H, W), from the first query on

    def plan(self, count: int, generator: random.Random) -> Trades:
        """Choose the exchanges of the next `count` images, as if they came one by one."""
        holders: dict[int, int] = {}  # {slot: number of this batch's image in it}
        old, stored, own = [False] * count, [0] * count, list(range(count))
        for i in range(count):
            if self.count < self.size:
                holders[self.count] = i
                self.count += 1
            elif self.size and generator.random() < 0.5:
                slot = generator.randrange(self.size)
                if slot in holders:
                    own[i] = holders[slot]
                else:
                    old[i], stored[i] = True, slot
                holders[slot] = i
        slots = [self.size] * count
        for slot, i in holders.items():
            slots[i] = slot
        return Trades(torch.tensor(old), torch.tensor(stored), torch.tensor(own), torch.tensor(slots))

    @torch.no_grad()
    def query(self, images: Tensor, trades: Trades) -> Tensor:
        """Exchange images (N, C, H, W). Returns images of the same shape, each a given or an older one, detached."""
        images = images.detach()
        if self.size == 0:
            return images
        if self.images is None:
            self.images = images.new_zeros(self.size + 1, *images.shape[1:])
        own = images if len(images) == 1 else images.index_select(0, trades.own)
        answers = torch.where(trades.old.view(-1, 1, 1, 1), self.images.index_select(0, trades.stored), own)
        self.images.index_copy_(0, trades.slots, images)
        return answers

    def state_dict(self) -> dict:
        """The stored images, (count, C, H, W), on the CPU."""
        return {"images": torch.empty(0) if self.images is None else self.images[: self.count].cpu()}

    def load_state_dict(self, state: dict, device: torch.device | str = "cpu") -> None:
        held = state["images"]
        self.count, self.images = len(held), None
        if self.count:
            self.images = held.new_zeros(self.size + 1, *held.shape[1:], device=device)
            self.images[: self.count] = held.to(device)
