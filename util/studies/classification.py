"""The classification study (paper, section IV.D): train on each training set, test, and write the results."""

import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from data.loader import ordered_batches, stream_loader, to_device
from data.pasted.backgrounds import open_backgrounds
from data.pasted.classification import KINDS, HandFile, HandsOnBackgrounds, Sample
from models.supervised import HandClassifier
from util.drawing import sheet
from util.files import as_utf8, csv_text, write_bytes
from util.images import to_uint8
from util.runtime import Amp, seed_everything
from util.scores.classification import percent, report, wilson_interval
from util.training.logger import RunLogger
from util.training.loop import Schedule, fit
from util.training.saving import Progress, can_resume, resume
from util.workers import progress


@dataclass(frozen=True)
class Experiment:
    """classes: their names in order. labels: the class that each kind of hand counts as. training_sets: for each, the
    share that each kind has of its class. test_sets: the kinds that are tested together.
    """

    classes: tuple[str, ...]
    labels: Mapping[str, int]
    training_sets: Mapping[str, Mapping[str, float]]
    test_sets: Mapping[str, tuple[str, ...]]


EXPERIMENTS = {
    # Table II: a generated hand counts as real, in training and in testing.
    "table2": Experiment(
        classes=("synthetic", "real"),
        labels={"synthetic": 0, "real": 1, "generated": 1},
        training_sets={
            "syn_rea": {"synthetic": 1.0, "real": 1.0},
            "syn_gen": {"synthetic": 1.0, "generated": 1.0},
            "syn_half": {"synthetic": 1.0, "real": 0.5, "generated": 0.5},
        },
        test_sets={"syn_rea": ("synthetic", "real"), "syn_gen": ("synthetic", "generated")},
    ),
    # Table III and Fig. 7.
    "table3": Experiment(
        classes=KINDS,
        labels={kind: i for i, kind in enumerate(KINDS)},
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
        samples += [Sample(file, kind, experiment.labels[kind]) for file in hands[kind][:count]]
    return samples


def test_samples(experiment: Experiment, hands: Mapping[str, Sequence[HandFile]]) -> list[Sample]:
    """All hands to be tested, each once."""
    return [Sample(file, kind, experiment.labels[kind]) for kind in KINDS for file in hands[kind]]


def run_training_set(
    samples: list[Sample],
    tested: list[Sample],
    *,
    opt: Namespace,
    classes: Sequence[str],
    folder: Path,
    board: Path,
    device: torch.device,
    amp: Amp,
) -> np.ndarray:
    """Train a classifier on `samples`, or continue the one in `folder`, and judge `tested`; see `judge`.

    opt: the flags of classify.py. board: TensorBoard's folder. Raises util.errors.Stopped on SIGINT and SIGTERM.
    """
    seed_everything(opt.seed)
    model = HandClassifier(
        vit=opt.vit, img_size=opt.img_size, num_classes=len(classes), lr=opt.lr, amp=amp, device=device
    )
    folder.mkdir(parents=True, exist_ok=True)
    state = resume(folder, model) if opt.continue_train and can_resume(folder) else Progress()

    total_steps = min(math.ceil(opt.n_epochs * len(samples) / opt.batch_size), opt.max_steps or math.inf)
    schedule = Schedule(
        total_steps=total_steps,
        steps_per_epoch=max(1, round(len(samples) / opt.batch_size)),
        log_every=opt.log_freq,
        save_every=opt.save_freq,
        save_every_seconds=600,
    )
    loader = stream_loader(
        dataset(samples, opt, "train"), opt.batch_size, num_workers=opt.num_workers, start_step=state.step
    )
    with RunLogger(
        folder,
        first_step=state.step,
        total_steps=total_steps,
        images_per_step=opt.batch_size,
        steps_per_epoch=schedule.steps_per_epoch,
        board=board,
    ) as logger:
        fit(
            model,
            iter(loader),
            folder=folder,
            device=device,
            seed=opt.seed,
            schedule=schedule,
            progress=state,
            logger=logger,
        )
    return judge(model, tested, opt=opt, device=device)


def judge(model: HandClassifier, samples: list[Sample], *, opt: Namespace, device: torch.device) -> np.ndarray:
    """float64 (N, n_classes): each sample's probability of each class, on the test part's backgrounds."""
    loader = ordered_batches(dataset(samples, opt, "test"), opt.batch_size, num_workers=opt.num_workers)
    rows = [
        model.probabilities(to_device(batch, device)["image"]).double().cpu()
        for batch in progress(loader, total=math.ceil(len(samples) / opt.batch_size), desc="testing", unit="batch")
    ]
    return torch.cat(rows).numpy()


def dataset(samples: Sequence[Sample], opt: Namespace, part: str) -> HandsOnBackgrounds:
    """The samples as they are trained on ("train") or tested: the same backgrounds whatever the training set."""
    backgrounds = open_backgrounds(opt.background_root, size=opt.img_size, part=part)
    return HandsOnBackgrounds(samples, background=backgrounds, seed=opt.seed, train=part == "train")


def confusion_by_kind(samples: Sequence[Sample], probabilities: np.ndarray) -> np.ndarray:
    """int64 (n_classes, 3): rows predicted, columns KINDS, what the hands are whatever they count as."""
    matrix = np.zeros((probabilities.shape[1], len(KINDS)), np.int64)
    np.add.at(matrix, (probabilities.argmax(axis=1), [KINDS.index(sample.kind) for sample in samples]), 1)
    return matrix


def reports(experiment: Experiment, by_kind: np.ndarray) -> dict[str, dict]:
    """{test set: its util.scores.classification.report}, for one training set's confusion_by_kind."""
    results = {}
    for name, kinds in experiment.test_sets.items():
        matrix = np.zeros((len(experiment.classes),) * 2, np.int64)
        for kind in kinds:
            matrix[:, experiment.labels[kind]] += by_kind[:, KINDS.index(kind)]
        results[name] = report(matrix, experiment.classes)
    return results


def called_real(by_kind: np.ndarray, kind: str = "generated") -> tuple[int, int]:
    """How many hands of a kind were predicted real, and how many there are."""
    column = by_kind[:, KINDS.index(kind)]
    return int(column[KINDS.index("real")]), int(column.sum())


def answer(name: str, by_kind: np.ndarray) -> str:
    """The experiment's result on generated hands in words, by the confusion_by_kind of its first training set.

    A share of hands taken for real means little alone, as a classifier that calls everything real takes all of them. So
    the text adds the same classifier's shares of real and of synthetic hands, and rejects the answer if it cannot tell
    these two apart better than chance.
    """
    who = "never saw one" if name == "table2" else "was taught to tell the three apart"
    calls = {kind: called_real(by_kind, kind) for kind in KINDS}
    share = {kind: percent(real / total, total) for kind, (real, total) in calls.items()}
    count, total = calls["generated"]
    low, high = (percent(bound, total) for bound in wilson_interval(count, total))
    text = (
        f"{share['generated']} % of generated hands ({count} of {total}) were taken for real by a classifier that {who} "
        f"(95 % confidence interval {low} to {high} %). It called {share['real']} % of real hands and "
        f"{share['synthetic']} % of synthetic hands real."
    )
    (right, reals), (wrong, synthetics) = calls["real"], calls["synthetic"]
    if wilson_interval(right + synthetics - wrong, reals + synthetics)[0] <= 0.5:
        return (
            "The classifier has learnt nothing: it does not tell real from synthetic hands better than chance, so that its "
            "opinion of generated ones is worth nothing. Train it longer (--n_epochs), on more hands, or at a higher "
            f"--lr. {text}"
        )
    return text


def write_predictions(
    path: Path, experiment: Experiment, samples: Sequence[Sample], predictions: Mapping[str, np.ndarray]
) -> None:
    """predictions.csv: file, true, predicted, p_<class>..., train_set, test_set; one row for each line of a test.

    predictions: {training set: the samples' probabilities}. A hand that belongs to two test sets has a row in each, so
    that each (train_set, test_set) stands for itself.
    """
    rows = []
    for train_set, probabilities in predictions.items():
        for test_set, kinds in experiment.test_sets.items():
            for sample, chances in zip(samples, probabilities):
                if sample.kind in kinds:
                    names = experiment.classes[sample.label], experiment.classes[chances.argmax()]
                    numbers = (f"{p:.9g}" for p in chances)
                    rows.append([sample.file.image.as_posix(), *names, *numbers, train_set, test_set])
    columns = [f"p_{name}" for name in experiment.classes]
    text = csv_text(["file", "true", "predicted", *columns, "train_set", "test_set"], rows)
    write_bytes(path, as_utf8(text).encode())


def write_training_files(path: Path, experiment: Experiment, training: Mapping[str, Sequence[Sample]]) -> None:
    """train_files.csv: file, kind, class, train_set; shows that no file was both trained on and tested."""
    rows = [
        [sample.file.image.as_posix(), sample.kind, experiment.classes[sample.label], train_set]
        for train_set, samples in training.items()
        for sample in samples
    ]
    write_bytes(path, as_utf8(csv_text(["file", "kind", "class", "train_set"], rows)).encode())


def sample_sheet(hands: Mapping[str, Sequence[HandFile]], opt: Namespace, *, columns: int = 8) -> np.ndarray:
    """Fig. 6: the first test hands of each kind as the classifier sees them, a row a kind, uint8 RGB."""
    count = min(columns, len(hands["real"]))
    shown = dataset([Sample(file, kind, 0) for kind in KINDS for file in hands[kind][:count]], opt, "test")
    images = [to_uint8(shown[k]["image"]) for k in range(len(shown))]
    return sheet([images[row * count : (row + 1) * count] for row in range(len(KINDS))], labels=KINDS)
