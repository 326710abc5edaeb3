"""The classification study (paper, section IV.D): train on each training set, test, count what is taken for what, and say so
in Tables II and III, beside the published numbers, and in Fig. 7.

Confusion matrices have predicted classes as rows and true classes as columns, as Fig. 7 has them; scikit-learn's are
the transpose. A ratio whose denominator is zero counts as 0, as in scikit-learn.
"""

import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binomtest

from data.labelled_hands import KINDS, HandFile, HandsOnBackgrounds, Sample
from data.loader import ordered_batches, to_device
from data.pasting import open_backgrounds
from models.supervised import HandClassifier
from util.drawing import sheet
from util.files import as_utf8, csv_text, write_bytes, write_json
from util.images import to_uint8, write_png
from util.results.pages import table
from util.runtime import Amp, seed_everything
from util.studies import train
from util.training.checkpoints import resume
from util.workers import progress

CELL = 150  # pixels of the confusion matrix's cells
PALE, DEEP = np.array([247.0, 251.0, 255.0]), np.array([8.0, 69.0, 148.0])  # cells of 0 and of 100 %

SCORES = ("precision", "recall", "f1")
TRAINING_LABELS = {"syn_rea": "syn | rea", "syn_gen": "syn | gen", "syn_half": "syn | (½ rea, ½ gen)"}
TEST_LABELS = {"syn_rea": "syn, rea", "syn_gen": "syn, gen"}

# Table II, in percent: precision, recall and F1, each of synthetic and of real hands, and accuracy.
PUBLISHED_TABLE2 = {
    ("syn_rea", "syn_rea"): (94.51, 97.38, 97.46, 94.34, 95.96, 95.84, 95.90),
    ("syn_rea", "syn_gen"): (95.62, 97.18, 97.23, 95.54, 96.42, 96.35, 96.39),
    ("syn_gen", "syn_rea"): (95.29, 92.65, 92.43, 95.43, 93.84, 94.02, 93.93),
    ("syn_gen", "syn_gen"): (98.91, 93.60, 93.23, 98.97, 95.98, 96.21, 96.10),
    ("syn_half", "syn_rea"): (94.83, 96.96, 97.03, 94.71, 95.92, 95.82, 95.87),
    ("syn_half", "syn_gen"): (97.25, 97.15, 97.14, 97.26, 97.20, 97.20, 97.20),
}

# Table III: precision, recall, F1 by class, and accuracy.
PUBLISHED_TABLE3 = {
    "synthetic": (0.9540, 0.9546, 0.9543),
    "real": (0.7930, 0.8329, 0.8124),
    "generated": (0.8468, 0.8037, 0.8247),
    "accuracy": (0.8637,),
}


@dataclass(frozen=True)
class Experiment:
    """classes: in order; generated hands count as real where they have no class of their own. training_sets: for each, the
    share that each kind has of its class. test_sets: the kinds that are tested together."""

    classes: tuple[str, ...]
    training_sets: Mapping[str, Mapping[str, float]]
    test_sets: Mapping[str, tuple[str, ...]]

    def label(self, kind: str) -> int:
        """The number of the class that a kind of hand counts as."""
        return min(KINDS.index(kind), len(self.classes) - 1)


EXPERIMENTS = {
    "table2": Experiment(
        classes=("synthetic", "real"),
        training_sets={
            "syn_rea": {"synthetic": 1.0, "real": 1.0},
            "syn_gen": {"synthetic": 1.0, "generated": 1.0},
            "syn_half": {"synthetic": 1.0, "real": 0.5, "generated": 0.5},
        },
        test_sets={"syn_rea": ("synthetic", "real"), "syn_gen": ("synthetic", "generated")},
    ),
    "table3": Experiment(  # and Fig. 7
        classes=KINDS, training_sets={"syn_rea_gen": dict.fromkeys(KINDS, 1.0)}, test_sets={"syn_rea_gen": KINDS}
    ),
}


def training_samples(experiment: Experiment, name: str, hands: Mapping[str, Sequence[HandFile]]) -> list[Sample]:
    """The samples of one training set: balanced classes from equally many hands of each kind."""
    samples = []
    for kind, share in experiment.training_sets[name].items():
        rounded = math.ceil if kind == "generated" else math.floor  # the halves of a class make a whole
        count = rounded(share * len(hands[kind]))
        samples += [Sample(file, kind, experiment.label(kind)) for file in hands[kind][:count]]
    return samples


def dataset(samples: Sequence[Sample], opt: Namespace, part: str) -> HandsOnBackgrounds:
    """The samples as they are trained on ("train") or tested: the same backgrounds whatever the training set."""
    backgrounds = open_backgrounds(opt.background_root, size=opt.img_size, part=part)
    return HandsOnBackgrounds(samples, background=backgrounds, seed=opt.seed, train=part == "train")


def run_training_set(
    name: str, samples: list[Sample], tested: list[Sample], *, opt: Namespace, study: Path, **where: torch.device | Amp
) -> np.ndarray:
    """Train a classifier on `samples` in the study's folder, or continue it with --continue_train, and judge `tested`.

    opt: the flags of classify.py. where: the classifier's device and amp. Returns float64 (N, classes): each sample's
    probability of each class, on the test part's backgrounds. Raises util.errors.Stopped on SIGINT and SIGTERM.
    """
    seed_everything(opt.seed)
    classes = len(EXPERIMENTS[opt.experiment].classes)
    net = HandClassifier(vit=opt.vit, img_size=opt.img_size, num_classes=classes, lr=opt.lr, **where)
    folder = study / "runs" / name
    train(
        net,
        dataset(samples, opt, "train"),
        folder=folder,
        batch_size=opt.batch_size,
        total_steps=min(math.ceil(opt.n_epochs * len(samples) / opt.batch_size), opt.max_steps or math.inf),
        log_every=opt.log_freq,
        seed=opt.seed,
        num_workers=opt.num_workers,
        start=resume(folder, net) if opt.continue_train else None,
        board=study / "tensorboard" / name,
        save_every=opt.save_freq,
    )
    loader = ordered_batches(dataset(tested, opt, "test"), opt.batch_size, num_workers=opt.num_workers)
    rows = [
        net.probabilities(to_device(batch, net.device)["image"]).double().cpu()
        for batch in progress(loader, total=math.ceil(len(tested) / opt.batch_size), desc="testing", unit="batch")
    ]
    return torch.cat(rows).numpy()


def confusion_by_kind(samples: Sequence[Sample], probabilities: np.ndarray) -> np.ndarray:
    """int64 (n_classes, 3): rows predicted, columns KINDS, what the hands are whatever they count as."""
    matrix = np.zeros((probabilities.shape[1], len(KINDS)), np.int64)
    np.add.at(matrix, (probabilities.argmax(axis=1), [KINDS.index(sample.kind) for sample in samples]), 1)
    return matrix


def write_predictions(
    path: Path, experiment: Experiment, samples: Sequence[Sample], predictions: Mapping[str, np.ndarray]
) -> None:
    """Write predictions.csv. predictions: {training set: the samples' probabilities}. A hand of two test sets has two rows."""
    names = experiment.classes
    rows = [
        [
            *(sample.file.image.as_posix(), names[sample.label], names[chances.argmax()]),
            *(*(f"{chance:.9g}" for chance in chances), train_set, test_set),
        ]
        for train_set, probabilities in predictions.items()
        for test_set, kinds in experiment.test_sets.items()
        for sample, chances in zip(samples, probabilities)
        if sample.kind in kinds
    ]
    header = ["file", "true", "predicted", *(f"p_{name}" for name in names), "train_set", "test_set"]
    write_bytes(path, as_utf8(csv_text(header, rows)).encode())


def sample_sheet(hands: Mapping[str, Sequence[HandFile]], opt: Namespace) -> np.ndarray:
    """Fig. 6: the first test hands of each kind as the classifier sees them, a row a kind, uint8 RGB."""
    shown = {kind: dataset([Sample(file, kind, 0) for file in hands[kind][:8]], opt, "test") for kind in KINDS}
    rows = [[to_uint8(each[k]["image"]) for k in range(len(each))] for each in shown.values()]
    return sheet(rows, labels=KINDS)


def report(matrix: np.ndarray, names: Sequence[str]) -> dict:
    """The scores of one test, as metrics.json holds them. matrix: integers (C, C); support: how many have the class."""
    hits, given, having = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    scores = {
        "precision": hits / np.maximum(given, 1),
        "recall": hits / np.maximum(having, 1),
        "f1": 2 * hits / np.maximum(given + having, 1),
        "support": having,
    }
    return {
        "accuracy": float(hits.sum() / max(matrix.sum(), 1)),
        "n": int(matrix.sum()),
        "classes": list(names),
        "confusion": matrix.tolist(),
        "per_class": {name: {key: values[i].item() for key, values in scores.items()} for i, name in enumerate(names)},
    }


def reports(experiment: Experiment, by_kind: np.ndarray) -> dict[str, dict]:
    """{test set: its report}, for one training set's confusion_by_kind."""
    results = {}
    for name, kinds in experiment.test_sets.items():
        matrix = np.zeros((len(experiment.classes),) * 2, np.int64)
        for kind in kinds:
            matrix[:, experiment.label(kind)] += by_kind[:, KINDS.index(kind)]
        results[name] = report(matrix, experiment.classes)
    return results


def answer(name: str, by_kind: np.ndarray) -> str:
    """The experiment's result on generated hands in words, by the confusion_by_kind of its first training set.

    A classifier that calls everything real takes all of them for real. So the text adds its shares of real and of
    synthetic hands, and rejects the answer if it cannot tell these two apart better than chance.
    """
    who = "never saw one" if name == "table2" else "was taught to tell the three apart"
    as_real, hits, count = by_kind[1].tolist()  # called real, of each of KINDS
    synthetic, real, total = by_kind.sum(axis=0).tolist()
    low, high = binomtest(count, total).proportion_ci(method="wilson")  # Wilson 1927: sensible near 0 and 1, too
    text = (
        f"{100 * count / total:.1f} % of generated hands ({count} of {total}) were taken for real by a classifier that "
        f"{who} (95 % confidence interval {100 * low:.1f} to {100 * high:.1f} %). It called {100 * hits / real:.1f} % of real "
        f"hands and {100 * as_real / synthetic:.1f} % of synthetic hands real."
    )
    if binomtest(hits + synthetic - as_real, real + synthetic).proportion_ci(method="wilson").low > 0.5:
        return text
    return (
        "The classifier has learnt nothing: it does not tell real from synthetic hands better than chance, so that its "
        "opinion of generated ones is worth nothing. Train it longer (--n_epochs), on more hands, or at a higher "
        f"--lr. {text}"
    )


def table2(results: Mapping[str, Mapping[str, Mapping]]) -> str:
    """Table II as Markdown, in percent, from {training set: {test set: report of synthetic and real hands}}."""
    header = ["#", "train set", "test set", "", "precision syn / rea", "recall syn / rea", "F1 syn / rea", "accuracy"]

    def pairs(values: Sequence[float]) -> list[str]:
        return [f"{values[i]:.2f} / {values[i + 1]:.2f}" for i in (0, 2, 4)] + [f"{values[6]:.2f}"]

    rows = []
    for number, (trained, tests) in enumerate(results.items(), start=1):
        for test, scores in tests.items():
            ours = [scores["per_class"][name][key] for key in SCORES for name in KINDS[:2]] + [scores["accuracy"]]
            ours = pairs([100 * value for value in ours])
            rows.append([str(number), TRAINING_LABELS[trained], TEST_LABELS[test], "ours", *ours])
            rows.append(["", "", "", "*published*", *pairs(PUBLISHED_TABLE2[trained, test])])
    return table(header, rows)


def table3(scores: Mapping) -> str:
    """Table III as Markdown, ours beside the published, from one report over KINDS."""
    ours = {name: [scores["per_class"][name][key] for key in SCORES] for name in KINDS}
    ours["accuracy"] = [scores["accuracy"]]
    rows = [
        [name, *(f"{value:.4f}" for pair in zip(values, PUBLISHED_TABLE3[name]) for value in pair)]
        for name, values in ours.items()
    ]
    rows[-1] += [""] * 4
    return table(["class", "precision", "*published*", "recall", "*published*", "F1", "*published*"], rows)


def draw_confusion(matrix: np.ndarray, names: Sequence[str], true_names: Sequence[str], *, title: str) -> np.ndarray:
    """Fig. 7, uint8 RGB: counts and percent of the column; darker is more. matrix: integers (R, C), R names, C true_names."""
    totals = matrix.sum(axis=0)
    shares = matrix / np.maximum(totals, 1)
    cells = [
        [np.full((CELL, CELL, 3), np.rint(PALE + (DEEP - PALE) * each), np.uint8) for each in row] for row in shares
    ]
    captions = [[f"{n} ({100 * each:.0f} %)" for n, each in zip(*rows)] for rows in zip(matrix, shares)]
    labels, columns = [f"called {name}" for name in names], [f"{name}: {n}" for name, n in zip(true_names, totals)]
    return sheet(cells, columns=columns, labels=labels, captions=captions, title=title, side=CELL)


def write_results(
    folder: Path, name: str, tested: Sequence[Sample], predictions: Mapping[str, np.ndarray], counts: dict, notes: list
) -> str:
    """Write predictions.csv, confusion.png, table.md and metrics.json of an experiment, and return the table.

    predictions: {training set: what run_training_set gives for `tested`}; counts: {part: images a class}; notes: sentences.
    """
    experiment = EXPERIMENTS[name]
    write_predictions(folder / "predictions.csv", experiment, tested, predictions)
    confusions = {trained: confusion_by_kind(tested, judged) for trained, judged in predictions.items()}
    results = {trained: reports(experiment, confusion) for trained, confusion in confusions.items()}
    figures = []
    for trained, kinds in experiment.training_sets.items():
        title = f"Trained on {', '.join(kinds)}"
        figures.append(draw_confusion(confusions[trained], experiment.classes, KINDS, title=title))
    write_png(folder / "confusion.png", np.vstack(figures))
    # Of Table II's training sets, the first has no generated hands.
    sentence = answer(name, next(iter(confusions.values())))
    if name == "table2":
        title = "Table II, in percent. Generated hands count as real, in training and in testing."
        scores = table2(results)
    else:
        title, scores = "Table III.", table3(results["syn_rea_gen"]["syn_rea_gen"])
    used = " ".join([f"{counts['train']} training and {counts['test']} test images a class.", *notes])
    text = f"{sentence}\n\n{used}\n\n{title}\n\n{scores}\n"
    write_bytes(folder / "table.md", text.encode())
    metrics = {"experiment": name, "images_per_class": counts, "results": results}
    write_json(folder / "metrics.json", metrics | {"answer": sentence, "notes": notes})
    return text
