#!/usr/bin/env python
"""Translate hands with a trained model and score the result: python test.py --name msh4"""

import argparse
import logging
import random
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from options.test_options import parse_test
from util.errors import UsageError, check_flags, run_command

if __name__ == "__main__":
    check_flags(parse_test)  # before PyTorch is imported, which takes seconds

import torch

from data.demo import is_demo
from data.frames import Frame, Reading
from data.input_folder import frames_in_folder
from data.masks.sources import sentence
from data.masks.survey import survey
from data.regions import TEST_CROP, HandRegions
from data.roots import open_frames
from data.splits import SPLIT_FILE, load_split, select
from models.features.registry import FeatureNet, load_feature_net
from models.load import TrainedSilNet, Translator, load_silnet
from options.shared import DEMO_ROOT, reading
from util.image_header import FORMATS
from util.results import write as results
from util.results.comparison import write_comparison
from util.results.folders import open_folder, results_folder
from util.results.rulers import measure_rulers
from util.results.write import Written
from util.runtime import Amp, resolve_amp, resolve_device, seed_everything
from util.scores.silhouettes import ShapeScores
from util.studies.downstream import study
from util.training.logger import setup_logging
from util.training.signals import Stopped

log = logging.getLogger("test")

RATIOS = ("texture", "tone", "fringe")  # the rulers that are ratios to the target domain's own


class Tested(NamedTuple):
    """What is kept of one model: its metrics.json, and the files of sources and translations."""

    metrics: dict
    source: Written
    generated: Written


def main() -> int:
    opt = parse_test()
    setup_logging()
    if "name" not in opt.explicit:
        log.info("no --name: taking %s, the run in %s that was written last", opt.name[0], opt.checkpoints_dir)
    seed_everything(0)
    device = resolve_device(opt.device)
    amp = resolve_amp(opt.amp, device)
    models = {name: load(opt, name, device, amp) for name in opt.name}  # all, before the first takes its time
    if opt.input:
        translate_folder(opt, opt.name[0], models[opt.name[0]])
        return 0
    if opt.downstream:
        return study_downstream(opt, models, amp)
    net = (
        load_feature_net(opt.feature_net, inception_weights=opt.inception_weights, device=device)
        if opt.metrics
        else None
    )
    silnets = {name: known_silnet(opt, model) if opt.metrics else None for name, model in models.items()}
    tested = {name: translate_split(opt, name, model, net, silnets[name]) for name, model in models.items()}
    if len(tested) > 1:
        folder = opt.results_dir / "compare"
        first = next(iter(tested.values()))
        write_comparison(
            folder,
            {name: each.metrics for name, each in tested.items()},
            first.source,
            {name: each.generated for name, each in tested.items()},
        )
        log.info("compared: %s", folder)
    return 0


def load(opt: argparse.Namespace, name: str, device: torch.device, amp: Amp) -> Translator:
    """The run's generator for the direction."""
    folder = opt.checkpoints_dir / name
    model = Translator(folder, epoch=opt.epoch, direction=opt.direction, device=device, amp=amp)
    log.info("%s: %s, step %d", name, model.checkpoint, model.step)
    return model


def known_silnet(opt: argparse.Namespace, model: Translator) -> TrainedSilNet | None:
    """--silnet, else the SilNet that the run was trained with, if it is still there; None where neither is known."""
    trained_with = model.options.resolved.get("silnet")
    where = opt.silnet or (trained_with and trained_with["path"])
    if not where:
        return None
    if not opt.silnet and not Path(where).exists():
        log.warning("the run's SilNet %s is gone: no shape scores; --silnet names another", where)
        return None
    background = model.options.background
    silnet = load_silnet(where, checkpoints_dir=opt.checkpoints_dir, background=background, device=model.device)
    if trained_with and silnet.sha256 != trained_with["sha256"]:
        log.warning(
            "%s is not the SilNet that the run was trained with (%s), or has changed since", where, trained_with
        )
    return silnet


def translate_split(
    opt: argparse.Namespace, name: str, model: Translator, net: FeatureNet | None, silnet: TrainedSilNet | None
) -> Tested:
    """Translate the split of one run, write the files of the contract, and score them."""
    run = model.options
    folder = results_folder(opt, name)
    crop = TEST_CROP if opt.crop else None
    roots = data_roots(opt, run)
    chosen = split_frames(opt, name, run, roots, phase=opt.phase, most=opt.num_test)
    domain, other = ("synthetic", "real") if opt.direction == "StoR" else ("real", "synthetic")

    open_folder(folder, None)
    how = {"crop": crop, "background": run.background, "strict": opt.strict}
    regions = {d: HandRegions(frames, **how, keep_source=d == domain) for d, frames in chosen.items()}
    shape = ShapeScores(silnet.segment, model.device) if silnet else None
    generated, source = translate(opt, model, regions[domain], folder, domain, shape, opt.background)
    target = results.write_regions(folder, other, regions[other], num_workers=opt.num_workers)
    if not target.images:
        raise UsageError(f"none of the {len(regions[other])} {other} images could be read")

    metrics = {"model": run.model, "netG": run.netG, "netD": run.netD, "step": model.step}
    metrics |= {"left_out": {d: len(part.left_out) for d, part in regions.items()}}
    metrics |= {"checkpoint": model.checkpoint.name, "phase": opt.phase, "direction": opt.direction, "crop": crop}
    if net:
        metrics |= results.measure(
            target,
            generated,
            source,
            net,
            cache_dir=opt.results_dir / "features",
            kid_subset_size=opt.kid_subset_size,
            kid_subsets=opt.kid_subsets,
            on_own_background=opt.background is not None,
        )
        rulers = measure_rulers(folder, target, generated, source)
        metrics["baseline"] |= rulers.pop("baseline")
        metrics |= rulers
        if opt.direction == "StoR" and roots["synth_root"] is None and is_demo(roots["dataroot"]):
            pairs = results.measure_true_pairs(folder, generated, source, crop=crop)
            metrics["baseline"] |= pairs.pop("baseline")
            metrics |= pairs
        if shape and (scores := shape.means()):
            metrics["baseline"] |= scores.pop("baseline")
            metrics |= scores | {"silnet": silnet.record()}
        report(name, metrics)
    results.write_metrics(folder, metrics)
    return Tested(metrics, source, generated)


def study_downstream(opt: argparse.Namespace, models: dict[str, Translator], amp: Amp) -> int:
    """The downstream study of each run; see util.downstream. Returns the exit status."""
    for name, model in models.items():
        run = model.options
        roots = data_roots(opt, run)
        train = split_frames(opt, name, run, roots, phase="train", most=None)
        test = split_frames(opt, name, run, roots, phase="test", most=opt.num_test)
        elsewhere = roots["synth_root"] or roots["real_root"]
        if opt.downstream == "keypoints" and (elsewhere or not is_demo(roots["dataroot"])):
            raise UsageError(
                "--downstream keypoints needs joints of real hands, and only the demo has them, not the data of "
                f"{name} ({roots['real_root'] or roots['dataroot']}); use --downstream segmentation or a demo run"
            )
        folder = opt.results_dir / name / "downstream" / opt.downstream
        try:
            table = study(
                opt,
                model,
                train,
                test,
                background=run.background,
                folder=folder,
                device=model.device,
                amp=amp,
            )
        except Stopped as stopped:
            log.info("%s: nothing is kept of an unfinished study", signal.Signals(stopped.signal_number).name)
            return 128 + stopped.signal_number
        print(table)
        print(f"written: {folder}/table.md, metrics.json, samples.png")
    return 0


def data_roots(opt: argparse.Namespace, run: SimpleNamespace) -> dict[str, Path | None]:
    """The data's folders: as given now, else the run's."""
    return {flag: getattr(opt, flag) or stored_root(run, flag) for flag in ("dataroot", "synth_root", "real_root")}


def stored_root(run: SimpleNamespace, flag: str) -> Path | None:
    """The data's folder by its absolute path, or, if it is no longer there, as the run was given it."""
    given, absolute = getattr(run, flag), run.resolved["roots"].get(flag)
    if given is None:
        return None
    return Path(absolute) if absolute and Path(absolute).is_dir() else Path(given)


def data_reading(opt: argparse.Namespace, run: SimpleNamespace) -> Reading:
    """How images and masks are read: as the flags given now say, else as the run did."""
    given = {name: value for name, value in vars(reading(opt)).items() if name in opt.explicit}
    return replace(reading(run), max_dataset_size=opt.max_dataset_size, **given)


def split_frames(
    opt: argparse.Namespace,
    name: str,
    run: SimpleNamespace,
    roots: dict[str, Path | None],
    *,
    phase: str,
    most: int | None,
) -> dict[str, list[Frame]]:
    """The frames of the phase, by the run's own split; a seeded choice of them where there are more than `most`."""
    frames = open_frames(
        **roots,
        dataset_mode=opt.dataset_mode if "dataset_mode" in opt.explicit else run.dataset_mode,
        reading=data_reading(opt, run),
        demo_root=DEMO_ROOT,
    )
    chosen = select(frames, load_split(opt.checkpoints_dir / name / SPLIT_FILE), phase)
    for domain, found in chosen.items():
        if not found:
            raise UsageError(f"the {phase} split of {name} holds no {domain} images; choose another --phase")
        if most and len(found) > most:
            picked = sorted(random.Random(run.seed).sample(range(len(found)), most))
            chosen[domain] = [found[index] for index in picked]
        elif most and "num_test" in opt.explicit and len(found) < most:
            log.info("the %s split holds %d %s images, fewer than --num_test %d", phase, len(found), domain, most)
    return chosen


def translate_folder(opt: argparse.Namespace, name: str, model: Translator) -> None:
    """Translate every image below --input, or the one that it is."""
    how = data_reading(opt, model.options)
    if "masks" not in opt.explicit:
        how = replace(how, masks=None)  # the run's masks are those of its own images
    frames = frames_in_folder(opt.input, replace(how, objects=opt.objects))
    if not frames:
        raise UsageError(f"--input {opt.input} holds no images ({FORMATS} are read)")
    frames, _ = survey(frames, what="--input")
    if how.load_scale != 1:
        log.info("images are scaled by %g, as in training; --load_scale 1 leaves their size", how.load_scale)
    folder = results_folder(opt, name)
    open_folder(folder, opt.input)
    domain = "synthetic" if opt.direction == "StoR" else "real"
    crop = TEST_CROP if opt.crop else None
    regions = HandRegions(frames, crop=crop, background=model.options.background, strict=opt.strict, keep_source=True)
    translate(opt, model, regions, folder, domain, background=opt.background or "keep")
    log.info("%s", sentence(regions.origins))


def translate(
    opt: argparse.Namespace,
    model: Translator,
    regions: HandRegions,
    folder: Path,
    domain: str,
    shape: ShapeScores | None = None,
    background: str | None = None,
) -> tuple[Written, Written]:
    """Translate regions into the folder, with the figure and, on request, the annotations. Returns (generated, source).

    shape: is shown every translation as it is made. background: see util.results.write.write_translations.
    """
    found = model.hands(hand_box=opt.hand_box).stream(regions, batch_size=opt.batch_size, num_workers=opt.num_workers)
    found = shape.watch(found) if shape else found
    generated, source = results.write_translations(folder, domain, regions.frames, found, background=background)
    if not generated.images:
        raise UsageError(f"none of the {len(regions)} {domain} images could be read")
    grid = results.write_grid(folder, generated, source, labels=(domain, "translated"))
    log.info("%d of %d images translated: %s", len(generated.images), len(regions), folder / "generated")
    if opt.annotations:
        log.info("%d annotation files linked beside them", results.link_annotations(generated))
    log.info("look at %s", grid)
    return generated, source


def report(name: str, metrics: dict) -> None:
    """Say the scores in a few lines."""
    metric = "fid" if "fid" in metrics else "fd"
    base = metrics["baseline"]
    low, high = metrics[f"{metric}_ci"]
    log.info(
        "%s: %s %.2f (95 %% interval %.1f to %.1f; untranslated %.2f; real against real %.2f), inside the hand %.2f "
        "(untranslated %.2f), KID %.4f ± %.4f, on %d generated and %d real images",
        name,
        metric.upper(),
        metrics[metric],
        low,
        high,
        base[metric],
        metrics["floor"],
        metrics[f"{metric}_patch"],
        base[f"{metric}_patch"],
        metrics["kid_mean"],
        metrics["kid_std"],
        metrics["n_generated"],
        metrics["n_real"],
    )
    log.info(
        "structure %s (by chance %s; new edges %s), texture %s, tone %s, fringe %s; untranslated: texture %s, tone %s, "
        "fringe %s (the photographs' own are 1)",
        *(ruler_text(metrics[name]) for name in ("structure", "structure_chance", "new_edges", *RATIOS)),
        *(ruler_text(base[name]) for name in RATIOS),
    )
    if "shape_iou" in metrics:
        log.info(
            "shape, unmasked: IoU %.3f (untranslated %.3f), boundary F %.3f (untranslated %.3f), on %d images",
            metrics["shape_iou"],
            base["shape_iou"],
            metrics["boundary_f"],
            base["boundary_f"],
            metrics["n_shape"],
        )
    if "psnr" in metrics:
        log.info(
            "against the true pairs: PSNR %.2f dB (untranslated %.2f), SSIM %.3f (untranslated %.3f)",
            metrics["psnr"],
            base["psnr"],
            metrics["ssim"],
            base["ssim"],
        )


def ruler_text(value: float | dict | None) -> str:
    """A ruler's figure, or one for each of its parts, with two digits."""
    if isinstance(value, dict):
        return " ".join(f"{name} {ruler_text(part)}" for name, part in value.items())
    return "unknown" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    run_command(main)
