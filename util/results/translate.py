"""What test.py does with one run: translate the frames of a split or a folder, write the files, and score them."""

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from data.demo import is_demo
from data.frames import DOMAINS, Domains
from data.input_folder import frames_in_folder
from data.masks.sources import WHOLE, sentence
from data.masks.survey import survey
from data.regions import HandRegions
from models.features.registry import FeatureNet
from models.load import TrainedSilNet, Translator
from util.errors import UsageError
from util.files import write_json
from util.images import FORMATS
from util.results import write as results
from util.results.folders import open_folder, results_folder
from util.results.rulers import RULERS, measure_rulers
from util.results.scores import Scores, joined, measure_distances, measure_true_pairs
from util.results.selection import data_reading, data_roots, region_side
from util.results.tested import Tested
from util.results.verdict import as_text, score_rows, verdict
from util.results.write import Written
from util.scores.silhouettes import ShapeScores

log = logging.getLogger(__name__)


def translate_split(
    opt: argparse.Namespace,
    name: str,
    model: Translator,
    frames: Domains,
    net: FeatureNet | None,
    silnet: TrainedSilNet | None,
) -> Tested:
    """Translate the frames by one run, write the results folder, and score them."""
    run = model.options
    folder = results_folder(opt, name)
    crop = region_side(run) if opt.crop else None
    domain, other = domains = DOMAINS if opt.direction == "StoR" else DOMAINS[::-1]

    open_folder(folder, None)
    options = {"crop": crop, "background": run.background}
    regions = {each: HandRegions(part, **options, keep_source=each == domain) for each, part in frames.items()}
    shape = ShapeScores(silnet.segment, model.device) if silnet else None
    if shape and run.extend_colors:
        log.warning(
            "%s was trained with extend_colors, so what it paints beside a hand is cut away and not trained: its shape scores, "
            "which look at that, do not tell whether the shape is kept",
            name,
        )
    generated, source = translate(opt, model, regions[domain], folder, domain, shape, opt.background)
    target = results.write_regions(folder, other, regions[other], num_workers=opt.num_workers)
    if not target:
        raise UsageError(f"none of the {len(regions[other])} {other} images could be read")
    grid = results.write_grid(folder, generated, source, target, domains=domains, background=opt.background)

    metrics = {
        "model": run.model,
        "netG": run.netG,
        "netD": run.netD,
        "step": model.step,
        "left_out": {each: len(part.left_out) for each, part in regions.items()},
        "masks": dict(regions[domain].origins),
        "checkpoint": model.checkpoint.name,
        "phase": opt.phase,
        "direction": opt.direction,
        "crop": crop,
    }
    tested = Tested(name, folder, domains, source, generated, metrics)
    if net:
        parts = [
            measure_distances(
                target,
                generated,
                source,
                net,
                cache_dir=opt.results_dir / "features",
                kid_subset_size=opt.kid_subset_size,
                kid_subsets=opt.kid_subsets,
                on_own_background=opt.background is not None,
            )
        ]
        unmasked = [each for each, part in regions.items() if set(part.origins) == {WHOLE}]
        if unmasked:
            metrics["not_measured"] = dict.fromkeys(RULERS, f"the {' and the '.join(unmasked)} images have no masks")
        else:
            parts.append(measure_rulers(folder, target, generated, source))
        roots = data_roots(opt, run)
        if opt.direction == "StoR" and roots["synth_root"] is None and is_demo(roots["dataroot"]):
            parts.append(measure_true_pairs(folder, generated, source, crop=crop))
        if shape:
            means, ceiling = shape.means()
            each = {frames[domain][index].relative: row[0] for index, row in shape.rows.items()}
            if means:
                parts.append(Scores(means | {"silnet": silnet.record()}, ceiling, {"shape_iou": each}))
        scores, tested.each = joined(parts)
        metrics |= scores
        metrics["verdict"] = verdict(metrics)
        log.info("%s: %s\n%s", name, metrics["verdict"], as_text(score_rows(metrics)))
        log.info("%d translated against %d %s images", metrics["n_generated"], metrics["n_real"], other)
    write_json(folder / "metrics.json", metrics)
    log.info("look at %s and %s", tested.write_page(vars(opt)), grid)
    return tested


def translate_folder(opt: argparse.Namespace, name: str, model: Translator) -> None:
    """Translate every image below --input, or the single file --input."""
    reading = data_reading(opt, model.options)
    frames = frames_in_folder(opt.input, replace(reading, objects=opt.objects, max_dataset_size=opt.max_dataset_size))
    if not frames:
        raise UsageError(f"--input {opt.input} holds no images ({FORMATS} are read)")
    frames, _ = survey(frames, what="--input")
    if reading.load_scale != 1:
        log.info("images are scaled by %g, as in training; --load_scale 1 leaves their size", reading.load_scale)
    folder = results_folder(opt, name)
    open_folder(folder, opt.input)
    domains = DOMAINS if opt.direction == "StoR" else DOMAINS[::-1]
    crop = region_side(model.options) if opt.crop else None
    regions = HandRegions(frames, crop=crop, background=model.options.background, keep_source=True)
    background = opt.background or "keep"
    generated, source = translate(opt, model, regions, folder, domains[0], background=background)
    log.info("%s", sentence(regions.origins))
    grid = results.write_grid(folder, generated, source, None, domains=domains, background=background)
    tested = Tested(name, folder, domains, source, generated)
    log.info("look at %s and %s", tested.write_page(vars(opt)), grid)


def translate(
    opt: argparse.Namespace,
    model: Translator,
    regions: HandRegions,
    folder: Path,
    domain: str,
    shape: ShapeScores | None = None,
    background: str | None = None,
) -> tuple[list[Written], list[Written]]:
    """Translate regions into the folder, and link the annotations with --annotations. Returns (generated, source).

    shape: measures every translation. background: see util.results.write.write_translations.
    """
    translations = model.hands(crop_to_hand=opt.crop_to_hand).stream(
        regions, batch_size=opt.batch_size, num_workers=opt.num_workers
    )
    if shape:
        translations = shape.watch(translations)
    generated, source = results.write_translations(folder, domain, regions.frames, translations, background=background)
    if not generated:
        raise UsageError(f"none of the {len(regions)} {domain} images could be read")
    log.info("%d of %d images translated: %s", len(generated), len(regions), folder / "generated")
    if opt.annotations:
        log.info("%d annotation files linked beside them", results.link_annotations(generated))
    return generated, source
