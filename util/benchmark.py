"""How long training takes, in milliseconds: python -m util.benchmark [flags of train.py]

A step of every model (or of --model) as train.py takes it, and on a GPU also without recording it; and the loader's batches from --dataroot with
--num_workers. Steps run on the first of these batches, again and again. Medians of --max_steps (20).
"""

import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial

import torch

from data.checks import open_frames
from data.loader import stream_loader, to_device
from data.samples import UnpairedHands, report_skipped
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
    if {"-h", "--help", "--help-all"} & {*flags}:
        print(__doc__ + "\nIts flags are those of train.py:\n")
    opt = parse_flags(flags)
    device = resolve_device(opt.device)
    amp = resolve_amp(opt.amp, device)
    seed_everything(0)  # with train.py's settings: tuned convolutions, no TF32
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    size = f"crop {opt.crop_size}, batch {opt.batch_size}, width {opt.ngf}, {amp.name}"
    print(f"{name}; PyTorch {torch.__version__}; {size}\n\n| what | ms | peak MiB |\n| --- | ---: | ---: |")
    samples = UnpairedHands(open_frames(opt, reading(opt)), crop_size=opt.crop_size, seed=opt.seed)
    batches = report_skipped(stream_loader(samples, opt.batch_size, num_workers=opt.num_workers), None)
    batch = to_device(next(batches), device)
    count = opt.max_steps or STEPS
    for model in (opt.model,) if "model" in opt.explicit else MODELS:
        for row, subject in step_rows(parse_flags([*flags, "--model", model]), batch, amp, device).items():
            print_row(row, subject, count, device)
    print_row(f"batch from the loader, {opt.num_workers} workers", lambda: next(batches), count, device)


def parse_flags(flags: list[str]) -> Namespace:
    """The options of a training with these flags; neither pretrained weights nor a SilNet is needed."""
    return parse_train(["--name", "benchmark", "--vgg_weights", "random", "--lambda_geo", "0", *flags])


def step_rows(opt: Namespace, batch: dict, amp: Amp, device: torch.device) -> dict[str, Callable[[], object]]:
    """{"MODEL, step": as train.py takes it with these flags; and if that is recorded, "MODEL, --cuda_graphs off"}."""

    def create_model() -> HGAN:
        model = TranslatorTask(opt, amp=amp, device=device).model
        model.total_steps = 1_000_000  # as at the beginning of a long run
        if opt.compile:
            model.compile()
        return model

    step = choose_step(create_model(), opt.cuda_graphs, compiled=opt.compile)
    rows = {f"{opt.model}, step": partial(step, batch)}
    if isinstance(step, GraphedStep):
        for _ in range(WARM_UP):
            step(batch)
        rows[f"{opt.model}, --cuda_graphs off"] = partial(create_model().training_step, batch)
    return rows


def print_row(name: str, subject: Callable[[], object], count: int, device: torch.device) -> None:
    """Time the subject, after a first call that does not count, and print its row of the table."""
    seconds, memory = [], ""
    for _ in range(1 + count):
        start = time.perf_counter()
        subject()
        if device.type == "cuda":
            torch.cuda.synchronize()
            memory = f"{torch.cuda.max_memory_allocated() / 2**20:,.0f}"
        seconds.append(time.perf_counter() - start)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    print(f"| {name} | {1000 * statistics.median(seconds[1:]):.1f} | {memory} |", flush=True)


if __name__ == "__main__":
    run_command(main)
