"""Validation during training: how far translated hands are from real ones (paper section IV.A)."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from data.depth import region_depth
from data.frames import Domains
from data.regions import HandRegions, readable
from models.features.registry import FeatureNet
from models.hgan import HGAN
from models.translation import translator_of
from util.scores.distances import frechet_distance
from util.scores.evaluate import cached_features, extract_features
from util.scores.hand_pixels import ruler_scale
from util.scores.rulers import Appearance, RulerScores, best_score, flat_entries


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

    The scores: "fid" or "fd"; the rulers' (util.scores.rulers.flat_entries); and "score", both in one (best_score).
    Lower is better of "score", and of the distance, which chooses instead if best_by is "distance". The real side is
    read once; its features are kept in `cache_dir`, keyed by content and network. num_workers: threads that read the
    images.
    """
    regions = {domain: HandRegions(part, crop=crop, background=background) for domain, part in frames.items()}
    hands = [hand for _, hand in readable(regions["real"], num_workers=num_workers)]
    real = cached_features([hand.image for hand in hands], net, cache_dir, progress="real features")
    sources = (hand.mask for _, hand in readable(regions["synthetic"], num_workers=num_workers))
    photographs = Appearance(ruler_scale([*(hand.mask for hand in hands), *sources]))
    for hand in hands:
        photographs.add(hand.image, hand.mask)
    translator = translator_of(model, crop_to_hand=crop_to_hand)

    def translated(scores: RulerScores) -> Iterator[np.ndarray]:
        for each in translator.stream(regions["synthetic"], num_workers=num_workers):
            depth = region_depth(frames["synthetic"][each.index].image, each.source.mask)
            scores.add(each.source.image, each.image, each.source.mask, depth)
            yield each.image

    def validate() -> tuple[dict[str, float], float]:
        scores = RulerScores(photographs)
        distance = frechet_distance(real, extract_features(translated(scores), net))
        rulers = scores.entries()
        score = best_score(distance, rulers)
        return {net.metric: distance, "score": score, **flat_entries(rulers)}, (
            score if best_by == "rulers" else distance
        )

    return validate
