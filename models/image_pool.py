"""The history of generated images that discriminators are shown (Shrivastava et al. 2017; CycleGAN's pool of 50)."""

import random

import torch
from torch import Tensor


class ImagePool:
    """Holds up to `size` past images, detached; `query` exchanges new images for old ones with probability one half.

    A pool of size 0 returns the new ones. `plan` chooses on the host, ahead of the step, so that `query` is the same sequence
    of operators at every step and never waits for the device.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0  # slots in use
        self.images: Tensor | None = None  # (size + 1, C, H, W), from the first query on

    def plan(self, count: int, generator: random.Random) -> Tensor:
        """Choose the exchanges of the next `count` images, as if they came one by one.

        Returns int64 (3, count), for each image: the slot to return, or `size` to return one of the batch; which one of the
        batch that is; the slot that the image is written to, or `size`, a spare one that is never returned.
        """
        holders: dict[int, int] = {}  # {slot: number of this batch's image in it}
        stored, own = [self.size] * count, list(range(count))
        for i in range(count):
            if self.count < self.size:
                holders[self.count] = i
                self.count += 1
            elif self.size and generator.random() < 0.5:
                slot = generator.randrange(self.size)
                if slot in holders:
                    own[i] = holders[slot]
                else:
                    stored[i] = slot
                holders[slot] = i
        slots = [self.size] * count
        for slot, i in holders.items():
            slots[i] = slot
        return torch.tensor([stored, own, slots])

    @torch.no_grad()
    def query(self, images: Tensor, plan: Tensor) -> Tensor:
        """Exchange images (N, C, H, W) by a plan on their device: returns as many, each a given or an older one, detached."""
        images = images.detach()
        if self.size == 0:
            return images
        if self.images is None:
            self.images = images.new_zeros(self.size + 1, *images.shape[1:])
        stored, own, slots = plan
        given = images if len(images) == 1 else images.index_select(0, own)
        held = self.images.index_select(0, stored)
        answers = torch.where((stored < self.size).view(-1, 1, 1, 1), held, given)
        self.images.index_copy_(0, slots, images)
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


def finite_or_white(images: Tensor) -> Tensor:
    """Replace each of the images (N, C, H, W) that holds a value that is not finite by a white one: a pool would keep it."""
    finite = torch.isfinite(images).flatten(1).all(1)
    return torch.where(finite.view(-1, 1, 1, 1), images, 1.0)
