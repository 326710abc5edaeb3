"""The classification study (paper, section IV.D): train on each training set, test, and count what is taken for what."""

import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from data.composites.backgrounds import open_backgrounds
from data.composites.classification import KINDS, HandFile, HandsOnBackgrounds, Sample
from data.loader import ordered_batches, to_device
from models.supervised import HandClassifier
from util.drawing import sheet
from util.files import as_utf8, csv_text, write_bytes
from util.images import to_uint8
from util.runtime import Amp, seed_everything
from util.studies import train
from util.training.checkpoints import resume
from util.workers import progress


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
        classes=KINDS,
        training_sets={"syn_rea_gen": dict.fromkeys(KINDS, 1.0)},
        test_sets={"syn_rea_gen": KINDS},
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
    name: str,
    samples: list[Sample],
    tested: list[Sample],
    *,
    opt: Namespace,
    classes: int,
    study: Path,
    device: torch.device,
    amp: Amp,
) -> np.ndarray:
    """Train a classifier on `samples` in the study's folder, or continue it with --continue_train, and judge `tested`.

    opt: the flags of classify.py. Returns float64 (N, classes): each sample's probability of each class, on the test part's
    backgrounds. Raises util.errors.Stopped on SIGINT and SIGTERM.
    """
    seed_everything(opt.seed)
    net = HandClassifier(vit=opt.vit, img_size=opt.img_size, num_classes=classes, lr=opt.lr, amp=amp, device=device)
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
        net.probabilities(to_device(batch, device)["image"]).double().cpu()
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
