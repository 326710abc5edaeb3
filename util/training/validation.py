"""Validation during training: how far translated hands are from real ones (paper section IV.A)."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from data.frames import Domains
from data.joints import region_depth
from data.regions import HandRegions, readable
from models.features.registry import FeatureNet
from models.hgan import HGAN
from models.translation import translator_of
from util.scores.appearance import hand_scale
from util.scores.distances import frechet_distance
from util.scores.features import extract_features
from util.scores.metrics import Figures, View, best_score, entries, flat_entries, measure
from util.scores.structure import SourceEdges


def create_validation(
    model: HGAN,
    frames: Domains,
    net: FeatureNet,
    *,
    background: str,
    crop: int,
    crop_to_hand: bool,
    best_by: str,
    cache_dir: Path,
    num_workers: int = 0,
) -> Callable[[], tuple[dict[str, float], float]]:
    """A function () -> (scores to log, the one that chooses best.pt): translated against real hands on `crop` pixel
    regions.

    The scores: "fid" or "fd"; those of util.scores.metrics; and "score", both in one (best_score).
    Lower is better of "score", and of the distance, which chooses instead if best_by is "distance". The real side is
    read once; its features are kept in `cache_dir`, keyed by content and network. num_workers: threads that read the
    images.
    """
    regions = {domain: HandRegions(part, crop=crop, background=background) for domain, part in frames.items()}
    hands = [hand for _, hand in readable(regions["real"], num_workers=num_workers)]
    real = extract_features([hand.image for hand in hands], net, cache_dir=cache_dir, progress="real features")
    sources = (hand.mask for _, hand in readable(regions["synthetic"], num_workers=num_workers))
    scale = hand_scale([*(hand.mask for hand in hands), *sources])
    photographs = [measure(View(hand.image, hand.mask, scale)) for hand in hands]
    translator = translator_of(model, crop_to_hand=crop_to_hand)

    def translated(figures: list[Figures]) -> Iterator[np.ndarray]:
        for each in translator.stream(regions["synthetic"], num_workers=num_workers):
            depth = region_depth(frames["synthetic"][each.index].image, each.source.mask)
            edges = SourceEdges(each.source.image, each.source.mask, depth, scale=scale)
            figures.append(measure(View(each.image, each.source.mask, scale, edges)))
            yield each.image

    def validate() -> tuple[dict[str, float], float]:
        figures: list[Figures] = []
        distance = frechet_distance(real, extract_features(translated(figures), net))
        pooled = entries(figures, photographs)
        score = best_score(distance, pooled)
        return {net.metric: distance, "score": score, **flat_entries(pooled)}, (
            distance if best_by == "distance" else score
        )

    return validate
