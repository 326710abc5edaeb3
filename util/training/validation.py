"""Validation during training: how far translated hands are from real ones (paper section IV.A)."""

from collections.abc import Callable
from pathlib import Path

from data.frames import Frame
from data.regions import HandRegions, ReadableImages
from models.features.registry import FeatureNet
from models.hgan import HGAN
from models.translation import translator_of
from util.scores.distances import frechet_distance
from util.scores.evaluate import cached_features, extract_features


def create_validation(
    model: HGAN,
    frames: dict[str, list[Frame]],
    net: FeatureNet,
    *,
    background: str,
    hand_box: bool,
    cache_dir: Path,
    num_workers: int = 0,
) -> Callable[[], tuple[dict[str, float], float]]:
    """A function () -> ({"fid" or "fd": score}, score): translated against real hands on 256 crops, lower is better.

    The real side's features are computed once and kept in `cache_dir`, keyed by content and network. num_workers:
    processes that read the images.
    """
    regions = {domain: HandRegions(part, background=background) for domain, part in frames.items()}
    real = cached_features(
        ReadableImages(regions["real"], num_workers=num_workers), net, cache_dir, progress="real features"
    )

    translator = translator_of(model, hand_box=hand_box)

    def validate() -> tuple[dict[str, float], float]:
        found = translator.stream(regions["synthetic"], num_workers=num_workers)
        translated = (each.image for each in found)
        score = frechet_distance(real, extract_features(translated, net))
        return {net.metric: score}, score

    return validate
