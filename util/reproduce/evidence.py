"""The data for testing the claims, read from the results of the stages."""

import csv
import functools
import json
from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np

from models import MODELS
from models.features.registry import FeatureNet, load_feature_net
from options.test_options import test_parser
from util.images import ImageError, read_mask, read_rgb
from util.reproduce import claims
from util.reproduce.claims import Claim, Comparison
from util.runtime import resolve_device
from util.scores.distances import frechet_difference, kernel_difference, mean_difference
from util.scores.features import extract_features

PERCEPTUAL = [name for name, entry in MODELS.items() if entry.netD == "perceptual"]
PIXEL = [name for name, entry in MODELS.items() if entry.netD == "pixel"]
BASELINES = [name for name in MODELS if name not in PERCEPTUAL]

CLOSER = "msH-GAN4 and msH-GAN6 have lower {} than GeoConGAN and both pixCycleGANs (Table I)."
TRANSLATED = "Translation brings synthetic hands closer to real ones (the purpose of the models)."
SHARPER = "Models with pixel discriminators make sharper hands than msH-GAN (section IV.C)."
TAKEN = "Most generated hands are classified as real by a classifier that never saw one (Table II, section IV.D)."
MIXED = "Training on real and generated hands together tells synthetic from generated hands better than on either (Table II)."
CONFUSED = "Generated hands that are mistaken are taken for real ones rather than for synthetic (Fig. 7)."


def read_json(path: Path) -> dict | None:
    """A results file, None where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def test_folder(opt: Namespace, model: str) -> Path:
    """Where test.py put the model's test split."""
    return opt.folder / model / "test"


def table_rows(opt: Namespace) -> dict[str, dict]:
    """{model: its metrics.json} of the models whose test split has been translated and scored, in Table I's order."""
    scores = {model: read_json(test_folder(opt, model) / "metrics.json") for model in opt.models}
    return {model: metrics for model, metrics in scores.items() if metrics and "n_generated" in metrics}


def feature_net(opt: Namespace) -> FeatureNet:
    """The network that test.py scored with."""
    flags = test_parser().parse(opt.test_flags)
    device = resolve_device(opt.device)
    return load_feature_net(flags.feature_net, inception_weights=flags.inception_weights, device=device)


def common_sources(opt: Namespace, models: list[str]) -> list[Path]:
    """The sources, as paths below generated/, that all of the models have translated, sorted."""
    names = [{p.relative_to(root) for p in root.rglob("*.png")} for root in _parts(opt, models, "generated")]
    return sorted(set.intersection(*names)) if names else []


def _parts(opt: Namespace, models: list[str], part: str) -> list[Path]:
    return [test_folder(opt, model) / part for model in models]


def model_claims(opt: Namespace, rows: dict[str, dict]) -> tuple[list[Claim], list[Comparison]]:
    """The claims about the models of Table I, and all comparisons of a perceptual model with a baseline."""
    models = list(rows)
    names = common_sources(opt, models)
    if not names:
        untested = [CLOSER.format("FID"), CLOSER.format("KID"), SHARPER, TRANSLATED]
        return [Claim(text, claims.UNTESTED, "no model's test split has been translated") for text in untested], []
    net = feature_net(opt)
    read = functools.partial(extract_features, net=net, cache_dir=opt.folder / "features")
    first = test_folder(opt, models[0])
    real = read(sorted((first / "real").rglob("*.png")), progress="real")
    sides = {m: read([test_folder(opt, m) / "generated" / n for n in names], progress=m) for m in models}
    untranslated = read([first / "synthetic" / name for name in names], progress="untranslated")

    metric = net.metric.upper()
    pairs = [(a, b) for a in PERCEPTUAL for b in BASELINES if a in rows and b in rows]
    frechet = [Comparison(a, b, metric, frechet_difference(real, sides[a], sides[b])) for a, b in pairs]
    kernel = [Comparison(a, b, "KID", kernel_difference(real, sides[a], sides[b]), "{:+.4f}") for a, b in pairs]
    gains = [
        Comparison(m, "untranslated", metric, frechet_difference(real, side, untranslated)) for m, side in sides.items()
    ]
    sharp = {m: sharpness_of(opt, m, names) for m in models if m in PERCEPTUAL + PIXEL}
    edges = [
        Comparison(a, b, "sharpness (ratio, log2)", mean_difference(sharp[a], sharp[b]))
        for a in PIXEL
        for b in PERCEPTUAL
        if a in sharp and b in sharp
    ]
    missing = [model for model in MODELS if model not in rows]
    return [
        claims.better(TRANSLATED, gains, missing=missing),
        claims.better(CLOSER.format("FID"), frechet, missing=missing),
        claims.better(CLOSER.format("KID"), kernel, missing=missing),
        claims.better(SHARPER, edges, lower_is_better=False, missing=[m for m in missing if m in PERCEPTUAL + PIXEL]),
    ], frechet + kernel


def sharpness_of(opt: Namespace, model: str, names: list[Path]) -> np.ndarray:
    """log2 of each translation's sharpness, (N,); nan where it has none."""
    folder = test_folder(opt, model)
    values = []
    for name in names:
        try:
            image, mask = read_rgb(folder / "generated" / name), read_mask(folder / "masks" / "synthetic" / name)
        except ImageError:
            values.append(np.nan)
            continue
        values.append(sharpness(image, mask))
    return np.log2(np.maximum(values, 1e-3))


def sharpness(image: np.ndarray, mask: np.ndarray, *, margin: int = 4) -> float:
    """How much fine detail a hand shows: the mean difference of its brightness from its own blur (deviation 1 pixel), in
    grey levels, over pixels at least `margin` inside the mask. Noise counts as detail, too.

    image: uint8 (H, W, 3); mask: bool (H, W). nan where no pixel lies that deep inside.
    """
    inside = deep_inside(mask, margin)
    if not inside.any():
        return float("nan")
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 1.0))[inside].mean())


def deep_inside(mask: np.ndarray, margin: int) -> np.ndarray:
    """bool (H, W): the pixels more than `margin` pixels inside the mask; the image's border counts as an outline."""
    eroded = cv2.erode(np.pad(mask.astype(np.uint8), 1), np.ones((3, 3), np.uint8), iterations=margin)
    return eroded[1:-1, 1:-1] > 0


def classifier_claims(opt: Namespace) -> list[Claim]:
    """The claims about generated hands and the classifier."""
    table2 = read_json(opt.folder / "classify" / "table2" / "metrics.json")
    table3 = read_json(opt.folder / "classify" / "table3" / "metrics.json")
    calls = right = confusion = None
    if table2:
        real, generated = (table2["results"]["syn_rea"][name]["confusion"] for name in ("syn_rea", "syn_gen"))
        calls = {
            "synthetic": _called_real(real, 0),
            "real": _called_real(real, 1),
            "generated": _called_real(generated, 1),
        }
        right = rightly_classified(opt.folder / "classify" / "table2" / "predictions.csv", "syn_gen")
    if table3:
        confusion = table3["results"]["syn_rea_gen"]["syn_rea_gen"]["confusion"]
    return [
        claims.taken_for_real(TAKEN, calls),
        claims.mixing_helps(MIXED, right),
        claims.confused_with_real(CONFUSED, confusion),
    ]


def _called_real(confusion: list[list[int]], column: int) -> tuple[int, int]:
    return confusion[1][column], sum(row[column] for row in confusion)


def rightly_classified(path: Path, test_set: str) -> dict[str, list[bool]]:
    """{training set: whether each hand of the test set was given its class}, from classify.py's predictions.csv."""
    right: dict[str, list[bool]] = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["test_set"] == test_set:
                right.setdefault(row["train_set"], []).append(row["predicted"] == row["true"])
    return right
