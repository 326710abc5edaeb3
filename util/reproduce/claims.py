"""The paper's claims as statistical tests, which can fail, and the results that they are tested on.

Every test is about these trainings: its interval covers the choice of images, not what another seed would have given.
"""

import csv
from argparse import Namespace
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial
from itertools import product
from math import inf
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.labelled_hands import KINDS
from models import MODELS
from models.features.registry import load_feature_net
from options.test_options import test_parser
from util.files import read_json
from util.images import read_mask, read_rgb
from util.run import load_options
from util.runtime import resolve_device
from util.scores.appearance import band_strengths, mean_colour
from util.scores.distances import Difference, frechet_difference, kernel_difference, mean_difference
from util.scores.features import extract_features

HOLDS, FAILS, OPEN, UNTESTED = "holds here", "does not hold here", "undecided here", "not tested"
LITTLE = 2.0  # points of accuracy: more than that is not "similar performance"
BLIND = "The classifier does not tell real from synthetic hands itself."
MASKED = "Not measured of {}: their masks keep every gap, and with extend_colors what they paint beside the hand is not trained."
TONED = "Not there, or not measured because match_tone sets mean colours: {}."
SHADELESS = "Not measured of {}: it takes depth maps beside the synthetic images."

PERCEPTUAL = [name for name, entry in MODELS.items() if entry.netD == "perceptual"]
PIXEL = [name for name, entry in MODELS.items() if entry.netD == "pixel"]
BASELINES = [name for name in MODELS if name not in PERCEPTUAL]
BLOCKS = [("mshgan4", "mshgan6"), ("pixcyclegan4", "pixcyclegan6")]  # 4 and 6 blocks with the same discriminator
KINDS_OF_D = [("mshgan4", "pixcyclegan4"), ("mshgan6", "pixcyclegan6")]  # two discriminators with the same blocks

FD, KID, SHARE = "Fréchet distance", "KID", "Fréchet distance over the discriminators' difference"
SHARPNESS, COLOUR = "finest texture (log2)", "distance from the model's mean colour"
GAPS, SHADING = "share of gaps filled", "share of shadows' edges still shown"
CALLS2, CALLS3 = "hands called real or synthetic, %", "hands called real or synthetic by the classifier of three, %"
TELLS = [("real as real", "real as synthetic"), ("synthetic as synthetic", "synthetic as real")]
SETS = {"syn_rea": "trained on real", "syn_gen": "trained on generated", "syn_half": "trained on both"}
ON_GENERATED, ON_REAL = "accuracy on synthetic and generated hands, %", "accuracy on synthetic and real hands, %"


class Stated(NamedTuple):
    """A claim about differences of a measure: the first's less the second's lies between low and high, in every pair."""

    paper: str
    measure: str
    pairs: list[tuple[str, str]]
    low: float = -inf
    high: float = inf
    guard: Sequence[tuple[str, str]] = ()  # pairs whose differences must be above 0, or nothing is tested
    lacking: str = "Not there yet: {}."  # what is said of sides that are not there


CLAIMS = [
    Stated("Translation brings synthetic hands closer to real ones (the purpose of the models).",
           FD, [(model, "untranslated") for model in MODELS], high=0),
    Stated("msH-GAN4 and msH-GAN6 have lower FID than GeoConGAN and both pixCycleGANs (Table I).",
           FD, list(product(PERCEPTUAL, BASELINES)), high=0),
    Stated("msH-GAN4 and msH-GAN6 have lower KID than GeoConGAN and both pixCycleGANs (Table I).",
           KID, list(product(PERCEPTUAL, BASELINES)), high=0),
    Stated("The number of residual blocks, 4 or 6, has no major relevance: it changes FID by less than the discriminator does "
           "(section IV.C).", SHARE, BLOCKS, low=-1, high=1, lacking="It takes all of {}."),
    Stated("Models with pixel discriminators make sharper hands than msH-GAN (section IV.C).",
           SHARPNESS, list(product(PIXEL, PERCEPTUAL)), low=0),
    Stated("msH-GAN4 makes sharper hands than msH-GAN6 (section IV.C).", SHARPNESS, BLOCKS[:1], low=0),
    Stated("msH-GAN gives skin a more consistent colour than pixel discriminators do (section IV.C).",
           COLOUR, list(product(PERCEPTUAL, PIXEL)), high=0, lacking=TONED),
    Stated("Pixel discriminators keep the gaps between fingers, which GeoConGAN and msH-GAN6 fill (section IV.C).",
           GAPS, list(product(PIXEL, ("geocongan", "mshgan6"))), high=0, lacking=MASKED),
    Stated("msH-GAN4 fills fewer of these gaps than msH-GAN6 (section IV.C).", GAPS, BLOCKS[:1], high=0, lacking=MASKED),
    Stated("A perceptual discriminator takes away more of the shading discontinuities than a pixel discriminator (section III, "
           "Fig. 3).", SHADING, list(product(PERCEPTUAL, PIXEL)), high=0, lacking=SHADELESS),
    Stated("Most generated hands are classified as real by a classifier that never saw one (Table II, section IV.D).",
           CALLS2, [("generated as real", "generated as synthetic")], low=0, guard=TELLS),
    Stated("Training on real and generated hands together tells synthetic from generated hands better than on either "
           "(Table II).", ON_GENERATED, [("trained on both", "trained on real"), ("trained on both", "trained on generated")], low=0),
    Stated(f"That costs less than {LITTLE:g} points of accuracy on real hands against training on real ones (Table II).",
           ON_REAL, [("trained on both", "trained on real")], low=-LITTLE),
    Stated("Generated hands that are mistaken are taken for real ones rather than for synthetic (Fig. 7).",
           CALLS3, [("generated as real", "generated as synthetic")], low=0, guard=TELLS),
]  # fmt: skip


class Claim(NamedTuple):
    """What the paper says, one of the four verdicts, and the figures behind it."""

    paper: str
    measure: str
    verdict: str
    measured: dict[str, list[float]]  # {pair: estimate, low and high end of its 95 % interval}
    note: str = ""


def verdict_of(differences: Sequence[Difference], *, low: float = -inf, high: float = inf) -> str:
    """Whether every one of several differences lies between low and high.

    It holds if every 95 % interval lies there (as each has to, none needs a correction), and does not hold if one lies
    outside with its level corrected for their number (Bonferroni).
    """
    if not differences:
        return UNTESTED
    if all(low < min(each.interval()) and max(each.interval()) < high for each in differences):
        return HOLDS
    strict = 1.0 - 0.05 / len(differences)
    outside = (bottom > high or top < low for bottom, top in (each.interval(strict) for each in differences))
    return FAILS if any(outside) else OPEN


def decide(stated: Stated, known: Collection[str], difference: Callable[[str, str], Difference]) -> Claim:
    """The claim, by the pairs whose sides are both known; while a side is missing, it can fail, but not hold."""
    found = {pair: difference(*pair) for pair in stated.pairs if set(pair) <= set(known)}
    verdict = verdict_of(list(found.values()), low=stated.low, high=stated.high)
    measured = {" - ".join(pair): [each.estimate, *each.interval()] for pair, each in found.items()}
    side = f"between {stated.low:g} and {stated.high:g}"
    side = f"above {stated.low:g}" if stated.high == inf else f"below {stated.high:g}" if stated.low == -inf else side
    missing, note = sorted({name for pair in (*stated.pairs, *stated.guard) for name in pair} - set(known)), ""
    if missing:
        verdict, note = OPEN if verdict == HOLDS else verdict, stated.lacking.format(", ".join(missing))
    elif stated.guard and verdict_of([difference(*pair) for pair in stated.guard], low=0) != HOLDS:
        verdict, note = UNTESTED, BLIND
    return Claim(stated.paper, f"{stated.measure}; by the paper {side}", verdict, measured, note)


def decide_all(sides: Mapping[str, Mapping[str, np.ndarray]], real: np.ndarray | None = None) -> list[Claim]:
    """Every claim. sides: {measure: {model, training set, or what a hand was taken for: values (N,) of hands, or their
    features (N, D)}}, where row i is of the same hand in all; real: features of the photographs."""

    @cache
    def difference(measure: str, a: str, b: str) -> Difference:
        if measure == SHARE:
            least = max(1e-9, min(abs(difference(FD, *pair).estimate) for pair in KINDS_OF_D))
            blocks = difference(FD, a, b)
            return Difference(blocks.estimate / least, blocks.draws / least)
        compare = {FD: partial(frechet_difference, real), KID: partial(kernel_difference, real)}
        compare |= dict.fromkeys((SHARPNESS, COLOUR, GAPS, SHADING), mean_difference)
        return compare.get(measure, share_difference)(sides[measure][a], sides[measure][b])

    return [decide(each, sides.get(each.measure, ()), partial(difference, each.measure)) for each in CLAIMS]


def share_difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    """mean_difference of values of 0 and 100. Its draws have two hands more, one for each side, so that a few hands on which
    the sides differ decide nothing (Agresti and Min 2005)."""
    return Difference(float(np.mean(a) - np.mean(b)), mean_difference([*a, 100, 0], [*b, 0, 100]).draws)


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


def all_claims(opt: Namespace, models: Sequence[str]) -> list[Claim]:
    """Every claim, by the models that have been translated and scored and by the classifiers that have been trained."""
    sides, real = of_models(opt, models) if models else ({}, None)
    return decide_all(sides | of_classifiers(opt.folder / "classify"), real)


def of_models(opt: Namespace, models: Sequence[str]) -> tuple[dict[str, dict[str, np.ndarray]], np.ndarray]:
    """({measure: {model: its values for the sources that all have translated}}, features of the photographs)."""
    flags = test_parser().parse(opt.test_flags)
    weights = {"inception_weights": flags.inception_weights, "device": resolve_device(opt.device)}
    net = load_feature_net(flags.feature_net, **weights)
    read = partial(extract_features, net=net, cache_dir=opt.folder / "features")
    names, first = common_sources(opt, models), test_folder(opt, models[0])
    real = read(sorted((first / "real").rglob("*.png")), progress="real")
    features = {m: read([test_folder(opt, m) / "generated" / name for name in names], progress=m) for m in models}
    features["untranslated"] = read([first / "synthetic" / name for name in names], progress="untranslated")
    four = {name for pair in BLOCKS for name in pair} <= set(models)
    sides = {FD: features, KID: features, SHARE: features if four else {}}
    sides |= {measure: {} for measure in (SHARPNESS, COLOUR, GAPS, SHADING)}
    for model in models:
        folder = test_folder(opt, model)
        scale = read_json(folder / "metrics.json")["hand_scale"]
        values = np.array([texture_and_colour(folder, name, scale) for name in names])
        sides[SHARPNESS][model] = np.log2(np.maximum(values[:, 0], 1e-3))
        options = load_options(opt.checkpoints_dir / model)
        if not options.get("match_tone"):
            sides[COLOUR][model] = colour_scatter(values[:, 1:])
        hands = {Path(row["file"]): row for row in csv_rows(folder / "hand_metrics.csv")}
        keys = {SHADING: "shading_kept", GAPS: "gaps_filled"}
        if options["extend_colors"]:
            del keys[GAPS]  # what is painted beside the hand is not trained
        for measure, key in keys.items() if hands else ():
            sides[measure][model] = np.array([float(hands[name].get(key) or np.nan) for name in names])
    known = {
        measure: {m: each for m, each in side.items() if np.isfinite(each).any()} for measure, side in sides.items()
    }
    return known, real


def texture_and_colour(folder: Path, name: Path, scale: float) -> list[float]:
    """The strength of a translation's finest texture, and its mean L*, a*, b*; nan where it has none."""
    image, mask = read_rgb(folder / "generated" / name), read_mask(folder / "masks" / "synthetic" / name)
    textures, colour = band_strengths(image, mask, scale=scale), mean_colour(image, mask)
    return [np.nan if textures is None else textures[0], *([np.nan] * 3 if colour is None else colour)]


def colour_scatter(colours: np.ndarray) -> np.ndarray:
    """How far each hand's mean colour lies from the mean of all hands, in L*a*b*: (N, 3) -> (N,). nan stays nan."""
    return np.linalg.norm(colours - np.nanmean(colours, axis=0), axis=1)


def of_classifiers(folder: Path) -> dict[str, dict[str, list[float]]]:
    """{measure: {training set, or kind of hand and what it was taken for: 0 or 100 for each test hand}}, by classify.py's
    predictions.csv below the folder."""
    sides: dict[str, dict[str, list[float]]] = {measure: {} for measure in (ON_GENERATED, ON_REAL, CALLS2, CALLS3)}
    for study, measure in (("table2", CALLS2), ("table3", CALLS3)):
        for row in csv_rows(folder / study / "predictions.csv"):
            right, generated = 100.0 * (row["predicted"] == row["true"]), row["test_set"] == "syn_gen"
            if study == "table2":
                sides[ON_GENERATED if generated else ON_REAL].setdefault(SETS[row["train_set"]], []).append(right)
            if row["train_set"].startswith("syn_rea") and not (generated and row["true"] == "synthetic"):
                kind = "generated" if generated else row["true"]  # in Table II they count as real
                for other in KINDS:
                    sides[measure].setdefault(f"{kind} as {other}", []).append(100.0 * (row["predicted"] == other))
    return sides


def csv_rows(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file, by its header; none where there is no such file."""
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
