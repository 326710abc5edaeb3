#!/usr/bin/env python
"""Translate hands with a trained model and score the result: python test.py --name msh4"""

import argparse
import logging
import random
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from options.test_options import parse_test
from util.errors import UsageError, check_flags, run_command

if __name__ == "__main__":
    check_flags(parse_test)  # before PyTorch is imported, which takes seconds

import torch

from data.demo import is_demo
from data.frames import DOMAINS, Frame, Reading
from data.input_folder import frames_in_folder
from data.masks.sources import sentence
from data.masks.survey import survey
from data.regions import TEST_CROP, HandRegions
from data.roots import open_frames
from data.splits import SPLIT_FILE, load_split, select
from models.export import export_translator
from models.features.registry import FeatureNet, load_feature_net
from models.load import TrainedSilNet, Translator, load_silnet
from options.shared import DEMO_ROOT, reading
from util.image_header import FORMATS
from util.results import write as results
from util.results.comparison import write_comparison
from util.results.folders import comparison_folder, open_folder, results_folder
from util.results.rulers import measure_rulers
from util.results.scores import Scores, joined, measure_distances, measure_true_pairs
from util.results.tested import Tested
from util.results.verdict import as_text, score_rows, verdict
from util.results.write import Written
from util.runtime import Amp, resolve_amp, resolve_device, seed_everything
from util.scores.silhouettes import ShapeScores
from util.studies.downstream import study
from util.training.logger import setup_logging
from util.training.signals import Stopped

log = logging.getLogger("test")

Domains = dict[str, list[Frame]]
"""{"synthetic": frames, "real": frames}."""


def main() -> int:
    opt = parse_test()
    setup_logging()
    if "name" not in opt.explicit:
        log.info("no --name: taking %s, the run in %s that was written last", opt.name[0], opt.checkpoints_dir)
    seed_everything(0)
    device = resolve_device(opt.device)
    amp = resolve_amp(opt.amp, device)
    models = {name: load(opt, name, device, amp) for name in opt.name}  # all, before the first takes its time
    if opt.export:
        export_translator(models[opt.name[0]], opt.export)
        return 0
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
    frames = frames_to_test(opt, models)
    tested = {
        name: translate_split(opt, name, model, frames[name], net, silnets[name]) for name, model in models.items()
    }
    if len(tested) > 1:
        written = write_comparison(comparison_folder(opt), tested)
        if written:
            log.info("compared: look at %s", ", ".join(map(str, written)))
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


def frames_to_test(opt: argparse.Namespace, models: dict[str, Translator]) -> dict[str, Domains]:
    """The frames of the phase for each run, at most --num_test a domain.

    Runs that are compared are all given the same frames, which each run's split puts into the phase: none of them was
    trained on what it is compared by. Raises UsageError where the runs know different data, or share no such frames.
    """
    roots = {name: data_roots(opt, model.options) for name, model in models.items()}
    frames = {
        name: split_frames(opt, name, model.options, roots[name], phase=opt.phase) for name, model in models.items()
    }
    for domain in DOMAINS if len(models) > 1 else ():
        files = {name: {frame.image.resolve() for frame in frames[name][domain]} for name in models}
        common = set.intersection(*files.values())
        if not common:
            where = ", ".join(f"{name} ({opt.phase}: {len(files[name])})" for name in models)
            raise UsageError(
                f"the runs have no {domain} images in common that the split of each puts into {opt.phase}: {where}; "
                "compare runs of the same --dataroot and the same --seed, or test each run by itself"
            )
        if any(len(each) > len(common) for each in files.values()):
            log.warning(
                "the runs were split differently: compared on the %d %s images that are in the %s split of all of them",
                len(common),
                domain,
                opt.phase,
            )
        for name in models:
            frames[name][domain] = [each for each in frames[name][domain] if each.image.resolve() in common]
    seed = next(iter(models.values())).options.seed
    return {name: limited(opt, part, seed) for name, part in frames.items()}


def translate_split(
    opt: argparse.Namespace,
    name: str,
    model: Translator,
    frames: Domains,
    net: FeatureNet | None,
    silnet: TrainedSilNet | None,
) -> Tested:
    """Translate the frames by one run, write the files of the contract, and score them."""
    run = model.options
    folder = results_folder(opt, name)
    crop = region_side(run) if opt.crop else None
    domain, other = ("synthetic", "real") if opt.direction == "StoR" else ("real", "synthetic")

    open_folder(folder, None)
    options = {"crop": crop, "background": run.background, "strict": opt.strict}
    regions = {each: HandRegions(part, **options, keep_source=each == domain) for each, part in frames.items()}
    shape = ShapeScores(silnet.segment, model.device) if silnet else None
    generated, source = translate(opt, model, regions[domain], folder, domain, shape, opt.background)
    target = results.write_regions(folder, other, regions[other], num_workers=opt.num_workers)
    if not target.images:
        raise UsageError(f"none of the {len(regions[other])} {other} images could be read")
    grid = results.write_grid(folder, generated, source, target, domains=(domain, other))

    metrics = {"model": run.model, "netG": run.netG, "netD": run.netD, "step": model.step}
    metrics |= {"left_out": {each: len(part.left_out) for each, part in regions.items()}}
    metrics |= {"masks": dict(regions[domain].origins)}
    metrics |= {"checkpoint": model.checkpoint.name, "phase": opt.phase, "direction": opt.direction, "crop": crop}
    tested = Tested(name, folder, (domain, other), source, generated, metrics)
    if net:
        parts = [measure_distances(target, generated, source, net, **distance_options(opt))]
        parts.append(measure_rulers(folder, target, generated, source))
        roots = data_roots(opt, run)
        if opt.direction == "StoR" and roots["synth_root"] is None and is_demo(roots["dataroot"]):
            parts.append(measure_true_pairs(folder, generated, source, crop=crop))
        if shape:
            parts.append(shape_scores(shape, regions[domain], silnet))
        scores, tested.each = joined(parts)
        metrics |= scores
        metrics["verdict"] = verdict(metrics)
        log.info("%s: %s\n%s", name, metrics["verdict"], as_text(score_rows(metrics)))
        log.info("%d translated against %d %s images", metrics["n_generated"], metrics["n_real"], other)
    results.write_metrics(folder, metrics)
    log.info("look at %s and %s", tested.write_page(vars(opt)), grid)
    return tested


def distance_options(opt: argparse.Namespace) -> dict:
    """What measure_distances takes of the flags."""
    return {
        "cache_dir": opt.results_dir / "features",
        "kid_subset_size": opt.kid_subset_size,
        "kid_subsets": opt.kid_subsets,
        "on_own_background": opt.background is not None,
    }


def shape_scores(shape: ShapeScores, regions: HandRegions, silnet: TrainedSilNet) -> Scores:
    """How well the hand's shape is kept; nothing where no source has a mask."""
    means = shape.means()
    if not means:
        return Scores({}, {})
    baseline = means.pop("baseline")
    each = {regions.frames[index].relative: value for index, value in shape.each.items()}
    return Scores(means | {"silnet": silnet.record()}, baseline, {"shape_iou": each})


def study_downstream(opt: argparse.Namespace, models: dict[str, Translator], amp: Amp) -> int:
    """The downstream study of each run; see util.downstream. Returns the exit status."""
    for name, model in models.items():
        run = model.options
        roots = data_roots(opt, run)
        train = split_frames(opt, name, run, roots, phase="train")
        test = limited(opt, split_frames(opt, name, run, roots, phase="test"), run.seed)
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


def region_side(run: SimpleNamespace) -> int:
    """The side of the run's validation and test regions in pixels."""
    return getattr(run, "test_crop_size", TEST_CROP)  # older runs do not say


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
    """How images and masks are read: as the flags given now say, else as the run did; however many there are."""
    given = {name: value for name, value in vars(reading(opt)).items() if name in opt.explicit}
    if opt.input or "masks" in given:
        run = SimpleNamespace(**{**vars(run), "masks": None})  # the run's masks are those of its own images
    return replace(reading(run), **(given | {"max_dataset_size": None}))


def split_frames(
    opt: argparse.Namespace, name: str, run: SimpleNamespace, roots: dict[str, Path | None], *, phase: str
) -> Domains:
    """The frames of the phase, by the run's own split."""
    frames = open_frames(
        **roots,
        dataset_mode=opt.dataset_mode if "dataset_mode" in opt.explicit else run.dataset_mode,
        reading=data_reading(opt, run),
        demo_root=DEMO_ROOT,
    )
    chosen = select(frames, load_split(opt.checkpoints_dir / name / SPLIT_FILE), phase)
    for domain, part in chosen.items():
        if not part:
            raise UsageError(f"the {phase} split of {name} holds no {domain} images; choose another --phase")
    return chosen


def limited(opt: argparse.Namespace, frames: Domains, seed: int) -> Domains:
    """At most --num_test frames a domain (and --max_dataset_size), a seeded choice of them where there are more."""
    chosen, most = {}, min(opt.num_test, opt.max_dataset_size or opt.num_test)
    for domain, part in frames.items():
        chosen[domain] = part
        if len(part) > most:
            picked = sorted(random.Random(seed).sample(range(len(part)), most))
            chosen[domain] = [part[index] for index in picked]
        elif "num_test" in opt.explicit and len(part) < opt.num_test:
            log.info("%d %s images to test on, fewer than --num_test %d", len(part), domain, opt.num_test)
    return chosen


def translate_folder(opt: argparse.Namespace, name: str, model: Translator) -> None:
    """Translate every image below --input, or the one that it is."""
    how = data_reading(opt, model.options)
    frames = frames_in_folder(opt.input, replace(how, objects=opt.objects, max_dataset_size=opt.max_dataset_size))
    if not frames:
        raise UsageError(f"--input {opt.input} holds no images ({FORMATS} are read)")
    frames, _ = survey(frames, what="--input")
    if how.load_scale != 1:
        log.info("images are scaled by %g, as in training; --load_scale 1 leaves their size", how.load_scale)
    folder = results_folder(opt, name)
    open_folder(folder, opt.input)
    domain = "synthetic" if opt.direction == "StoR" else "real"
    crop = region_side(model.options) if opt.crop else None
    regions = HandRegions(frames, crop=crop, background=model.options.background, strict=opt.strict, keep_source=True)
    generated, source = translate(opt, model, regions, folder, domain, background=opt.background or "keep")
    log.info("%s", sentence(regions.origins))
    other = "real" if domain == "synthetic" else "synthetic"
    grid = results.write_grid(folder, generated, source, None, domains=(domain, other))
    tested = Tested(name, folder, (domain, other), source, generated)
    log.info("look at %s and %s", tested.write_page(vars(opt)), grid)


def translate(
    opt: argparse.Namespace,
    model: Translator,
    regions: HandRegions,
    folder: Path,
    domain: str,
    shape: ShapeScores | None = None,
    background: str | None = None,
) -> tuple[Written, Written]:
    """Translate regions into the folder, with, on request, the annotations. Returns (generated, source).

    shape: is shown every translation as it is made. background: see util.results.write.write_translations.
    """
    found = model.hands(hand_box=opt.hand_box).stream(regions, batch_size=opt.batch_size, num_workers=opt.num_workers)
    found = shape.watch(found) if shape else found
    generated, source = results.write_translations(folder, domain, regions.frames, found, background=background)
    if not generated.images:
        raise UsageError(f"none of the {len(regions)} {domain} images could be read")
    log.info("%d of %d images translated: %s", len(generated.images), len(regions), folder / "generated")
    if opt.annotations:
        log.info("%d annotation files linked beside them", results.link_annotations(generated))
    return generated, source


if __name__ == "__main__":
    run_command(main)
