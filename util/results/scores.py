"""The scores of metrics.json: each is measured on translations and on untranslated sources, and all are joined here."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from data.demo import true_pair
from data.hands import Hand, whiten
from data.transforms import centred_hand_crop
from models.features.registry import FeatureNet
from util.images import read_mask, read_rgb, write_png
from util.results.write import Written, as_seen, by_path
from util.scores.evaluate import cached_features, extract_features, patch_crop, pixels, score
from util.scores.image_metrics import psnr, ssim
from util.workers import progress


@dataclass(frozen=True)
class Scores:
    """The results of one measurement.

    translated: entries of metrics.json; baseline: the same of the untranslated sources; each: {score: {path of the
    source relative to its root: value of its translation}}, for sorting in index.html.
    """

    translated: dict
    baseline: dict
    each: dict[str, dict[str, float]] = field(default_factory=dict)


def joined(parts: Iterable[Scores]) -> tuple[dict, dict[str, dict[str, float]]]:
    """(entries of metrics.json with "baseline", scores of single images) of all rulers."""
    metrics, baseline, each = {}, {}, {}
    for part in parts:
        metrics |= part.translated
        baseline |= part.baseline
        each |= part.each
    return metrics | {"baseline": baseline}, each


def measure_distances(
    target: list[Written],
    generated: list[Written],
    source: list[Written],
    net: FeatureNet,
    *,
    cache_dir: Path,
    kid_subset_size: int | None,
    kid_subsets: int,
    on_own_background: bool = False,
) -> Scores:
    """FID (or FD) and KID to the target domain, and the same inside the hand; see util.scores.evaluate.score.

    Images are taken in the order of their paths, as torch-fidelity takes a folder's, so that KID draws the same subsets.
    on_own_background: the translations' files have another background than the regions that they are compared with. Of
    single images: the Euclidean distance of their features to the target's mean.
    """

    def features(written: list[Written], label: str, *, cached: bool) -> tuple[np.ndarray, np.ndarray]:
        """Of whole regions, and of the 128 crops inside the hand."""
        files = [each.image for each in written]
        if written is generated and on_own_background:
            files = list(as_seen(generated, source))
        patches = [
            patch_crop(pixels(file), read_mask(each.mask), seed=(0, i))
            for i, (file, each) in enumerate(zip(files, written))
        ]
        extract = partial(cached_features, cache_dir=cache_dir) if cached else extract_features
        return extract(files, net, progress=label), extract(patches, net, progress=f"{label} patches")

    def compare(whole: np.ndarray, patch: np.ndarray) -> dict:
        kid = {"kid_subset_size": kid_subset_size, "kid_subsets": kid_subsets}
        scores, inside = score(real, whole, net, **kid), score(real_patch, patch, net, **kid)
        names = {
            net.metric: f"{net.metric}_patch",
            f"{net.metric}_ci": f"{net.metric}_patch_ci",
            "floor": "floor_patch",
        }
        return scores | {patch_name: inside[name] for name, patch_name in names.items()}

    target, generated, source = map(by_path, (target, generated, source))
    real, real_patch = features(target, "target", cached=True)
    translated, translated_patch = features(generated, "generated", cached=False)
    distances = np.linalg.norm(translated - real.mean(0), axis=1)
    return Scores(
        compare(translated, translated_patch),
        compare(*features(source, "untranslated", cached=True)),
        {"distance": {each.frame.relative: float(value) for each, value in zip(generated, distances)}},
    )


def measure_true_pairs(folder: Path, generated: list[Written], source: list[Written], *, crop: int | None) -> Scores:
    """With the demo: mean PSNR (dB) and SSIM, on the hand, between each translation and its true real-look render."""
    rows = []
    for each, original in zip(progress(generated, desc="true pairs", unit="pair"), source):
        picture, mask = true_pair(each.frame.relative)
        truth = Hand(whiten(picture, mask), mask)
        if crop:
            truth = centred_hand_crop(truth, crop)
        write_png(folder / "true_pairs" / each.image.relative_to(folder / "generated"), truth.image)
        for shown in (read_rgb(each.image), read_rgb(original.image)):
            rows.append([measure(shown, truth.image, truth.mask) for measure in (psnr, ssim)])
    translated, baseline = (
        {"psnr": float(np.mean(psnrs)), "ssim": float(np.mean(ssims))}
        for psnrs, ssims in (zip(*rows[::2]), zip(*rows[1::2]))
    )
    similarity = {each.frame.relative: row[1] for each, row in zip(generated, rows[::2])}
    return Scores(translated, baseline, {"ssim": similarity})
