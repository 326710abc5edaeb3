"""Which frames test.py translates: the run's data, its split, and at most --num_test of them."""

import argparse
import logging
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from data.frames import DOMAINS, Domains, Reading
from data.regions import TEST_CROP
from data.roots import open_frames
from data.splits import SPLIT_FILE, load_split, select
from models.load import Translator
from options.shared import DEMO_ROOT, reading
from util.errors import UsageError

log = logging.getLogger(__name__)


def frames_to_test(opt: argparse.Namespace, models: dict[str, Translator]) -> dict[str, Domains]:
    """The frames of the phase for each run, at most --num_test a domain.

    Runs that are compared get the same frames: those that every run's split puts into the phase, so that none was
    trained on them. Raises UsageError where the runs know different data, or share no such frames.
    """
    frames = {name: split_frames(opt, name, model.options, phase=opt.phase) for name, model in models.items()}
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


def limited(opt: argparse.Namespace, frames: Domains, seed: int) -> Domains:
    """At most --num_test frames a domain (and --max_dataset_size), a seeded choice of them where there are more."""
    most = min(opt.num_test, opt.max_dataset_size or opt.num_test)
    for domain, part in frames.items():
        if "num_test" in opt.explicit and len(part) < opt.num_test:
            log.info("%d %s images to test on, fewer than --num_test %d", len(part), domain, opt.num_test)
    return {
        domain: [part[place] for place in sorted(random.Random(seed).sample(range(len(part)), min(most, len(part))))]
        for domain, part in frames.items()
    }


def split_frames(opt: argparse.Namespace, name: str, run: SimpleNamespace, *, phase: str) -> Domains:
    """The frames of the phase, by the run's own split."""
    frames = open_frames(
        **data_roots(opt, run),
        dataset_mode=opt.dataset_mode if "dataset_mode" in opt.explicit else run.dataset_mode,
        reading=data_reading(opt, run),
        demo_root=DEMO_ROOT,
    )
    chosen = select(frames, load_split(opt.checkpoints_dir / name / SPLIT_FILE), phase)
    for domain, part in chosen.items():
        if not part:
            raise UsageError(f"the {phase} split of {name} holds no {domain} images; choose another --phase")
    return chosen


def data_roots(opt: argparse.Namespace, run: SimpleNamespace) -> dict[str, Path | None]:
    """The data's folders: as given now, else the run's by their absolute paths, or, if these are gone, as given then."""
    there = {flag: root for flag, root in run.resolved["roots"].items() if root and Path(root).is_dir()}
    flags = ("dataroot", "synth_root", "real_root")
    roots = {flag: getattr(opt, flag) or there.get(flag) or getattr(run, flag) for flag in flags}
    return {flag: Path(root) if root else None for flag, root in roots.items()}


def data_reading(opt: argparse.Namespace, run: SimpleNamespace) -> Reading:
    """How images and masks are read: by the flags given now, else as the run read them; without a size limit."""
    given = {name: value for name, value in vars(reading(opt)).items() if name in opt.explicit}
    if opt.input or "masks" in given:
        run = SimpleNamespace(**{**vars(run), "masks": None})  # the run's masks are those of its own images
    return replace(reading(run), **(given | {"max_dataset_size": None}))


def region_side(run: SimpleNamespace) -> int:
    """The side of the run's validation and test regions in pixels."""
    return TEST_CROP
