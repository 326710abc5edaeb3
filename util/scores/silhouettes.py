"""SilNet's silhouettes: its validation, its pictures, and the scores of shape preservation."""

import logging
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from data.frames import DOMAINS, Domains
from data.hands import Hand
from data.masks.ops import iou
from data.regions import HandRegions, readable, same_sized_batches, stack
from models.translation import Translation
from util.drawing import mask_picture, sheet
from util.scores.shape import boundary_f

log = logging.getLogger(__name__)

Segment = Callable[[Tensor], Tensor]
"""Images (N, 3, H, W) in [-1, 1] -> the probability of hand, (N, 1, H, W)."""

VALIDATION_BATCH = 4


def silhouettes(segment: Segment, images: list[np.ndarray], device: torch.device) -> list[np.ndarray]:
    """The silhouettes, bool (H, W), that SilNet sees in uint8 images (H, W, 3) of one size."""
    batch, _ = stack([Hand(image, np.zeros(image.shape[:2], bool)) for image in images], device)
    return list((segment(batch)[:, 0] > 0.5).cpu().numpy())


def create_silnet_validation(
    segment: Segment, frames: Domains, *, background: str, device: torch.device, num_workers: int = 0
) -> Callable[[], tuple[dict[str, float], float]]:
    """A function () -> (iou_synthetic, iou_real, boundary_f_..., 1 - mean IoU, which is to be minimised).

    Means over the images, on the 256 regions on which translations are scored.
    """
    regions = {domain: HandRegions(part, background=background) for domain, part in frames.items()}

    def validate() -> tuple[dict[str, float], float]:
        scores: dict[str, float] = {}
        for domain in DOMAINS:
            batches = same_sized_batches(readable(regions[domain], num_workers=num_workers), VALIDATION_BATCH)
            pairs = [
                (silhouette, hand.mask)
                for _, hands in batches
                for silhouette, hand in zip(silhouettes(segment, [hand.image for hand in hands], device), hands)
            ]
            scores[f"iou_{domain}"] = float(np.mean([iou(*pair) for pair in pairs]))
            scores[f"boundary_f_{domain}"] = float(np.mean([boundary_f(*pair) for pair in pairs]))
        return scores, 1 - np.mean([scores[f"iou_{domain}"] for domain in DOMAINS]).item()

    return validate


def silhouette_grids(segment: Segment, hands: dict[str, list[Hand]], *, device: torch.device) -> dict[str, np.ndarray]:
    """{name: uint8 (H, W, 3) picture} for each domain: image | predicted silhouette | mask, one row a hand."""
    pictures = {}
    for domain in DOMAINS:
        rows = [
            [hand.image, *map(mask_picture, (*silhouettes(segment, [hand.image], device), hand.mask))]
            for hand in hands[domain]
        ]
        if rows:
            pictures[f"{domain}_silhouette_mask"] = sheet(rows, columns=(domain, "silhouette", "mask"))
    return pictures


class ShapeScores:
    """How well a generator keeps the hand's shape, gathered while hands are translated.

    SilNet's silhouette of the generator's output is compared with the source's mask before the output is composited by
    that mask, as a composite always has the right outline. SilNet's silhouette of the source itself gives the ceiling:
    what SilNet misses there is not the generator's fault. A source whose mask is the whole image has no silhouette; such
    sources are left out and counted.
    """

    def __init__(self, segment: Segment, device: torch.device) -> None:
        self.segment, self.device = segment, device
        # By the frame's place in its list: IoU and boundary F, and those of the source itself.
        self.rows: dict[int, list[float]] = {}
        self.without_mask = 0

    def watch(self, translations: Iterable[Translation]) -> Iterator[Translation]:
        """Yield the translations and measure each."""
        for each in translations:
            mask = each.source.mask
            if mask.all():
                self.without_mask += 1
            else:
                seen = silhouettes(self.segment, [each.unmasked, each.source.image], self.device)
                self.rows[each.index] = [measure(shape, mask) for shape in seen for measure in (iou, boundary_f)]
            yield each

    def means(self) -> tuple[dict, dict]:
        """metrics.json's `shape_iou` and `boundary_f`, means over the images, and SilNet's own for "baseline"."""
        if self.without_mask:
            log.warning("%d images have no mask; their shape is not scored", self.without_mask)
        if not self.rows:
            return {}, {}
        shape, edges, shape_ceiling, edges_ceiling = np.mean(list(self.rows.values()), axis=0).tolist()
        scores = {"shape_iou": shape, "boundary_f": edges, "n_shape": len(self.rows)}
        return scores, {"shape_iou": shape_ceiling, "boundary_f": edges_ceiling}
