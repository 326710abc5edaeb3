"""The plan: which stages are done, which are to come, and about how long they take on this machine."""

import json
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from models import DISCRIMINATORS, SEGMENTERS
from models.features.vgg16 import load_vgg16
from models.hgan import HGAN
from models.networks.silnet import SilNet
from models.supervised import HandSegmenter
from options.train_options import network_config, objective, parse_train
from util import workers
from util.benchmark.step import noise
from util.errors import UsageError
from util.files import write_json
from util.reproduce.page import training_time
from util.reproduce.records import read_record
from util.reproduce.runner import Runner, duration
from util.reproduce.stages import Stage
from util.run import load_options
from util.runtime import resolve_amp, resolve_device

TIMED_STEPS = 2


def plan_text(runner: Runner, stages: list[Stage], *, parallel: int, estimate: Callable[[Stage], float | None]) -> str:
    """The stages with their state, their commands and estimates, and their sum over `parallel` places."""
    again: set[str] = set()
    lines, known, unknown = [], 0.0, []
    for stage in stages:
        if again.isdisjoint(stage.after) and runner.is_done(stage):
            lines.append(f"{stage.name}: done")
            continue
        again.add(stage.name)
        seconds = estimate(stage)
        if seconds is None:
            unknown.append(stage.name)
        else:
            known += seconds
        length = "not known yet" if seconds is None else f"about {duration(seconds)}"
        lines.append(f"{stage.name}: {length}\n    {workers.shell_line(stage.command)}")
    lines.append(f"in all: about {duration(known / parallel)}" + (f", {parallel} side by side" if parallel > 1 else ""))
    if unknown:
        lines.append(f"not counted, as they have not been timed on this machine: {', '.join(unknown)}")
    return "\n".join(lines)


def stage_seconds(runner: Runner, stage: Stage) -> float | None:
    """How long the stage takes: a training by its log, or by timing its step here; others as long as the last time.

    None where that is not known.
    """
    if stage.command[0] != "train.py":
        record = read_record(runner.records, stage.name)
        return record.seconds if record and record.finished else None
    options = parse_train(stage.command[1:])
    steps, spent = training_time(stage.run)
    total = training_steps(options)
    if total is None:
        return None
    each = spent / steps if steps else cached_step_seconds(runner.folder / "timings.json", stage)
    return each * max(total - steps, 0)


def training_steps(options: Namespace) -> int | None:
    """The steps of a training, None where only its data can tell, which has not been counted yet."""
    if options.max_steps:
        return options.max_steps
    try:
        images = load_options(options.checkpoints_dir / options.name)["resolved"]["images"]["train"]
    except (UsageError, KeyError, TypeError):
        return None
    return options.n_epochs * -(-max(images.values()) // options.batch_size)


def cached_step_seconds(file: Path, stage: Stage) -> float:
    """step_seconds, timed once for each command and device."""
    device = str(resolve_device("auto"))
    key = f"{device} {torch.get_num_threads()} {workers.shell_line(stage.command)}"
    timings: Mapping[str, float] = {}
    if file.exists():
        timings = json.loads(file.read_text())
    if key not in timings:
        timings = {**timings, key: step_seconds(stage)}
        write_json(file, dict(timings))
    return timings[key]


def step_seconds(stage: Stage) -> float:
    """Seconds a step of the stage's training, timed on this machine with random images, after one step to warm up."""
    opt = parse_train(stage.command[1:])
    device = resolve_device(opt.device)
    amp = resolve_amp(opt.amp, device)
    if opt.model in SEGMENTERS:
        model = HandSegmenter(
            base=opt.ngf,
            lr=opt.lr,
            beta1=opt.beta1,
            background=opt.background,
            amp=amp,
            device=device,
        )
    else:
        vgg = (
            load_vgg16("random", calibrated=opt.normalize_features)[0]
            if DISCRIMINATORS[opt.netD].load().view == "vgg"
            else None
        )
        silnet = SilNet().to(device).requires_grad_(False) if opt.lambda_geo else None
        model = HGAN(network_config(opt), objective(opt), vgg=vgg, amp=amp, device=device, silnet=silnet, seed=0)
    batch = noise(opt.batch_size, opt.crop_size, device)
    model.training_step(batch)
    started = time.perf_counter()
    for _ in range(TIMED_STEPS):
        losses = model.training_step(batch)
    {name: float(value) for name, value in losses.items()}  # waits for the device
    return (time.perf_counter() - started) / TIMED_STEPS
