"""Painting images that are too large for the memory in one piece: overlapping tiles, blended into each other."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

WHOLE = 2048 * 2048  # pixels: up to here an image is painted in one piece
SIDE, OVERLAP = 1024, 128  # of a tile, pixels


def paint_in_tiles(
    paint: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    masks: Tensor,
    *,
    side: int = SIDE,
    overlap: int = OVERLAP,
) -> Tensor:
    """Images (N, 3, H, W) and masks (N, 1, H, W) -> images, painted tile by tile; tiles without a hand stay as they are.

    Instance normalisation takes its statistics from one tile at a time. Neighbours share at least `overlap` pixels,
    over which one fades into the other, so that their different tones leave no seam.
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
    """(rows, columns) of tiles that cover an image, of one size, evenly spaced."""
    for top in _starts(height, side, overlap):
        for left in _starts(width, side, overlap):
            yield slice(top, min(height, top + side)), slice(left, min(width, left + side))


def _starts(length: int, side: int, overlap: int) -> list[int]:
    if length <= side:
        return [0]
    gaps = -(-(length - side) // (side - overlap))  # rounded up
    return [round(i * (length - side) / gaps) for i in range(gaps + 1)]


def _ramp(length: int, overlap: int) -> Tensor:
    """Weights (length,): rising over `overlap` pixels at either end, 1 between."""
    distance = torch.arange(length).minimum(torch.arange(length).flip(0)) + 1.0
    return (distance / (overlap + 1)).clamp(max=1.0)
