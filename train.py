#!/usr/bin/env python
"""Train H-GAN, a baseline or SilNet: python train.py --name msh4 --netD perceptual"""

import argparse
import contextlib
import logging
import math
import sys
from pathlib import Path

from options.train_options import parse_train, train_parser, without_masks
from util.errors import UsageError, parse_or_exit, run_command

if __name__ == "__main__":
    OPT = parse_or_exit(parse_train)  # before PyTorch is imported, which takes seconds

import torch

from data.checks import SKIPPED_FILE, SkippedImages, check_images
from data.frames import Domains
from data.loader import stream_loader
from data.roots import has_masks, open_frames
from data.splits import SPLIT_FILE, load_split, make_split, save_split, select, validated
from data.unpaired import UnpairedHands
from models import SEGMENTERS
from options.shared import DEMO_ROOT, reading
from util import distributed
from util.locks import lock_run
from util.run import LATEST, environment, open_run, plain_options, save_options, stored_run
from util.runtime import resolve_amp, resolve_device, seed_everything
from util.training.kind import Kind
from util.training.logger import RunLogger, setup_logging
from util.training.loop import Schedule, fit
from util.training.saving import Progress, can_resume, resume, save_latest
from util.training.silnet_run import SILNET
from util.training.translator_run import TRANSLATOR

log = logging.getLogger("train")

SAVE_SECONDS = 600  # between saves of latest.pt, at most


def main(opt: argparse.Namespace | None = None) -> int:
    opt = opt or parse_train()
    here = distributed.place()
    setup_logging(quiet=here.rank > 0)
    device = resolve_device(opt.device, here.local_rank, here.local_world_size)
    with contextlib.ExitStack() as held:
        held.callback(distributed.finish)
        distributed.start(here, device)
        return train(opt, here=here, device=device, held=held)


def train(opt: argparse.Namespace, *, here: distributed.Place, device: torch.device, held: contextlib.ExitStack) -> int:
    """Build everything, train, and return the exit status. held: keeps the run's lock until all is done."""
    kind = SILNET if opt.model in SEGMENTERS else TRANSLATOR
    amp = resolve_amp(opt.amp, device)
    seed_everything(opt.seed, deterministic=opt.deterministic)

    folder = opt.checkpoints_dir / opt.name
    if here.rank == 0:
        stored_run(folder, continue_train=opt.continue_train)  # before images are listed, or the demo is drawn
    frames = open_frames(
        dataroot=opt.dataroot,
        dataset_mode=opt.dataset_mode,
        synth_root=opt.synth_root,
        real_root=opt.real_root,
        reading=reading(opt),
        demo_root=DEMO_ROOT,
        num_workers=opt.num_workers,
    )
    if kind is TRANSLATOR and not has_masks(frames) and "mask" not in opt.explicit:
        opt.mask = False
        without_masks(opt)
        log.info("trained with CycleGAN's own losses, as with --no-mask")
    options = plain_options(opt)
    saved = None
    if here.rank == 0:
        may_change = train_parser().may_change()
        saved = open_run(folder, options, continue_train=opt.continue_train, may_change=may_change)
        held.enter_context(lock_run(folder))
    distributed.barrier()

    chosen = split_frames(opt, folder, frames, moved=bool(saved) and saved["resolved"]["roots"] != absolute_roots(opt))
    invalid = check_images(chosen["train"], crop_size=opt.crop_size, batch_size=opt.batch_size)
    with distributed.rank_0_first():
        model, frozen = kind.create_model(opt, amp=amp, device=device)
    if saved:
        check_frozen(frozen, saved["resolved"])
    progress = Progress()
    if opt.continue_train and can_resume(folder):
        progress = resume(folder, model)
        log.info("continuing at step %d", progress.step)
    if here.world_size > 1:
        model.distribute()
    if opt.compile:
        model.compile()

    if getattr(opt, "cuda_graphs", False):
        from models.graphs import GraphedStep

        model.training_step = GraphedStep(model)

    schedule = make_schedule(opt, kind, chosen, images_per_step=opt.batch_size * here.world_size)
    model.total_steps = schedule.total_steps
    if progress.step >= schedule.total_steps and not progress.validation_due:
        log.info(
            "nothing to do: %d of %d steps are done; raise --n_epochs or --max_steps",
            progress.step,
            schedule.total_steps,
        )
        return 0
    stream = UnpairedHands(
        chosen["train"],
        crop_size=opt.crop_size,
        seed=opt.seed,
        background=opt.background,
        flips=kind is SILNET,
        crop=kind.random_crop(opt, chosen["train"]),
        invalid=invalid,
    )
    loader = stream_loader(
        stream,
        opt.batch_size,
        num_workers=opt.num_workers,
        start_step=progress.step,
        rank=here.rank,
        world_size=here.world_size,
    )

    validate, display, logger = None, None, None
    if here.rank == 0:
        resolved = {
            "device": str(device),
            "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
            "amp": amp.name,
            "world_size": here.world_size,
            **frozen,
            "roots": absolute_roots(opt),
            "images": {phase: {d: len(part[d]) for d in part} for phase, part in chosen.items()},
            "parameters": {name: sum(p.numel() for p in net.parameters()) for name, net in model.networks.items()},
            **environment(),
        }
        if schedule.validate_every:
            validate, scored_by = kind.create_validator(
                opt, model, validated(chosen["val"], opt.val_size), folder=folder
            )
            resolved |= scored_by
        kept = saved["resolved"] | {"roots": resolved["roots"]} if saved else resolved
        save_options(folder, options | {"resolved": kept})
        announce(opt, kind.describe(opt, resolved), resolved, schedule)
        display = kind.create_display(opt, model, chosen["val"] if all(chosen["val"].values()) else chosen["train"])
        logger = RunLogger(
            folder,
            first_step=progress.step,
            total_steps=schedule.total_steps,
            steps_per_epoch=schedule.steps_per_epoch,
            images_per_step=opt.batch_size * here.world_size,
            columns=kind.columns,
        )
        logger.text("options", options_table(options))
        logger.guide()
    if progress.step == 0:
        save_latest(folder, model, progress)  # from here on there is always something to continue from

    skipped = SkippedImages(invalid, folder=folder if here.rank == 0 else None)
    with logger or contextlib.nullcontext():
        fit(
            model,
            skipped.watch(iter(loader)),
            folder=folder,
            device=device,
            seed=opt.seed,
            schedule=schedule,
            progress=progress,
            logger=logger,
            validate=validate,
            display=display,
        )
    if here.rank == 0:
        if skipped.reasons:
            log.warning("%d images were skipped, see %s", len(skipped.reasons), folder / SKIPPED_FILE)
        log.info("done: %s", folder / LATEST)
        if opt.display_freq:
            log.info("look at %s (%s)", folder / kind.picture, kind.columns)
        log.info("now: %s", kind.next_command(opt))
    return 0


def check_frozen(frozen: dict[str, dict | None], saved: dict) -> None:
    """Raise UsageError if the run that is continued was started with other frozen networks."""
    for flag, record in frozen.items():
        if record and saved[flag]["sha256"] != record["sha256"]:
            raise UsageError(
                f"the run was started with another --{flag} ({saved[flag]}) than {record}; pass the same file"
            )


def make_schedule(opt: argparse.Namespace, kind: Kind, chosen: dict[str, Domains], *, images_per_step: int) -> Schedule:
    """The run's schedule. An epoch is one pass over the larger domain."""
    steps_per_epoch = math.ceil(max(map(len, chosen["train"].values())) / images_per_step)
    total = opt.n_epochs * steps_per_epoch
    validates = all(len(part) >= kind.least_validated for part in chosen["val"].values())
    return Schedule(
        total_steps=min(total, opt.max_steps) if opt.max_steps else total,
        steps_per_epoch=steps_per_epoch,
        log_every=opt.log_freq,
        display_every=opt.display_freq,
        save_every=opt.save_freq,
        save_every_seconds=SAVE_SECONDS,
        snapshot_every_epochs=opt.save_epoch_freq,
        validate_every=math.ceil(opt.val_interval * steps_per_epoch) if validates else 0,
    )


def split_frames(opt: argparse.Namespace, folder: Path, frames: Domains, *, moved: bool) -> dict[str, Domains]:
    """{phase: {domain: frames}} by the run's splits.json, which rank 0 draws if there is none.

    moved: the run was started on another data root, so this one must hold all its images.
    """
    file = folder / SPLIT_FILE
    if distributed.rank() == 0 and not file.exists():
        save_split(
            file,
            make_split(frames, split_by=opt.split_by, val_size=opt.val_size, test_size=opt.test_size, seed=opt.seed),
        )
    distributed.barrier()
    split = load_split(file)
    return {phase: select(frames, split, phase, whole=moved) for phase in ("train", "val")}


def absolute_roots(opt: argparse.Namespace) -> dict[str, str | None]:
    """The data's folders as absolute paths, which hold wherever a later command is started."""
    roots = {flag: getattr(opt, flag) for flag in ("dataroot", "synth_root", "real_root")}
    return {flag: str(root.resolve()) if root else None for flag, root in roots.items()}


def announce(opt: argparse.Namespace, description: str, resolved: dict, schedule: Schedule) -> None:
    """Log the model, the device, the images and the steps."""
    log.info("%s: %s, on %s, amp %s", opt.name, description, resolved["device_name"], resolved["amp"])
    counts = resolved["images"]["train"]
    log.info(
        "%d synthetic and %d real images to train on; %d steps of %d (%.2f epochs); tensorboard --logdir_spec %s:%s",
        counts["synthetic"],
        counts["real"],
        schedule.total_steps,
        opt.batch_size * resolved["world_size"],
        schedule.total_steps / schedule.steps_per_epoch,
        opt.name,
        opt.checkpoints_dir / opt.name / "tensorboard",
    )


def options_table(options: dict) -> str:
    """The options as a Markdown table."""
    rows = [f"| {key} | `{value}` |" for key, value in options.items()]
    return "\n".join(["command: `" + " ".join(sys.argv) + "`", "", "| option | value |", "| --- | --- |", *rows])


if __name__ == "__main__":
    run_command(lambda: main(OPT))
