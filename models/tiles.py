"""Translating images that are too large for the memory, in overlapping tiles that are blended."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

WHOLE = 2048 * 2048  # pixels: an image of up to this size is translated as a whole
SIDE, OVERLAP = 1024, 128  # of a tile, pixels


def paint_in_tiles(
    paint: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    masks: Tensor,
    *,
    side: int = SIDE,
    overlap: int = OVERLAP,
) -> Tensor:
    """Images (N, 3, H, W) and masks (N, 1, H, W) -> images, painted tile by tile; tiles without a hand stay unchanged.

    Instance normalisation takes its statistics from one tile at a time. Neighbours overlap by at least `overlap`
    pixels, over which they are blended, so that their different tones leave no seam.
    """
    total = torch.zeros_like(images, device="cpu")
    weights = torch.zeros(images.shape[-2:])
    for rows, columns in tiles(*images.shape[-2:], side=side, overlap=overlap):
        tile, mask = images[..., rows, columns], masks[..., rows, columns]
        painted = paint(tile, mask) if mask.any() else tile
        weight = _ramp(tile.shape[-2], overlap)[:, None] * _ramp(tile.shape[-1], overlap)[None]
        total[..., rows, columns] += painted.float().cpu() * weight
        weights[rows, columns] += weight
    return total / weights


def tiles(height: int, width: int, *, side: int, overlap: int) -> Iterator[tuple[slice, slice]]:
    """Yield the (rows, columns) of evenly spaced tiles of one size that cover an image."""
    for top in _starts(height, side, overlap):
        for left in _starts(width, side, overlap):
            yield slice(top, min(height, top + side)), slice(left, min(width, left + side))


def _starts(length: int, side: int, overlap: int) -> list[int]:
    if length <= side:
        return [0]
    gaps = -(-(length - side) // (side - overlap))  # rounded up
    return [round(i * (length - side) / gaps) for i in range(gaps + 1)]


def _ramp(length: int, overlap: int) -> Tensor:
    """Weights (length,) that rise over `overlap` pixels at either end and are 1 between."""
    distance = torch.arange(length).minimum(torch.arange(length).flip(0)) + 1.0
    return (distance / (overlap + 1)).clamp(max=1.0)
