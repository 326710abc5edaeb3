"""Validation of translators during training (paper section IV.A), and the pictures that training shows."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from data.frames import Domains
from data.hands import Hand
from data.joints import region_depth
from data.regions import HandRegions, readable
from models.features.registry import FeatureNet
from models.hgan import HGAN
from models.translation import translator_of
from util.drawing import sheet, spread
from util.images import ImageError
from util.scores.appearance import hand_scale
from util.scores.distances import frechet_distance
from util.scores.features import extract_features
from util.scores.metrics import Figures, View, best_score, entries, flat_entries, measure
from util.scores.structure import SourceEdges

ROWS = 4  # hands in a picture


def create_validation(
    model: HGAN,
    frames: Domains,
    net: FeatureNet,
    *,
    background: str,
    crop_to_hand: bool,
    by_distance: bool,
    cache_dir: Path,
    num_workers: int = 0,
) -> Callable[[], tuple[dict[str, float], float]]:
    """A function () -> (scores to log, the one that chooses best.pt): translated against real hands on 256 regions.

    The scores: the distance, "fid" or "fd"; those of util.scores.metrics; and "score", both in one, which chooses unless
    by_distance. The real side is read once; its features are cached in `cache_dir`. num_workers: threads that read images.
    """
    regions = {domain: HandRegions(part, background=background) for domain, part in frames.items()}
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
        return {net.metric: distance, "score": score, **flat_entries(pooled)}, distance if by_distance else score

    return validate


def display_hands(frames: Domains, *, background: str) -> dict[str, list[Hand]]:
    """ROWS hands of each domain, evenly spread over its frames, without those that cannot be read."""
    chosen = {}
    for domain, part in frames.items():
        regions = HandRegions(part, background=background)
        hands = [regions[place] for place in spread(len(part), ROWS)]
        chosen[domain] = [hand for hand in hands if not isinstance(hand, ImageError)]
    return chosen


def display_grids(model: HGAN, hands: dict[str, list[Hand]], *, crop_to_hand: bool) -> dict[str, np.ndarray]:
    """{name: uint8 (H, W, 3) picture} for each direction: source | translated | cycle, one row a hand."""
    pictures = {}
    for source, there, back in (("synthetic", "StoR", "RtoS"), ("real", "RtoS", "StoR")):
        columns = [[hand.image for hand in hands[source]]]
        for direction in (there, back):
            inputs = [Hand(image, hand.mask) for image, hand in zip(columns[-1], hands[source])]
            columns.append(translator_of(model, direction=direction, crop_to_hand=crop_to_hand).images(inputs))
        if hands[source]:
            pictures[f"{source}_translated_cycle"] = sheet(list(zip(*columns)), columns=(source, "translated", "cycle"))
    return pictures
