"""Which frames test.py translates, and where its results go."""

import argparse
import logging
import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

from data.checks import open_frames
from data.demo import CAMERA, is_demo
from data.frames import DOMAINS, PHASES, Domains, Frame, Reading
from data.joints import Camera, camera_of
from data.splits import SPLIT_FILE, load_split, make_split, select
from models.load import Translator
from options.shared import reading
from util.errors import UsageError
from util.files import write_bytes
from util.run import PRETRAINED, folder_of_run, make_folder

log = logging.getLogger(__name__)

RESULTS = ("generated", "synthetic", "real", "masks", "true_pairs", "metrics.json", "grid.png", "index.html")
RESULTS += ("regions.json", "hand_metrics.csv")
INPUT_FILE = "input.txt"  # the folders and files that --input named


def frames_to_test(opt: argparse.Namespace, models: dict[str, Translator]) -> dict[str, Domains]:
    """The frames of the phase for each run, at most --num_test a domain of a split: where several are compared, those that every
    run's split puts into the phase, so that none was trained on them. Raises UsageError where there are none."""
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
            shared = f"the {len(common)} {domain} images that are in the {opt.phase} split of all of them"
            log.warning("the runs were split differently: compared on %s", shared)
        for name in models:
            frames[name][domain] = [each for each in frames[name][domain] if each.image.resolve() in common]
    seed = next(iter(models.values())).options.seed
    return {name: limited(opt, part, seed) for name, part in frames.items()}


def limited(opt: argparse.Namespace, frames: Domains, seed: int) -> Domains:
    """At most --num_test frames a domain of each split (and --max_dataset_size), a seeded choice of them where there are more."""
    most = min(filter(None, (opt.num_test, opt.max_dataset_size)), default=None)
    chosen = {}
    for domain, part in frames.items():
        if "num_test" in opt.explicit and opt.phase != "all" and len(part) < opt.num_test:
            log.info("%d %s images to test on, fewer than --num_test %d", len(part), domain, opt.num_test)
        groups = [[i for i, frame in enumerate(part) if frame.phase == each] for each in PHASES]
        places = [random.Random(seed).sample(group, min(most or len(group), len(group))) for group in groups]
        chosen[domain] = [part[place] for place in sorted(sum(places, []))]
    return chosen


def split_frames(opt: argparse.Namespace, name: str, run: SimpleNamespace, *, phase: str) -> Domains:
    """The frames of the phase, by the run's own split; with the translator that ships, by one that is drawn as train.py does."""
    layout = (opt if "dataset_mode" in opt.explicit else run).dataset_mode
    where = SimpleNamespace(**data_roots(opt, run), dataset_mode=layout, num_workers=opt.num_workers)
    frames = open_frames(where, data_reading(opt, run), masked=run.mask)
    if (folder := folder_of_run(opt.checkpoints_dir, name)) == PRETRAINED:  # which was trained on other frames
        split = make_split(frames, split_by=run.split_by, val_size=None, test_size=None, seed=run.seed)
    else:
        split = load_split(folder / SPLIT_FILE)
    chosen = select(frames, split, phase)
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


def joint_camera(opt: argparse.Namespace, roots: dict[str, Path | None], frames: Sequence[Frame]) -> Camera | None:
    """The camera of the joints beside frames; see data.joints.camera_of."""
    if opt.camera:
        return Camera(*opt.camera)
    return CAMERA if is_demo(roots["dataroot"]) else camera_of(frames)


def data_reading(opt: argparse.Namespace, run: SimpleNamespace) -> Reading:
    """How images and masks are read: by the flags given now, else as the run read them; without a size limit."""
    given = {name: value for name, value in vars(reading(opt)).items() if name in opt.explicit}
    if opt.input or "masks" in given:
        run = SimpleNamespace(**{**vars(run), "masks": None})  # the run's masks are those of its own images
    return replace(reading(run), **(given | {"max_dataset_size": None}))


def results_folder(opt: argparse.Namespace, name: str) -> Path:
    """results/<name>/<phase>, <phase>_RtoS, ..., or input_<folder>; a second input of that name gets input_<folder>_2."""
    if not opt.input:
        return opt.results_dir / name / f"{opt.phase}{way(opt)}"
    given = opt.input[0].resolve() if len(opt.input) == 1 else inputs_folder(opt.input)
    label = f"input_{given.stem if given.is_file() else given.name}{way(opt)}"
    for number in count(1):
        folder = opt.results_dir / name / (label if number == 1 else f"{label}_{number}")
        if not (folder / INPUT_FILE).exists() or (folder / INPUT_FILE).read_bytes() == _inputs(opt.input):
            return folder


def inputs_folder(given: list[Path]) -> Path:
    """The folder that holds all that --input names."""
    return Path(os.path.commonpath([path.resolve().parent for path in given]))


def _inputs(given: list[Path]) -> bytes:
    return b"\n".join(bytes(path.resolve()) for path in given)


def way(opt: argparse.Namespace) -> str:
    """How the names of results' folders differ from the default's: by _RtoS, and by _whole or, with --input, by _crop."""
    cropped = "" if opt.crop == (not opt.input) else "_crop" if opt.crop else "_whole"
    return ("" if opt.direction == "StoR" else f"_{opt.direction}") + cropped


def open_folder(folder: Path, given: list[Path] | None) -> None:
    """Make the folder and remove the results of an earlier test, so that no stale image is scored. given: --input."""
    make_folder(folder, flag="--results_dir")
    for name in RESULTS:
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).unlink(missing_ok=True)
    if given:
        write_bytes(folder / INPUT_FILE, _inputs(given))
