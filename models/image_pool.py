"""The history of generated images that discriminators are shown (Shrivastava et al. 2017; CycleGAN's pool of 50)."""

import random

import torch
from torch import Tensor


class ImagePool:
    """Holds up to `size` past images, detached; `query` trades new images for old ones with probability one half.

    size 0 hands every image straight back. The pool has a random state of its own, so that a resumed run trades the
    same images.
    """

    def __init__(self, size: int, *, seed: int = 0) -> None:
        if size < 0:
            raise ValueError(f"a pool holds 0 or more images, got {size}")
        self.size = size
        self.images: list[Tensor] = []
        self._random = random.Random(seed)

    def query(self, images: Tensor) -> Tensor:
        """images (N, C, H, W) -> as many of the same shape, each either the one given or an older one.

        Where all are the ones given, it returns `images` itself (detached).
        """
        if images.requires_grad:
            images = images.detach()
        if self.size == 0:
            return images
        chosen, old = [], False
        for image in images:
            if len(self.images) < self.size:
                self.images.append(image.clone())  # clone: a slice would keep the whole batch's storage alive
                chosen.append(image)
            elif self._random.random() < 0.5:
                slot = self._random.randrange(self.size)
                chosen.append(self.images[slot])
                self.images[slot] = image.clone()
                old = True
            else:
                chosen.append(image)
        return torch.stack(chosen) if old else images

    def state_dict(self) -> dict:
        version, internal, gauss = self._random.getstate()
        images = torch.stack(self.images).cpu() if self.images else torch.empty(0)
        return {"images": images, "random": [version, list(internal), gauss]}

    def load_state_dict(self, state: dict, device: torch.device | str = "cpu") -> None:
        version, internal, gauss = state["random"]
        self._random.setstate((version, tuple(internal), gauss))
        self.images = [image.clone() for image in state["images"].to(device)]
