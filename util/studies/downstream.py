"""The downstream study: train on synthetic, translated and real hands in turn, and test each network on real hands."""

import logging
import random
import shutil
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from data.composites.downstream import AnnotatedHand, AnnotatedHands, background_bank, cut_out
from data.demo import CAMERA
from data.frames import Domains, Frame
from data.hands import Hand
from data.joints import joint_file, project, read_joints
from data.loader import ordered_batches, to_device
from data.masks.ops import iou
from data.regions import HandRegions, readable
from models.load import Translator
from models.supervised import DownstreamNet
from util.drawing import sheet, spread
from util.errors import UsageError
from util.files import write_bytes, write_json
from util.images import ImageError, to_uint8, write_png
from util.run import LATEST
from util.runtime import seed_everything
from util.studies.downstream_report import DRAW, MEASURES, PCK_SHARE, SETS, enlarge, gap_closed, table
from util.studies.training import train
from util.workers import progress

log = logging.getLogger(__name__)

SAMPLES = 6  # rows of samples.png
TEST_SEED = 0  # every network is tested on the same pictures


def study(opt: Namespace, model: Translator, train_frames: Domains, test_frames: Domains, *, folder: Path) -> str:
    """Run the study --downstream names and write table.md, metrics.json and samples.png to the folder.

    train_frames, test_frames: of these splits; opt: the flags of test.py. Returns the table. Raises UsageError where there
    are no masks or too few hands, and util.errors.Stopped on SIGINT and SIGTERM.
    """
    shutil.rmtree(folder, ignore_errors=True)  # an earlier study
    hands = training_hands(opt, model, train_frames)
    tested = real_hands(opt, test_frames["real"], background=model.options.background)
    size, measures = opt.downstream_size, MEASURES[opt.downstream]
    backgrounds, test_backgrounds = (
        background_bank(opt.background_root, size=size, part=part, seed=TEST_SEED) for part in ("train", "test")
    )
    testing = AnnotatedHands(tested, background=test_backgrounds, seed=TEST_SEED, train=False)
    scores = {name: {part: [] for part in SETS} for name in measures}
    shown: dict[str, np.ndarray] = {}
    for seed in range(opt.downstream_seeds):
        for part, label in SETS.items():
            log.info("%s: %s, seed %d of %d", opt.downstream, label, seed + 1, opt.downstream_seeds)
            stream = AnnotatedHands(hands[part], background=backgrounds, seed=seed, train=True)
            net = train_net(opt, stream, seed=seed, folder=folder / "runs" / f"{part}_{seed}", like=model)
            predicted, truth = predict(opt, net, testing)
            for name, value in score(opt.downstream, predicted, truth, size=size).items():
                scores[name][part].append(value)
                log.info("%s on real hands: %s", measures[name].name, measures[name].form.format(value))
            shown.setdefault(part, predicted)  # of the first seed

    gaps = {
        name: gap_closed(*values.values(), lower_is_better=measures[name].lower_is_better)
        for name, values in scores.items()
    }
    counts = {"train_images": len(hands["real"]), "test_images": len(tested)}
    title = f"{opt.downstream.capitalize()} of real hands, by what the network was trained on."
    text = table(measures, scores, gaps, title=title, notes=notes(opt, **counts))
    write_bytes(folder / "table.md", text.encode())
    write_png(folder / "samples.png", sample_sheet(opt.downstream, testing, shown))
    metrics = {
        "task": opt.downstream,
        "checkpoint": model.checkpoint.name,
        "step": model.step,
        **counts,
        **{key: value for key, value in vars(opt).items() if key.startswith("downstream_")},
        "background_root": str(opt.background_root) if opt.background_root else None,
        "scores": {
            name: {part: {"mean": float(np.mean(values)), "values": values} for part, values in sets.items()}
            for name, sets in scores.items()
        },
        "gap_closed": {name: gap._asdict() for name, gap in gaps.items()},
    }
    write_json(folder / "metrics.json", metrics)
    return text


def training_hands(opt: Namespace, model: Translator, frames: Domains) -> dict[str, list[AnnotatedHand]]:
    """Equally many hands of each set, ready to be pasted; translated hands are those of the synthetic set."""
    count = min(opt.downstream_images, *(len(part) for part in frames.values()))
    chosen = {domain: random.Random(f"{TEST_SEED}-{domain}").sample(part, count) for domain, part in frames.items()}
    check_masks(chosen["synthetic"], "synthetic")
    real = real_hands(opt, chosen["real"], background=model.options.background)
    regions = HandRegions(chosen["synthetic"], background=model.options.background)
    translations = model.hands().stream(regions, batch_size=opt.batch_size, num_workers=opt.num_workers)
    pairs = [
        annotate(opt, regions.frames[each.index], each.source, Hand(each.image, each.source.mask))
        for each in progress(translations, total=count, desc="translating")
    ]
    synthetic, translated = ([pair[i] for pair in pairs if pair] for i in (0, 1))
    hands = {"synthetic": synthetic, "translated": translated, "real": real}
    count = min(len(part) for part in hands.values())
    if not count:
        raise UsageError("the train split holds no synthetic hand with labels; nothing can be trained on")
    return {part: each[:count] for part, each in hands.items()}


def real_hands(opt: Namespace, frames: Sequence[Frame], *, background: str) -> list[AnnotatedHand]:
    """Real hands with labels, ready to be pasted."""
    check_masks(frames, "real")
    regions = readable(HandRegions(list(frames), background=background), num_workers=opt.num_workers)
    hands = [hand for index, region in regions for hand in annotate(opt, frames[index], region)]
    if not hands:
        raise UsageError("none of the real hands has labels; nothing can be trained on or tested")
    return hands


def check_masks(frames: Sequence[Frame], domain: str) -> None:
    """Raise UsageError if there are frames whose whole image counts as hand."""
    if bare := sum(frame.mask_kind == "none" for frame in frames):
        raise UsageError(
            f"--downstream pastes hands on backgrounds by their masks, and {bare} of {len(frames)} {domain} images "
            f"have none, such as {frames[0].image}; put masks in <split>_masks/ under the same names"
        )


def annotate(opt: Namespace, frame: Frame, *hands: Hand) -> list[AnnotatedHand]:
    """Regions of one frame with its labels; none, with a warning, where its joints are wanted and cannot be read.

    Joints are the demo's, whose frames are no larger than a region, so that the frame's pixels are the region's.
    """
    joints = None
    if opt.downstream == "keypoints":
        try:
            joints = project(read_joints(joint_file(frame.image)), CAMERA)
        except ImageError as error:
            log.warning("skipped: %s", error)
            return []
    return [cut_out(hand, size=opt.downstream_size, name=str(frame.image), joints=joints) for hand in hands]


def train_net(opt: Namespace, stream: AnnotatedHands, *, seed: int, folder: Path, like: Translator) -> DownstreamNet:
    """A network trained on the stream, on the device of `like`; only the stream's hands differ between sets of one seed."""
    seed_everything(seed)
    width, lr, steps = opt.downstream_width, opt.downstream_lr, opt.downstream_steps
    net = DownstreamNet(opt.downstream, width=width, lr=lr, total_steps=steps, amp=like.amp, device=like.device)
    length = {"total_steps": steps, "log_every": max(1, steps // 4), "batch_size": opt.downstream_batch}
    train(net, stream, folder=folder, **length, seed=seed, num_workers=opt.num_workers)
    (folder / LATEST).unlink()  # a study is not taken up again, and these are many
    return net


def predict(opt: Namespace, net: DownstreamNet, dataset: AnnotatedHands) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The network's predictions for every item, and the items' labels by name, in their order."""
    loader = ordered_batches(dataset, opt.downstream_batch, num_workers=opt.num_workers)
    pairs = [(net.predict(to_device(batch, net.device)["image"]).cpu().numpy(), batch) for batch in loader]
    predicted, labels = zip(*pairs)
    truth = {key: torch.cat([batch[key] for batch in labels]).numpy() for key in ("mask", "joints", "seen")}
    return np.concatenate(predicted), truth | {"mask": truth["mask"][:, 0] > 0.5}


def score(task: str, predicted: np.ndarray, truth: dict[str, np.ndarray], *, size: int) -> dict[str, float]:
    """The task's MEASURES. predicted: bool masks (N, S, S), or joints (N, 21, 2); truth: what `predict` returns."""
    if task == "segmentation":
        return {"iou": float(np.mean([iou(ours, theirs) for ours, theirs in zip(predicted, truth["mask"])]))}
    errors = np.linalg.norm(predicted - truth["joints"], axis=-1)[truth["seen"]]  # in pixels
    return {"pck": float(np.mean(errors <= PCK_SHARE * size)), "error": float(np.mean(errors))}


def notes(opt: Namespace, *, train_images: int, test_images: int) -> list[str]:
    """Sentences on what was compared, and how."""
    size = opt.downstream_size
    measure = {
        "segmentation": "IoU: mean over hands.",
        "keypoints": f"PCK: joints within {PCK_SHARE * size:.1f} pixels, {PCK_SHARE:.0%} of the side.",
    }
    return [
        f"{train_images} images a set, {opt.downstream_steps} steps of {opt.downstream_batch} at {size}x{size} pixels; "
        f"{test_images} real hands of the test split, on backgrounds that were not trained on.",
        *[f"Means over {opt.downstream_seeds} seeds, lowest to highest in brackets."] * (opt.downstream_seeds > 1),
        measure[opt.downstream],
        "Translation changes the look alone: poses, views and forearms stay those of synthetic hands.",
    ]


def sample_sheet(task: str, dataset: AnnotatedHands, predicted: dict[str, np.ndarray]) -> np.ndarray:
    """Test hands in rows: the image, the truth, and the predictions of the first seed's networks. uint8 RGB."""
    rows, draw = [], DRAW[task]
    for k in spread(len(dataset), SAMPLES):
        item = dataset[k]
        image, labels = to_uint8(item["image"]), {key: item[key].numpy() for key in ("mask", "joints", "seen")}
        truth = [labels["mask"][0] > 0.5] if task == "segmentation" else [labels["joints"], labels["seen"]]
        rows.append([enlarge(image), draw(image, *truth), *(draw(image, predicted[part][k]) for part in SETS)])
    return sheet(rows, columns=["image", "truth", *SETS.values()])
