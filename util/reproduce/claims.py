"""The paper's claims as statistical tests, which can fail, and the results that they are tested on.

Every test is about these trainings: its interval covers the choice of images, not what another seed would have given.
"""

import csv
from argparse import Namespace
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from scipy.stats import binomtest

from data.labelled_hands import KINDS
from models import MODELS
from models.features.registry import load_feature_net
from options.test_options import test_parser
from util.files import read_json
from util.images import read_mask, read_rgb
from util.runtime import resolve_device
from util.scores.appearance import distance_inside
from util.scores.distances import Difference, frechet_difference, kernel_difference, mean_difference
from util.scores.features import extract_features
from util.studies.classification import called_real, wilson_interval

HOLDS, FAILS, OPEN, UNTESTED = "holds here", "does not hold here", "undecided here", "not tested"
CONFIDENCE = 0.95
BLIND = "the classifier does not tell real from synthetic hands itself"

PERCEPTUAL = [name for name, entry in MODELS.items() if entry.netD == "perceptual"]
PIXEL = [name for name, entry in MODELS.items() if entry.netD == "pixel"]
BASELINES = [name for name in MODELS if name not in PERCEPTUAL]

CLOSER = "msH-GAN4 and msH-GAN6 have lower {} than GeoConGAN and both pixCycleGANs (Table I)."
TRANSLATED = "Translation brings synthetic hands closer to real ones (the purpose of the models)."
SHARPER = "Models with pixel discriminators make sharper hands than msH-GAN (section IV.C)."
TAKEN = "Most generated hands are classified as real by a classifier that never saw one (Table II, section IV.D)."
MIXED = "Training on real and generated hands together tells synthetic from generated hands better than on either (Table II)."
CONFUSED = "Generated hands that are mistaken are taken for real ones rather than for synthetic (Fig. 7)."


class Claim(NamedTuple):
    """What the paper says, one of the four verdicts, and the figures behind it."""

    paper: str
    verdict: str
    measured: str


class Comparison(NamedTuple):
    """One model against another by one measure; `difference` is the first's less the second's."""

    first: str
    second: str
    measure: str
    difference: Difference
    form: str = "{:+.2f}"

    def text(self) -> str:
        """As in: mshgan4 - geocongan: -3.10 (-4.00 to -2.20)."""
        numbers = map(self.form.format, (self.difference.estimate, *self.difference.interval(CONFIDENCE)))
        return "{} - {}: {} ({} to {})".format(self.first, self.second, *numbers)


# ------------------------------------------------------------------ tests


def verdict_of(differences: Sequence[Difference], *, lower_is_better: bool) -> str:
    """Whether the first is better than the second in every one of several comparisons.

    It holds if every 95 % interval lies on the better side (as each has to, none needs a correction), and does not hold
    if one lies on the worse side with its level corrected for their number (Bonferroni).
    """
    if not differences:
        return UNTESTED
    sign = 1.0 if lower_is_better else -1.0
    if all(max(sign * bound for bound in each.interval(CONFIDENCE)) < 0 for each in differences):
        return HOLDS
    strict = 1.0 - (1.0 - CONFIDENCE) / len(differences)
    return FAILS if any(min(sign * bound for bound in each.interval(strict)) > 0 for each in differences) else OPEN


def better(
    paper: str, comparisons: Sequence[Comparison], *, lower_is_better: bool = True, missing: Sequence[str] = ()
) -> Claim:
    """A claim that one kind of model is better than another in all of the comparisons.

    missing: models that the claim speaks of and that have not been scored; without them it can fail, but not hold.
    """
    verdict = verdict_of([each.difference for each in comparisons], lower_is_better=lower_is_better)
    measured = [f"{each.measure}, {each.text()}" for each in comparisons] or ["no two models to compare"]
    if missing:
        measured.append(f"not there yet: {', '.join(missing)}")
        verdict = OPEN if verdict == HOLDS else verdict
    return Claim(paper, verdict, "; ".join(measured))


def taken_for_real(paper: str, calls: Mapping[str, tuple[int, int]]) -> Claim:
    """That a classifier which knows real and synthetic hands takes most generated ones for real (Table II).

    calls: {kind: (called real, tested)} for synthetic, real and generated. A classifier that does not tell real from
    synthetic hands itself tests nothing.
    """
    shares = {kind: 100 * count / total for kind, (count, total) in calls.items()}
    synthetic, real, generated = (wilson_interval(*calls[kind]) for kind in KINDS)
    measured = (
        f"called real: {shares['generated']:.1f} % of {calls['generated'][1]} generated hands ({in_percent(generated)}), "
        f"{shares['real']:.1f} % of real and {shares['synthetic']:.1f} % of synthetic ones"
    )
    if not real[0] > 0.5 > synthetic[1]:
        return Claim(paper, UNTESTED, f"{measured}: {BLIND}")
    return Claim(paper, majority(generated), measured)


def confused_with_real(paper: str, confusion: Sequence[Sequence[int]]) -> Claim:
    """That generated hands which are not recognised go to the real class rather than to the synthetic (Fig. 7).

    confusion: rows predicted, columns true, in the order synthetic, real, generated. A classifier that calls no larger
    share of real than of synthetic hands real tests nothing.
    """
    as_synthetic, as_real, as_generated = (row[2] for row in confusion)
    mistaken = as_synthetic + as_real
    measured = f"of {mistaken + as_generated} generated hands {as_real} were called real and {as_synthetic} synthetic"
    synthetic, real = (wilson_interval(*called_real(confusion, column)) for column in (0, 1))
    if real[0] <= synthetic[1]:
        return Claim(paper, UNTESTED, f"{measured}: {BLIND}")
    share = wilson_interval(as_real, mistaken) if mistaken else (0.0, 0.0)
    return Claim(paper, majority(share), f"{measured} (real ones among these: {in_percent(share)})")


def majority(interval: tuple[float, float]) -> str:
    """Whether a share is more than a half."""
    return HOLDS if interval[0] > 0.5 else FAILS if interval[1] < 0.5 else OPEN


def in_percent(interval: tuple[float, float]) -> str:
    return "{:.1f} to {:.1f} %".format(*(100 * share for share in interval))


def mixing_helps(paper: str, right: Mapping[str, Sequence[bool]]) -> Claim:
    """That training on real and generated hands together tells synthetic from generated hands better than on either.

    right: {training set: whether each synthetic and generated test hand was classified rightly}, in the same order for
    syn_rea, syn_gen and syn_half. Two classifiers are compared on the hands on which they differ (McNemar's exact test).
    """
    figures, verdicts = [], []
    for other in ("syn_rea", "syn_gen"):
        pairs = list(zip(right["syn_half"], right[other], strict=True))
        gained, lost = pairs.count((True, False)), pairs.count((False, True))
        p = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
        figures.append(f"against {other}: {gained} gained, {lost} lost of {len(pairs)} (p = {p:.2g})")
        verdict, level = (HOLDS, 1 - CONFIDENCE) if gained > lost else (FAILS, (1 - CONFIDENCE) / 2)
        verdicts.append(verdict if p < level else OPEN)  # either of two could fail by chance: half the level
    verdict = next(each for each in (FAILS, OPEN, HOLDS) if each in verdicts)
    return Claim(paper, verdict, "; ".join(figures))


# ------------------------------------------------------------------ results


def test_folder(opt: Namespace, model: str) -> Path:
    """Where test.py put the model's test split."""
    return opt.folder / model / "test"


def table_rows(opt: Namespace) -> dict[str, dict]:
    """{model: its metrics.json} of the models whose test split has been translated and scored, in Table I's order."""
    scores = {model: read_json(test_folder(opt, model) / "metrics.json") for model in opt.models}
    return {model: metrics for model, metrics in scores.items() if metrics and "n_generated" in metrics}


def common_sources(opt: Namespace, models: Sequence[str]) -> list[Path]:
    """The sources, as paths below generated/, that all of the models have translated, sorted."""
    folders = [test_folder(opt, model) / "generated" for model in models]
    names = [{path.relative_to(folder) for path in folder.rglob("*.png")} for folder in folders]
    return sorted(set.intersection(*names)) if names else []


def model_claims(opt: Namespace, rows: Mapping[str, dict]) -> tuple[list[Claim], list[Comparison]]:
    """The claims about the models of Table I, and all comparisons of a perceptual model with a baseline."""
    names = common_sources(opt, list(rows))
    if not names:
        untested = [CLOSER.format("FID"), CLOSER.format("KID"), SHARPER, TRANSLATED]
        return [Claim(text, UNTESTED, "no model's test split has been translated") for text in untested], []
    flags = test_parser().parse(opt.test_flags)
    weights = {"inception_weights": flags.inception_weights, "device": resolve_device(opt.device)}
    net = load_feature_net(flags.feature_net, **weights)
    read = partial(extract_features, net=net, cache_dir=opt.folder / "features")
    first = test_folder(opt, next(iter(rows)))
    real = read(sorted((first / "real").rglob("*.png")), progress="real")
    sides = {m: read([test_folder(opt, m) / "generated" / n for n in names], progress=m) for m in rows}
    untranslated = read([first / "synthetic" / name for name in names], progress="untranslated")
    sharp = {m: sharpness_of(opt, m, names) for m in rows if m in PERCEPTUAL + PIXEL}

    metric = net.metric.upper()
    pairs = [(a, b) for a in PERCEPTUAL for b in BASELINES if a in rows and b in rows]
    frechet = [Comparison(a, b, metric, frechet_difference(real, sides[a], sides[b])) for a, b in pairs]
    kernel = [Comparison(a, b, "KID", kernel_difference(real, sides[a], sides[b]), "{:+.4f}") for a, b in pairs]
    gains = [
        Comparison(m, "untranslated", metric, frechet_difference(real, side, untranslated)) for m, side in sides.items()
    ]
    edges = [
        Comparison(a, b, "sharpness (ratio, log2)", mean_difference(sharp[a], sharp[b]))
        for a, b in product(PIXEL, PERCEPTUAL)
        if a in sharp and b in sharp
    ]
    missing = [model for model in MODELS if model not in rows]
    return [
        better(TRANSLATED, gains, missing=missing),
        better(CLOSER.format("FID"), frechet, missing=missing),
        better(CLOSER.format("KID"), kernel, missing=missing),
        better(SHARPER, edges, lower_is_better=False, missing=[m for m in missing if m in PERCEPTUAL + PIXEL]),
    ], frechet + kernel


def sharpness_of(opt: Namespace, model: str, names: list[Path]) -> np.ndarray:
    """log2 of each translation's sharpness, (N,); nan where it has none."""
    generated, masks = (test_folder(opt, model) / part for part in ("generated", "masks/synthetic"))
    values = [sharpness(read_rgb(generated / name), read_mask(masks / name)) for name in names]
    return np.log2(np.maximum(values, 1e-3))


def sharpness(image: np.ndarray, mask: np.ndarray, *, margin: int = 4) -> float:
    """How much fine detail a hand shows: the mean difference of its brightness from its own blur (deviation 1 pixel), in
    grey levels, over pixels at least `margin` inside the mask. Noise counts as detail, too.

    image: uint8 (H, W, 3); mask: bool (H, W). nan where no pixel lies that deep inside.
    """
    inside = deep_inside(mask, margin)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    detail = np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 1.0))
    return float(detail[inside].mean()) if inside.any() else np.nan


def deep_inside(mask: np.ndarray, margin: int) -> np.ndarray:
    """bool (H, W): the pixels more than `margin` pixels inside the mask; the image's border counts as an outline."""
    return distance_inside(np.pad(mask, 1))[1:-1, 1:-1] > margin


def classifier_claims(opt: Namespace) -> list[Claim]:
    """The claims about generated hands and the classifier."""
    folders = [opt.folder / "classify" / name for name in ("table2", "table3")]
    table2, table3 = (read_json(folder / "metrics.json") for folder in folders)
    found = [Claim(text, UNTESTED, "classify.py has not been run") for text in (TAKEN, MIXED, CONFUSED)]
    if table2:
        known, unknown = (table2["results"]["syn_rea"][test_set]["confusion"] for test_set in ("syn_rea", "syn_gen"))
        tested = ((known, 0), (known, 1), (unknown, 1))
        calls = {kind: called_real(*each) for kind, each in zip(KINDS, tested)}
        found[0] = taken_for_real(TAKEN, calls)
        found[1] = mixing_helps(MIXED, rightly_classified(folders[0] / "predictions.csv", "syn_gen"))
    if table3:
        found[2] = confused_with_real(CONFUSED, table3["results"]["syn_rea_gen"]["syn_rea_gen"]["confusion"])
    return found


def rightly_classified(path: Path, test_set: str) -> dict[str, list[bool]]:
    """{training set: whether each hand of the test set was given its class}, from classify.py's predictions.csv."""
    right: dict[str, list[bool]] = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["test_set"] == test_set:
                right.setdefault(row["train_set"], []).append(row["predicted"] == row["true"])
    return right
