#!/usr/bin/env python
"""Train H-GAN, a baseline or SilNet: python train.py --name msh4 --netD perceptual"""

import argparse
import contextlib
import logging
import math
import shlex
from functools import partial

from options.train_options import enter_run, look_up, parse_train, without_masks
from util.errors import parse_or_exit, run_command

if __name__ == "__main__":
    OPT = parse_or_exit(look_up)  # before PyTorch is imported, which takes seconds

import torch

from data.checks import open_frames
from data.frames import Domains
from data.listing import WHOLE
from data.loader import stream_loader
from data.samples import UnpairedHands, report_skipped
from data.splits import SPLIT_FILE, load_split, make_split, report_added, save_split, select, validated
from models import SEGMENTERS
from models.graphs import choose_step
from models.load import init_networks
from options.parsing import refuse
from options.shared import reading
from util import distributed
from util.files import LOCK_FILE, locked
from util.run import LATEST, environment, find_checkpoint, plain_options, save_options
from util.runtime import resolve_amp, resolve_device, seed_everything
from util.training.checkpoints import Progress, Schedule, resume, save_latest
from util.training.logger import RunLogger, setup_logging
from util.training.loop import fit
from util.training.tasks import SilNetTask, TranslatorTask, display_hands

log = logging.getLogger("train")

DEFAULT_VALIDATION = 0.2, None  # --val_interval, --val_size: with other values, neither of the two below counts
LEAST_INTERVAL = 200  # steps between two validations
LEAST_CHOSEN_BY = 20  # images a domain


def main(opt: argparse.Namespace | None = None) -> int:
    opt = opt or parse_train()
    folder, here = opt.checkpoints_dir / opt.name, distributed.place()
    setup_logging(quiet=here.rank > 0)
    device = resolve_device(opt.device, here.local_rank, here.local_world_size)
    distributed.start(here, device)
    try:
        stored, lock = None, contextlib.nullcontext()
        if here.rank == 0:
            stored = enter_run(opt)
            lock = locked(folder / LOCK_FILE)
        distributed.check_shared(folder)
        with lock:
            return train(opt, here=here, device=device, stored=stored)
    finally:
        distributed.finish()


def train(opt: argparse.Namespace, *, here: distributed.Place, device: torch.device, stored: dict | None) -> int:
    """Build everything, train, and return the exit status. stored: the options of a continued run, on rank 0."""
    folder = opt.checkpoints_dir / opt.name
    images_per_step = opt.batch_size * here.world_size
    seed_everything(opt.seed, deterministic=opt.deterministic)

    # Data
    frames = open_frames(opt, reading(opt), masked="mask" not in opt.explicit or opt.mask)
    if here.rank == 0 and not stored:  # a file that is there is of a first try that ended before its first step
        sizes = {"val_size": opt.val_size, "test_size": opt.test_size}
        save_split(folder / SPLIT_FILE, make_split(frames, split_by=opt.split_by, seed=opt.seed, **sizes))
    distributed.barrier()
    split = load_split(folder / SPLIT_FILE)
    if stored:
        report_added(frames, split)
        report_changed(stored, plain_options(opt))
    chosen = {phase: select(frames, split, phase, whole=True) for phase in ("train", "val")}

    # Model
    amp = resolve_amp(opt.amp, device)
    create_task = SilNetTask if opt.model in SEGMENTERS else TranslatorTask
    no_masks = all(frame.mask_origin == WHOLE for part in frames.values() for frame in part)
    if create_task is TranslatorTask and no_masks and "mask" not in opt.explicit:
        opt.mask = False
        without_masks(opt)
        log.info("trained with CycleGAN's own losses, as with --no-mask")
    with distributed.rank_0_first():
        task = create_task(opt, amp=amp, device=device)
    model = task.model
    for flag, record in task.frozen.items() if stored else ():
        was = stored["resolved"].get(flag)
        refuse(record and was["sha256"] != record["sha256"], f"the run was started with another --{flag} file, {was}")
    progress = resume(folder, model) if opt.continue_train else Progress()
    if getattr(opt, "init_from", None) and not opt.continue_train:
        init_networks(model, find_checkpoint(opt.init_from, opt.checkpoints_dir, flag="--init_from"))
    if here.world_size > 1:
        model.distribute()
    if opt.compile:
        model.compile()
    if opt.model not in SEGMENTERS:
        model.training_step = choose_step(model, opt.cuda_graphs, compiled=opt.compile)

    # Length
    schedule = make_schedule(opt, task, chosen, images_per_step=images_per_step)
    model.total_steps = schedule.total_steps
    if progress.step >= schedule.total_steps and not progress.validation_due:
        log.info("nothing to do: %d steps are done; raise --n_epochs or --max_steps", progress.step)
        return 0

    # Batches
    crop = task.training_crop(chosen["train"])  # random_hand_crop, or silhouette_crop for SilNet
    hands = UnpairedHands(chosen["train"], crop_size=opt.crop_size, seed=opt.seed, crop=crop)
    at = {"start_step": progress.step, "rank": here.rank, "world_size": here.world_size}
    batches = stream_loader(hands, opt.batch_size, num_workers=opt.num_workers, **at)
    batches = report_skipped(batches, folder if here.rank == 0 else None)

    # Validation, pictures, logs and options.yaml, by rank 0
    validate, display, logger = None, None, None
    if here.rank == 0:
        roots = {flag: getattr(opt, flag) for flag in ("dataroot", "synth_root", "real_root")}
        resolved = {
            "device": str(device),
            "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
            "amp": amp.name,
            "world_size": here.world_size,
            **task.frozen,
            "roots": {flag: root and str(root.resolve()) for flag, root in roots.items()},
            "images": {phase: {domain: len(part[domain]) for domain in part} for phase, part in chosen.items()},
            "parameters": {name: sum(p.numel() for p in net.parameters()) for name, net in model.networks.items()},
            **environment(),
        }
        if schedule.validate_every:
            validate, scored_by = task.create_validation(validated(chosen["val"], opt.val_size))
            resolved |= scored_by
        shown = chosen["val"] if all(chosen["val"].values()) else chosen["train"]
        display = partial(task.pictures, display_hands(shown))
        started = stored["resolved"] if stored else resolved
        save_options(folder, plain_options(opt) | {"resolved": started | {"roots": resolved["roots"]}})
        sizes = ", ".join(f"{name} {count:,}" for name, count in resolved["parameters"].items())
        log.info("%s: %s (%s parameters), on %s, amp %s", opt.name, opt.model, sizes, resolved["device_name"], amp.name)
        counts = " and ".join(f"{len(part)} {domain}" for domain, part in chosen["train"].items())
        log.info("%s images to train on; %d steps of %d a domain", counts, schedule.total_steps, images_per_step)
        log.info("%s", shlex.join(["tensorboard", "--logdir", str(folder)]))
        logger = RunLogger(folder, schedule, progress, images_per_step=images_per_step)
        logger.options(plain_options(opt))
    if progress.step == 0:
        save_latest(folder, model, progress)  # from here on there is always something to continue from

    shown = {"logger": logger, "validate": validate, "display": display}
    with logger or contextlib.nullcontext():
        fit(model, batches, folder=folder, seed=opt.seed, schedule=schedule, progress=progress, **shown)
    log.info("done: %s; now: %s", folder / LATEST, task.next_command)
    return 0


def report_changed(stored: dict, options: dict) -> None:
    """Log which options differ from those of the run that is continued."""
    changed = {name: value for name, value in options.items() if stored.get(name, value) != value}
    changed.pop("continue_train", None)
    if changed:
        log.info("%s", "; ".join(f"{name}: was {stored[name]}, now {value}" for name, value in changed.items()))


def make_schedule(
    opt: argparse.Namespace, task: TranslatorTask | SilNetTask, chosen: dict[str, Domains], *, images_per_step: int
) -> Schedule:
    """The run's schedule. An epoch is one pass over the larger domain."""
    steps_per_epoch = math.ceil(max(map(len, chosen["train"].values())) / images_per_step)
    lengths = [opt.n_epochs and opt.n_epochs * steps_per_epoch, opt.max_steps]
    total_steps = min(filter(None, lengths))
    if all(lengths):
        log.info("--n_epochs is %d steps, --max_steps %d: training ends after %d", *lengths, total_steps)
    every, fewest = math.ceil(opt.val_interval * steps_per_epoch), min(map(len, chosen["val"].values()))
    least = task.least_validated
    if (opt.val_interval, opt.val_size) == DEFAULT_VALIDATION:  # best.pt is then not chosen by chance
        every, least = every and max(every, LEAST_INTERVAL), max(least, LEAST_CHOSEN_BY)
        if fewest < least:
            said = "no validation: %d validation images of a domain, fewer than %d; the last step is kept (--val_size, or --val_interval)"
            log.warning(said, fewest, least)
    return Schedule(
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        log_every=opt.log_freq,
        display_every=opt.display_freq,
        save_every=opt.save_freq,
        snapshot_every=opt.save_epoch_freq * steps_per_epoch,
        validate_every=every if fewest >= least else 0,
    )


if __name__ == "__main__":
    run_command(lambda: main(OPT))
