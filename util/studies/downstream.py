"""The downstream study: train on synthetic, translated and real hands in turn, and test each network on real hands."""

import logging
import random
import shutil
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from data.composites.downstream import AnnotatedHand, AnnotatedHands, background_bank, cut_out
from data.demo import CAMERA
from data.frames import Domains, Frame
from data.hands import Hand
from data.joints import draw_skeleton, joint_file, project, read_joints
from data.loader import ordered_batches, to_device
from data.masks import iou
from data.samples import HandRegions, readable
from models.load import Translator
from models.supervised import DownstreamNet
from util.drawing import sheet, spread
from util.errors import UsageError
from util.files import write_bytes, write_json
from util.images import ImageError, to_uint8, write_png
from util.results.pages import table
from util.run import LATEST
from util.runtime import seed_everything
from util.studies import train
from util.workers import progress

log = logging.getLogger(__name__)

SAMPLES = 6  # rows of samples.png
TEST_SEED = 0  # every network is tested on the same pictures
SETS = {"synthetic": "(a) synthetic", "translated": "(b) translated", "real": "(c) real"}
SHOWN = 160  # pixels: side of a picture in samples.png
TINT = (255, 60, 150)  # of what is taken for hand: a colour that hands and rooms do not have
PCK_SHARE = 0.05  # of the picture's side, within which a joint counts as correct


class Measure(NamedTuple):
    """One column of the table: its name, how a value is written, and which way it is better."""

    name: str
    form: str
    lower_is_better: bool = False


MEASURES = {
    "segmentation": {"iou": Measure("IoU", "{:.3f}")},
    "keypoints": {"pck": Measure("PCK", "{:.3f}"), "error": Measure("mean error, pixels", "{:.2f}", True)},
}


def study(opt: Namespace, model: Translator, train_frames: Domains, test_frames: Domains, *, folder: Path) -> str:
    """Run the study --downstream names, write table.md, metrics.json and samples.png to the folder and return the table.

    train_frames, test_frames: of these splits; opt: the flags of test.py. Raises UsageError where there are no masks or no
    hands, and util.errors.Stopped on SIGINT and SIGTERM.
    """
    shutil.rmtree(folder, ignore_errors=True)  # an earlier study
    hands = training_hands(opt, model, train_frames)
    tested = real_hands(opt, test_frames["real"], background=model.options.background)
    if not (hands["real"] and tested):
        raise UsageError("no hands with labels are left to train on, or to test; check --dataroot and --test_size")
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
        name: gap_closed(*sets.values(), lower_is_better=measures[name].lower_is_better)
        for name, sets in scores.items()
    }
    counts = {"train_images": len(hands["real"]), "test_images": len(tested)}
    text = report(opt, scores, gaps, **counts)
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
    return {part: each[:count] for part, each in hands.items()}


def real_hands(opt: Namespace, frames: Sequence[Frame], *, background: str) -> list[AnnotatedHand]:
    """Real hands with labels, ready to be pasted."""
    check_masks(frames, "real")
    regions = readable(HandRegions(list(frames), background=background), num_workers=opt.num_workers)
    return [hand for index, region in regions for hand in annotate(opt, frames[index], region)]


def check_masks(frames: Sequence[Frame], domain: str) -> None:
    if bare := sum(frame.mask_kind == "none" for frame in frames):
        raise UsageError(
            f"--downstream pastes hands on backgrounds by their masks, and {bare} of {len(frames)} {domain} images "
            f"have none, such as {frames[0].image}; put masks in <split>_masks/ under the same names"
        )


def annotate(opt: Namespace, frame: Frame, *hands: Hand) -> list[AnnotatedHand]:
    """Regions of one frame with its labels; none, with a warning, where its joints are wanted and cannot be read."""
    joints = None
    if opt.downstream == "keypoints":  # of the demo, whose frames are no larger than a region: pixels agree
        try:
            joints = project(read_joints(joint_file(frame.image)), CAMERA)
        except ImageError as error:
            log.warning("skipped: %s", error)
            return []
    return [cut_out(hand, size=opt.downstream_size, name=str(frame.image), joints=joints) for hand in hands]


def train_net(opt: Namespace, stream: AnnotatedHands, *, seed: int, folder: Path, like: Translator) -> DownstreamNet:
    """A network trained on the stream, on the device of `like`; only the stream's hands differ between sets of one seed."""
    seed_everything(seed)
    steps, size = opt.downstream_steps, {"width": opt.downstream_width, "lr": opt.downstream_lr}
    net = DownstreamNet(opt.downstream, **size, total_steps=steps, amp=like.amp, device=like.device)
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


class GapClosed(NamedTuple):
    """gain, gap: of translated and of real over synthetic hands, in the measure's unit, positive if better. spread: the
    widest range over seeds. share: gain / gap, None where it would mean nothing. verdict: the same in words."""

    gain: float
    gap: float
    spread: float
    share: float | None
    verdict: str


def gap_closed(
    synthetic: Sequence[float], translated: Sequence[float], real: Sequence[float], *, lower_is_better: bool = False
) -> GapClosed:
    """How much of the gap between synthetic and real hands translation closes by one measure, one value a seed.

    A share needs a mean gap wider than the spread, and real hands better by every seed: else its denominator is mostly chance.
    """
    sign = -1 if lower_is_better else 1
    a, b, c = (sign * np.asarray(values, np.float64) for values in (synthetic, translated, real))
    gain, gap = float(np.mean(b - a)), float(np.mean(c - a))
    spread = float(max(np.ptp(values) for values in (a, b, c)))
    if gap <= spread or (c <= a).any():
        verdict = (
            "the gap from synthetic to real is no wider than the spread over seeds, so its share is unknown; translated "
            f"hands trained better than synthetic ones by {(b > a).sum()} of {len(a)} seeds"
        )
        return GapClosed(gain, gap, spread, None, verdict)
    share, single = gain / gap, 100 * (b - a) / (c - a)
    seeds = f"{single.min():.0f} % to {single.max():.0f} % over {len(a)} seeds" if len(a) > 1 else "by one seed"
    return GapClosed(gain, gap, spread, share, f"translation closes {100 * share:.0f} % of the gap ({seeds})")


def report(
    opt: Namespace,
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    gaps: Mapping[str, GapClosed],
    *,
    train_images: int,
    test_images: int,
) -> str:
    """table.md. scores: {measure: {set: one value a seed}}; gaps: {measure: GapClosed}."""
    measures, size, seeds = MEASURES[opt.downstream], opt.downstream_size, opt.downstream_seeds

    def cell(form: str, values: Sequence[float]) -> str:
        mean, low, high = (form.format(value) for value in (np.mean(values), min(values), max(values)))
        return f"{mean} ({low} to {high})" if seeds > 1 else mean

    header = ["trained on", *(measure.name for measure in measures.values())]
    rows = [
        [label, *(cell(measure.form, scores[name][part]) for name, measure in measures.items())]
        for part, label in SETS.items()
    ]
    pck = f"PCK: joints within {PCK_SHARE * size:.1f} pixels, {PCK_SHARE:.0%} of the side."
    notes = [
        f"{train_images} images a set, {opt.downstream_steps} steps of {opt.downstream_batch} at {size}x{size} pixels; "
        f"{test_images} real hands of the test split, on backgrounds that were not trained on.",
        *[f"Means over {seeds} seeds, lowest to highest in brackets."] * (seeds > 1),
        pck if opt.downstream == "keypoints" else "IoU: mean over hands.",
        "Translation changes the look alone: poses, views and forearms stay those of synthetic hands.",
    ]
    title = f"{opt.downstream.capitalize()} of real hands, by what the network was trained on."
    verdicts = [f"{measures[name].name}: {gap.verdict}." for name, gap in gaps.items()]
    return "\n".join([title, "", table(header, rows), "", *verdicts, "", " ".join(notes)]) + "\n"


def sample_sheet(task: str, dataset: AnnotatedHands, predicted: dict[str, np.ndarray]) -> np.ndarray:
    """Test hands in rows: the image, the truth, and the predictions of the first seed's networks. uint8 RGB."""
    rows, draw = [], draw_mask if task == "segmentation" else draw_joints
    for k in spread(len(dataset), SAMPLES):
        item = dataset[k]
        image, labels = to_uint8(item["image"]), {key: item[key].numpy() for key in ("mask", "joints", "seen")}
        truth = [labels["mask"][0] > 0.5] if task == "segmentation" else [labels["joints"], labels["seen"]]
        rows.append([enlarge(image), draw(image, *truth), *(draw(image, predicted[part][k]) for part in SETS)])
    return sheet(rows, columns=["image", "truth", *SETS.values()])


def enlarge(image: np.ndarray) -> np.ndarray:
    """uint8 RGB (S, S, 3) -> (SHOWN, SHOWN, 3)."""
    return cv2.resize(image, (SHOWN, SHOWN), interpolation=cv2.INTER_LINEAR)


def draw_mask(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture in grey, enlarged, with a tint where mask, bool (S, S), says hand."""
    grey = enlarge(image).mean(-1, keepdims=True) * np.ones(3)
    hand = cv2.resize(mask.astype(np.uint8), (SHOWN, SHOWN), interpolation=cv2.INTER_NEAREST) > 0
    return np.where(hand[..., None], grey * 0.45 + np.array(TINT) * 0.55, grey).astype(np.uint8)


def draw_joints(image: np.ndarray, joints: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
    """The picture, enlarged and paled, with the bones between joints (21, 2) in its pixels; seen: those drawn (None: all)."""
    pale = (enlarge(image) * 0.6 + 255 * 0.4).astype(np.uint8)
    return draw_skeleton(pale, joints * (SHOWN / len(image)), seen)
