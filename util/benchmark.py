"""How long training takes, in milliseconds: python -m util.benchmark [flags of train.py]

A step of every model (or of --model) as train.py takes it, and on a GPU also without recording it; and the loader's batches from --dataroot with
--num_workers. Steps run on noise, as their time does not depend on the images. Medians of --max_steps (20).
"""

import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial

import torch

from data.checks import open_frames
from data.loader import stream_loader
from data.samples import UnpairedHands
from models import MODELS
from models.graphs import WARM_UP, GraphedStep, choose_step
from models.hgan import HGAN
from options.shared import reading
from options.train_options import parse_train
from util.errors import run_command
from util.runtime import Amp, resolve_amp, resolve_device, seed_everything
from util.training.tasks import TranslatorTask

STEPS = 20  # timed, and batches


def main(argv: list[str] | None = None) -> None:
    flags = sys.argv[1:] if argv is None else argv
    opt = parse_flags(flags)
    device = resolve_device(opt.device)
    amp = resolve_amp(opt.amp, device)
    seed_everything(0)  # with train.py's settings: tuned convolutions, no TF32
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    size = f"crop {opt.crop_size}, batch {opt.batch_size}, width {opt.ngf}, {amp.name}"
    print(f"{name}; PyTorch {torch.__version__}; {size}\n\n| what | ms | peak MiB |\n| --- | ---: | ---: |")
    for model in (opt.model,) if "model" in opt.explicit else MODELS:
        print_rows(step_rows(parse_flags([*flags, "--model", model]), device, amp), opt, device)
    print_rows(loader_rows(opt), opt, device)


def parse_flags(flags: list[str]) -> Namespace:
    """The options of a training with these flags; neither pretrained weights nor a SilNet is needed."""
    return parse_train(["--name", "benchmark", "--vgg_weights", "random", "--lambda_geo", "0", *flags])


def step_rows(opt: Namespace, device: torch.device, amp: Amp) -> dict[str, Callable[[], object]]:
    """{"MODEL, step": as train.py takes it with these flags; and if that is recorded, "MODEL, --cuda_graphs off"}."""

    def create_model() -> HGAN:
        model = TranslatorTask(opt, amp=amp, device=device).model
        model.total_steps = 1_000_000  # as at the beginning of a long run
        if opt.compile:
            model.compile()
        return model

    batch = noise(opt.batch_size, opt.crop_size, device)
    step = choose_step(create_model(), opt.cuda_graphs, compiled=opt.compile)
    rows = {f"{opt.model}, step": partial(step, batch)}
    if isinstance(step, GraphedStep):
        for _ in range(WARM_UP):
            step(batch)
        rows[f"{opt.model}, --cuda_graphs off"] = partial(create_model().training_step, batch)
    return rows


def loader_rows(opt: Namespace) -> dict[str, Callable[[], object]]:
    """A batch of training samples from --dataroot."""
    frames = open_frames(opt, reading(opt))
    samples = UnpairedHands(frames, crop_size=opt.crop_size, seed=opt.seed)
    batches = iter(stream_loader(samples, opt.batch_size, num_workers=opt.num_workers))
    return {f"batch from the loader, {opt.num_workers} workers": lambda: next(batches)}


def print_rows(subjects: dict[str, Callable[[], object]], opt: Namespace, device: torch.device) -> None:
    """Time the subjects in turns, so that a busy machine slows all alike, and print a row for each."""
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    peak: dict[str, float] = {}
    for timed in [False] + [True] * (opt.max_steps or STEPS):
        for name, subject in subjects.items():
            if device.type == "cuda":
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            subject()
            if device.type == "cuda":
                torch.cuda.synchronize()
                peak[name] = torch.cuda.max_memory_allocated() / 2**20
            if timed:
                seconds[name].append(time.perf_counter() - start)
    for name, times in seconds.items():
        memory = f"{peak[name]:,.0f}" if peak else ""
        print(f"| {name} | {1000 * statistics.median(times):.1f} | {memory} |", flush=True)


def noise(count: int, size: int, device: torch.device) -> dict:
    """A batch as training has it, of noise in the middle and white around it."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(count, 1, size, size)
    mask[..., size // 8 : -size // 8, size // 8 : -size // 8] = 1
    batch = {}
    for domain in ("synthetic", "real"):
        image = torch.rand(count, 3, size, size, generator=generator) * 2 - 1
        batch |= {domain: torch.where(mask > 0, image, 1.0).to(device), f"{domain}_mask": mask.to(device)}
    return batch


if __name__ == "__main__":
    run_command(main)
