"""The downstream study: train on synthetic hands, on translated ones, on both, and on real ones, and test on real hands."""

import logging
import random
import shutil
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from data.annotated_hands import AnnotatedHand, AnnotatedHands, cut_out
from data.frames import DOMAINS, Domains, Frame
from data.hands import Hand
from data.joints import draw_skeleton, joint_file, joints_in
from data.listing import WHOLE, plural
from data.loader import ordered_batches, to_device
from data.masks import iou
from data.pasting import open_backgrounds
from data.samples import HandRegions, Region
from models.load import Translator
from models.supervised import DownstreamNet
from util.drawing import draw_outline, evenly, fit_picture, sheet
from util.errors import UsageError
from util.files import write_bytes, write_json
from util.images import to_uint8, write_png
from util.results.pages import table
from util.results.selection import data_roots, joint_camera
from util.run import LATEST
from util.runtime import seed_everything
from util.scores.tracker import load_tracker
from util.studies import train
from util.workers import progress

log = logging.getLogger(__name__)

FindJoints = Callable[[Frame, Region], np.ndarray | None]
"""A frame and its region -> joints (21, 2) in the region's pixels; None where they are not known."""

SAMPLES = 6  # rows of samples.png
TEST_SEED = 0  # every network is tested on the same pictures
SETS = {"synthetic": "(a) synthetic", "translated": "(b) translated", "both": "(a) and (b)", "real": "(c) real"}
SURE = 0.9  # the tracker's least score of a photograph whose joints it labels
SHOWN = 160  # pixels: side of a picture in samples.png
OUTLINE = (255, 60, 150)  # of what is taken for hand: a colour that hands and rooms do not have
PCK_SHARE = 0.05  # of the picture's side, within which a joint counts as correct
# {task: {measure: (its name in the table, how a value is written, 1 if more is better, else -1)}}
MEASURES = {
    "segmentation": {"iou": ("IoU", "{:.3f}", 1)},
    "keypoints": {"pck": ("PCK", "{:.3f}", 1), "error": ("mean error, pixels", "{:.2f}", -1)},
}


def study(opt: Namespace, model: Translator, train_frames: Domains, test_frames: Domains, *, folder: Path) -> str:
    """Run the study --downstream names, write table.md, metrics.json and samples.png to the folder and return the table.

    Raises UsageError where there are no masks or no hands, and util.errors.Stopped on SIGINT and SIGTERM.
    """
    shutil.rmtree(folder, ignore_errors=True)  # an earlier study
    find_joints = joint_finders(opt, model, train_frames)
    hands = training_hands(opt, model, train_frames, find_joints)
    tested = real_hands(opt, test_frames["real"], find_joints["real"])
    if not (hands["real"] and tested):
        raise UsageError("no hands with labels are left to train on, or to test; check --dataroot and --test_size")
    size, measures = opt.downstream_size, MEASURES[opt.downstream]
    backgrounds, test_backgrounds = (
        open_backgrounds(opt.background_root, size=size, part=part) for part in ("train", "test")
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
                log.info("%s on real hands: %.4g", measures[name][0], value)
            shown.setdefault(part, predicted)  # of the first seed

    gaps = {
        name: gap_closed(*(sets[part] for part in ("synthetic", "translated", "real")), sign=measures[name][2])
        for name, sets in scores.items()
    }
    counts = {"train_images": len(hands["real"]), "test_images": len(tested)}
    counts["labels"] = "files" if find_joints["real"] is find_joints["synthetic"] else "tracker"
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
        "gap_closed": gaps,
    }
    write_json(folder / "metrics.json", metrics)
    return text


def joint_finders(opt: Namespace, model: Translator, frames: Domains) -> dict[str, FindJoints]:
    """How the joints of each domain are found: in the files beside its frames; where photographs have none, by the tracker.

    Raises UsageError where synthetic frames have none, or MediaPipe is not installed.
    """
    if opt.downstream != "keypoints":
        return dict.fromkeys(DOMAINS, lambda *_: None)
    first, camera = frames["synthetic"][0].image, joint_camera(opt, data_roots(opt, model.options), frames["synthetic"])
    if not joint_file(first).is_file():
        raise UsageError(f"--downstream keypoints needs joints of synthetic hands, such as {joint_file(first)}")

    def in_file(frame: Frame, region: Region) -> np.ndarray | None:
        return joints_in(frame, region.box, camera)

    if joint_file(frames["real"][0].image).is_file():  # the demo's
        return dict.fromkeys(DOMAINS, in_file)
    tracker = load_tracker()

    def in_photograph(_: Frame, region: Region) -> np.ndarray | None:
        seen = tracker(region.image, 0)
        return seen[0] if seen and seen[1] >= SURE else None

    return {"synthetic": in_file, "real": in_photograph}


def training_hands(
    opt: Namespace, model: Translator, frames: Domains, find_joints: Mapping[str, FindJoints]
) -> dict[str, list[AnnotatedHand]]:
    """Equally many hands of each set, ready to be pasted; translated hands are those of the synthetic set, and "both" is both."""
    count = min(opt.downstream_images, *(len(part) for part in frames.values()))
    chosen = {domain: random.Random(f"{TEST_SEED}-{domain}").sample(part, count) for domain, part in frames.items()}
    refuse_without_masks(chosen["synthetic"], "synthetic")
    real = real_hands(opt, chosen["real"], find_joints["real"])
    regions = HandRegions(chosen["synthetic"])
    translations = model.for_hands().stream(regions, batch_size=opt.batch_size, num_workers=opt.num_workers)
    synthetic, translated = [], []
    for each in progress(translations, total=count, desc="translating"):
        frame = regions.frames[each.index]
        joints = find_joints["synthetic"](frame, each.source)
        for part, image in ((synthetic, each.source.image), (translated, each.image)):
            part.append(cut_out(Hand(image, each.source.mask), name=str(frame.image), joints=joints))
    count = min(len(real), len(synthetic))
    synthetic, translated = synthetic[:count], translated[:count]
    return {"synthetic": synthetic, "translated": translated, "both": synthetic + translated, "real": real[:count]}


def real_hands(opt: Namespace, frames: Sequence[Frame], find_joints: FindJoints) -> list[AnnotatedHand]:
    """Real hands, ready to be pasted; those whose joints are needed and not found are left out."""
    refuse_without_masks(frames, "real")
    hands = []
    for index, region in HandRegions(list(frames)).readable(num_workers=opt.num_workers):
        joints = find_joints(frames[index], region)
        if joints is not None or opt.downstream != "keypoints":
            hands.append(cut_out(region, name=str(frames[index].image), joints=joints))
    log.info("%d of %d real hands are labelled", len(hands), len(frames))
    return hands


def refuse_without_masks(frames: Sequence[Frame], domain: str) -> None:
    if bare := sum(frame.mask_origin == WHOLE for frame in frames):
        raise UsageError(
            f"--downstream pastes hands on backgrounds by their masks, and {bare} of {len(frames)} {domain} images "
            f"have none, such as {frames[0].image}; put masks in <split>_masks/ under the same names"
        )


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


def gap_closed(
    synthetic: Sequence[float], translated: Sequence[float], real: Sequence[float], *, sign: int = 1
) -> dict:
    """How much of the gap between synthetic and real hands translation closes by one measure, one value a seed.

    gain, gap: of translated and of real over synthetic hands, in the measure's unit, positive if better. spread: the widest
    range over seeds. share: gain / gap. verdict: the same in words. A share needs a mean gap wider than the spread, and real
    hands better by every seed; else its denominator is mostly chance, and it is None.
    """
    a, b, c = (sign * np.asarray(values, np.float64) for values in (synthetic, translated, real))
    gain, gap = float(np.mean(b - a)), float(np.mean(c - a))
    spread, share = float(max(np.ptp(values) for values in (a, b, c))), None
    if gap <= spread or (c <= a).any():
        verdict = (
            "the gap from synthetic to real is no wider than the spread over seeds, so its share is unknown; translated "
            f"hands trained better than synthetic ones by {(b > a).sum()} of {plural(len(a), 'seed')}"
        )
    else:
        share, single = gain / gap, 100 * (b - a) / (c - a)
        seeds = f"{single.min():.0f} % to {single.max():.0f} % over {len(a)} seeds" if len(a) > 1 else "by one seed"
        verdict = f"translation closes {100 * share:.0f} % of the gap ({seeds})"
    return {"gain": gain, "gap": gap, "spread": spread, "share": share, "verdict": verdict}


def report(
    opt: Namespace, scores: Mapping[str, Mapping], gaps: Mapping, *, train_images: int, test_images: int, labels: str
) -> str:
    """table.md. scores: {measure: {set: one value a seed}}; gaps: {measure: what gap_closed gives}; labels: where those of
    real hands are from, "files" or "tracker"."""
    measures, size = MEASURES[opt.downstream], opt.downstream_size

    def cell(form: str, values: Sequence[float]) -> str:
        return f"{form} ({form} to {form})".format(np.mean(values), min(values), max(values))

    rows = [
        [label, *(cell(form, scores[name][part]) for name, (_, form, _) in measures.items())]
        for part, label in SETS.items()
    ]
    tracked = " The tracker has labelled the real ones, where it is sure." * (labels == "tracker")
    within = f" PCK: joints within {PCK_SHARE * size:.1f} pixels, {PCK_SHARE:.0%} of the side." * ("pck" in measures)
    return (
        f"{opt.downstream.capitalize()} of real hands, by what the network was trained on.\n\n"
        f"{table(['trained on', *(title for title, *_ in measures.values())], rows)}\n\n"
        + "".join(f"{measures[name][0]}: {gap['verdict']}.\n" for name, gap in gaps.items())
        + f"\n{train_images} images a set, {opt.downstream_steps} steps of {opt.downstream_batch} at {size}x{size} pixels; "
        f"{test_images} real hands of the test split, on backgrounds that were not trained on. Means over "
        f"{plural(opt.downstream_seeds, 'seed')}, lowest to highest in brackets.{within}{tracked}\n"
    )


def sample_sheet(task: str, dataset: AnnotatedHands, predicted: dict[str, np.ndarray]) -> np.ndarray:
    """Test hands in rows: the image, the truth, and the predictions of the first seed's networks. uint8 RGB."""
    rows = []
    for item, k in ((dataset[k], k) for k in evenly(range(len(dataset)), SAMPLES)):
        image = to_uint8(item["image"])
        truth = item["mask"][0].numpy() > 0.5 if task == "segmentation" else item["joints"].numpy()
        drawn = [draw(image, truth, item["seen"].numpy()), *(draw(image, predicted[part][k]) for part in SETS)]
        rows.append([fit_picture(image, SHOWN, SHOWN), *drawn])
    return sheet(rows, columns=["image", "truth", *SETS.values()])


def draw(image: np.ndarray, labels: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
    """The picture, enlarged and paled, with labels on it: the outline of a mask, bool (S, S), or the bones between joints
    (21, 2), in its pixels; seen: the joints that are drawn (None: all)."""
    pale = (fit_picture(image, SHOWN, SHOWN) * 0.6 + 255 * 0.4).astype(np.uint8)
    if labels.dtype != bool:
        return draw_skeleton(pale, labels * (SHOWN / len(image)), seen)
    draw_outline(pale, labels, OUTLINE)
    return pale
