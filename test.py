#!/usr/bin/env python
"""Translate hands with a trained model and score the result: python test.py --name msh4"""

import argparse
import logging
from pathlib import Path

from options.test_options import look_up, parse_test
from util.errors import Stopped, UsageError, parse_or_exit, run_command

if __name__ == "__main__":
    OPT = parse_or_exit(look_up)  # before PyTorch is imported, which takes seconds

from models.export import export_translator
from models.features.registry import load_feature_net
from models.load import TrainedSilNet, Translator, load_silnet
from util.results.selection import frames_to_test, limited, split_frames, way
from util.results.translate import translate_folder, translate_split
from util.results.write import write_comparison
from util.run import folder_of_run
from util.runtime import resolve_amp, resolve_device, seed_everything
from util.scores.distances import LEAST_IMAGES
from util.scores.tracker import load_tracker
from util.studies.downstream import study
from util.training.logger import setup_logging

log = logging.getLogger("test")


def main(opt: argparse.Namespace | None = None) -> int:
    opt = opt or parse_test()
    setup_logging()
    if "name" not in opt.explicit:
        log.info("no --name: taking %s, the run in %s that was written last", opt.name[0], opt.checkpoints_dir)
    seed_everything(0)
    device = resolve_device(opt.device)
    amp = resolve_amp(opt.amp, device)
    models = {}  # all are loaded before the first takes its time
    for name in opt.name:
        run = folder_of_run(opt.checkpoints_dir, name)
        model = models[name] = Translator(run, epoch=opt.epoch, direction=opt.direction, device=device, amp=amp)
        log.info("%s: %s, step %d", name, model.checkpoint, model.step)
    if opt.export:
        export_translator(models[opt.name[0]], opt.export)
        return 0
    if opt.input:
        translate_folder(opt, opt.name[0], models[opt.name[0]])
        return 0
    if opt.downstream:
        return study_downstream(opt, models)
    net, silnets, tracker = None, dict.fromkeys(models), load_tracker() if opt.tracker else None
    if opt.metrics:
        net = load_feature_net(opt.feature_net, inception_weights=opt.inception_weights, device=device)
        silnets = {name: known_silnet(opt, model) for name, model in models.items()}
    frames = frames_to_test(opt, models)
    for chosen in frames.values() if opt.metrics else ():
        fewest = min(map(len, chosen.values()))
        if fewest < LEAST_IMAGES:
            more = "raise --num_test" if opt.num_test and opt.num_test <= fewest else "give --phase all"
            raise UsageError(f"{fewest} test images; a distance needs {LEAST_IMAGES}: {more}, or give --no-metrics")
    tested = {
        name: translate_split(opt, name, each, frames[name], net, silnets[name], tracker)
        for name, each in models.items()
    }
    if len(tested) > 1:
        write_comparison(opt.results_dir / f"compare{way(opt)}", tested)
    return 0


def known_silnet(opt: argparse.Namespace, model: Translator) -> TrainedSilNet | None:
    """--silnet, else the SilNet that the run was trained with, if it is still there; None where neither is known."""
    trained_with = model.options.resolved.get("silnet")
    where = opt.silnet or (trained_with and trained_with["path"])
    if not where:
        return None
    if not opt.silnet and not Path(where).exists():
        log.warning("the run's SilNet %s is gone: no shape scores; --silnet names another", where)
        return None
    silnet = load_silnet(where, checkpoints_dir=opt.checkpoints_dir, device=model.device)
    if trained_with and silnet.sha256 != trained_with["sha256"]:
        log.warning("%s is not the SilNet that the run was trained with: %s", where, trained_with)
    return silnet


def study_downstream(opt: argparse.Namespace, models: dict[str, Translator]) -> int:
    """The downstream study of each run; see util.studies.downstream. Returns the exit status."""
    for name, model in models.items():
        run = model.options
        train = split_frames(opt, name, run, phase="train")
        test = limited(opt, split_frames(opt, name, run, phase="test"), run.seed)
        folder = opt.results_dir / name / "downstream" / opt.downstream
        try:
            table = study(opt, model, train, test, folder=folder)
        except Stopped as stopped:
            raise Stopped(stopped.number, "nothing is kept of an unfinished study") from None
        print(table)
        print(f"written: {folder}/table.md, metrics.json, samples.png")
    return 0


if __name__ == "__main__":
    run_command(lambda: main(OPT))
