#!/usr/bin/env python
"""How real are translated hands? python classify.py --experiment {table2,table3} --name msh4"""

import argparse
import logging
import shlex
import shutil
from pathlib import Path

from options.classify_options import classify_parser, parse_classify
from options.test_options import parse_test, test_parser
from util.errors import UsageError, parse_or_exit, run_command
from util.run import load_options

if __name__ == "__main__":
    OPT = parse_or_exit(parse_classify)  # before PyTorch is imported, which takes seconds
    parse_or_exit(lambda: OPT.name and load_options(OPT.checkpoints_dir / OPT.name))

from data.labelled_hands import KINDS, PARTS, Pool, Sample, draw_balanced, pools_of_folders, pools_of_split
from data.splits import SPLIT_FILE, Split, load_split
from util.files import locked, read_json
from util.images import write_png
from util.run import OPTIONS_FILE, environment, make_folder, open_run, plain_options, save_options
from util.runtime import resolve_amp, resolve_device
from util.studies.classification import EXPERIMENTS, run_training_set, sample_sheet, training_samples, write_results
from util.training.logger import setup_logging

log = logging.getLogger("classify")


def main(opt: argparse.Namespace | None = None) -> int:
    opt = opt or parse_classify()
    setup_logging()
    folder = opt.results_dir / "classify" / opt.experiment
    make_folder(opt.results_dir, flag="--results_dir")
    with locked(opt.results_dir / f".classify_{folder.name}.lock"):
        return study(opt, folder)


def study(opt: argparse.Namespace, folder: Path) -> int:
    """Train, test and write everything; returns the exit status."""
    device, experiment = resolve_device(opt.device), EXPERIMENTS[opt.experiment]
    amp = resolve_amp(opt.amp, device)
    wanted = {"train": opt.train_per_class, "test": opt.test_per_class}
    found = pools(opt, wanted)
    hands = {part: draw_balanced(pool, per_class=wanted[part], seed=opt.seed) for part, pool in found.items()}
    counts = {part: len(hands[part]["real"]) for part in PARTS}
    notes = [
        f"{counts[part]} {part}ing images a class, not the {wanted[part]} of --{part}_per_class: there are "
        f"{', '.join(f'{len(found[part][kind])} {kind}' for kind in KINDS)} ones to {part} with."
        for part in PARTS
        if counts[part] < wanted[part]
    ]
    for note in notes:
        log.warning(note)

    open_study(opt, folder)
    resolved = {"device": str(device), "amp": amp.name, "images_per_class": counts, **environment()}
    save_options(folder, plain_options(opt) | {"resolved": resolved})

    write_png(folder / "samples.png", sample_sheet(hands["test"], opt))
    tested = [Sample(file, kind, experiment.label(kind)) for kind in KINDS for file in hands["test"][kind]]
    predictions = {}
    for name in experiment.training_sets:
        samples = training_samples(experiment, name, hands["train"])
        log.info("training on %s: %d images; testing on %d a kind", name, len(samples), counts["test"])
        predictions[name] = run_training_set(name, samples, tested, opt=opt, study=folder, device=device, amp=amp)

    print(write_results(folder, opt.experiment, tested, predictions, counts, notes))
    print(f"written: {folder}/table.md, confusion.png, samples.png, predictions.csv, metrics.json")
    return 0


def pools(opt: argparse.Namespace, wanted: dict[str, int]) -> dict[str, Pool]:
    """All hands, by part, kind and source."""
    if opt.name:
        split = load_split(opt.checkpoints_dir / opt.name / SPLIT_FILE)
        translate_lacking(opt, split, wanted)
        return pools_of_split(opt.results_dir / opt.name / "all", split)
    folders = {"synthetic": opt.synth_dir, "real": opt.real_dir, "generated": opt.gen_dir}
    share = opt.test_per_class / (opt.test_per_class + opt.train_per_class)
    return pools_of_folders(folders, seed=opt.seed, test_share=share)


def translate_lacking(opt: argparse.Namespace, split: Split, wanted: dict[str, int]) -> None:
    """Have test.py write results/NAME/all anew, if it holds fewer of the run's hands than are wanted and its split has."""
    folder = opt.results_dir / opt.name / "all"
    found, skipped = pools_of_split(folder, split), (read_json(folder / "metrics.json") or {}).get("skipped", {})
    kinds = {"synthetic": "generated", "real": "real"}
    if all(
        len(found[part][kind]) + skipped.get(domain, 0) >= min(wanted[part], len(split[domain][part]))
        for domain, kind in kinds.items()
        for part in PARTS
    ):
        return
    from test import main as translate

    flags = {"name": [opt.name], "phase": "all", "num_test": max(wanted.values()), "metrics": False}
    shared = ("checkpoints_dir", "results_dir", "device", "amp", "num_workers")
    line = test_parser().line(flags | {name: getattr(opt, name) for name in shared})
    log.info("translating up to %d hands of each split: %s", max(wanted.values()), line)
    translate(parse_test(shlex.split(line)[2:]))


def open_study(opt: argparse.Namespace, folder: Path) -> None:
    """Prepare the study's folder: a finished study is replaced, an unfinished one needs --continue_train (UsageError)."""
    if (folder / OPTIONS_FILE).exists() and not opt.continue_train:
        if not (folder / "metrics.json").exists():
            raise UsageError(
                f"{folder} holds an unfinished study; pass --continue_train to go on with it, or delete the folder, or "
                "choose another --results_dir"
            )
        log.info("replacing the finished study in %s", folder)
        shutil.rmtree(folder)
    open_run(folder, plain_options(opt), continue_train=opt.continue_train, may_change=classify_parser().may_change())


if __name__ == "__main__":
    run_command(lambda: main(OPT))
