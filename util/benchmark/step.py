"""How fast everything is: python -m util.benchmark (see --help).

Each row gives the median time of a training step, the operators that a GPU launches for a step, the bytes that they read and
write, and the floating-point operations, a second of which is compared with a large matrix product of the same precision.
The images are noise: the time of a step does not depend on them.
"""

import argparse
import platform
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from models import DISCRIMINATORS, MODELS, PATCH_SIZE, VITS
from models.config import AMPS, network_config, objective
from models.features.vgg16 import load_vgg16
from models.graphs import WARM_UP, GraphedStep
from models.hgan import HGAN
from models.supervised import HandClassifier
from options.parsing import Parser, as_flags, integer
from options.train_options import PARTS, parse_train
from util.benchmark.operators import operators
from util.benchmark.others import distance_rows, loader_rows, mask_rows
from util.benchmark.timing import alternate
from util.files import write_json
from util.results.pages import table as markdown_table
from util.runtime import Amp, resolve_amp, resolve_device, seed_everything


def steps(opt: argparse.Namespace, device: torch.device, amp: Amp) -> list[dict]:
    """A row for each model: milliseconds, operators, FLOP and bytes of a step, images of both domains a second, memory."""
    extras_off = {"lambda_edges": 0.0, "without": PARTS}
    same = {name: getattr(opt, name) for name in ("ngf", "ndf", "batch_size", "crop_size")}
    batch, rows = noise(opt.batch_size, opt.crop_size, device), []
    for name in opt.models:
        flags = {"name": "benchmark", "model": name, "lambda_geo": 0.0, "lr_decay": "none"}
        train = parse_train(as_flags(extras_off | same | flags))
        vgg = load_vgg16("random", calibrated=True)[0] if DISCRIMINATORS[train.netD].load().view == "vgg" else None
        torch.manual_seed(0)
        model = HGAN(network_config(train), objective(train), vgg=vgg, amp=amp, device=device)
        subjects = {"fast": lambda model=model: model.training_step(batch)}
        fill_pools(model, batch)
        costs = {subject: count(step, device) for subject, step in subjects.items()}
        if opt.compile:
            model.compile()
        if opt.cuda_graphs:
            model.training_step = GraphedStep(model)
            for _ in range(WARM_UP):
                model.training_step(batch)
        model.training_step(batch)  # compiles, or records
        seconds = alternate(subjects, opt.steps, device)
        for subject, times in seconds.items():
            rows.append(_row(f"{name}, {subject}", amp, costs[subject], times, device, images=2 * opt.batch_size))
    return rows


def _row(what: str, amp: Amp, cost: dict, times: tuple[float, float], device: torch.device, *, images: int) -> dict:
    seconds, processor = times
    return cost | {
        "what": what,
        "amp": amp.name,
        "ms": 1000 * seconds,
        "processor_ms": 1000 * processor,
        "images_per_second": images / seconds,
        "share_of_matmul": 1e9 * cost["gflop"] / seconds / matmul_rate(device, amp),
    }


def vit(opt: argparse.Namespace, device: torch.device, amp: Amp) -> list[dict]:
    """A row for the Vision Transformer's training step."""
    model = HandClassifier(vit=opt.vit, img_size=opt.vit_size, num_classes=2, lr=1e-5, amp=amp, device=device)
    batch = {
        "image": torch.rand(opt.batch_size, 3, opt.vit_size, opt.vit_size, device=device) * 2 - 1,
        "label": torch.arange(opt.batch_size, device=device) % 2,
    }
    step = partial(model.training_step, batch)
    cost = count(step, device)
    seconds = alternate({"vit": step}, opt.steps, device)["vit"]
    return [_row(f"ViT {opt.vit}, {opt.vit_size} pixels", amp, cost, seconds, device, images=opt.batch_size)]


SECTIONS: dict[str, Callable[[argparse.Namespace, torch.device, Amp], list[dict]]] = {
    "steps": steps,
    "vit": vit,
    "metrics": lambda opt, *_: distance_rows(opt.metric_images, opt.metric_dim),
    "loader": lambda opt, *_: loader_rows(crop_size=opt.crop_size, batch_size=opt.batch_size, rounds=opt.steps),
    "masks": lambda *_: mask_rows(),
}
COLUMNS = {
    "amp": ("amp", "{}"),
    "ms": ("ms", "{:.1f}"),
    "processor_ms": ("processor ms", "{:.0f}"),
    "images_per_second": ("images/s", "{:.2f}"),
    "peak_mib": ("peak MiB", "{:.0f}"),
    "operators": ("operators", "{}"),
    "gigabytes": ("GB moved", "{:.2f}"),
    "gflop": ("GFLOP", "{:.1f}"),
    "share_of_matmul": ("of matmul", "{:.0%}"),
}


def fill_pools(model: HGAN, batch: dict) -> None:
    """Fill the histories of fakes, as they are from the fiftieth step on."""
    full = batch["real"][:1].expand(model.pool_r.size, -1, -1, -1)
    for pool in (model.pool_r, model.pool_s):
        pool.load_state_dict({"images": full}, model.device)


def noise(count: int, size: int, device: torch.device) -> dict:
    """A batch as training has it, of noise in the middle half and white around it."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(count, 1, size, size)
    mask[..., size // 8 : -size // 8, size // 8 : -size // 8] = 1
    batch = {}
    for domain in ("synthetic", "real"):
        image = torch.rand(count, 3, size, size, generator=generator) * 2 - 1
        batch |= {domain: torch.where(mask > 0, image, 1.0).to(device), f"{domain}_mask": mask.to(device)}
    return batch


def count(step: Callable[[], object], device: torch.device) -> dict:
    """What a step takes besides time; runs it three times.

    gflop: of its convolutions and matrix products, a multiply-add counted as two. operators, gigabytes: what a GPU launches
    for it, and what these operators read and write. peak_mib: the highest memory above that at the start; None on a CPU.
    """
    with FlopCounterMode(display=False) as counter:
        step()
    calls, peak = operators(step), None
    if device.type == "cuda":
        torch.cuda.synchronize()
        held = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        peak = (torch.cuda.max_memory_allocated() - held) / 2**20
    return {
        "gflop": counter.get_total_flops() / 1e9,
        "operators": len(calls),
        "gigabytes": sum(call.bytes for call in calls) / 1e9,
        "peak_mib": peak,
    }


def matmul_rate(device: torch.device, amp: Amp) -> float:
    """Floating-point operations a second in a large matrix product of that precision."""
    size = 8192 if device.type == "cuda" else 1024
    dtype = amp.dtype or torch.float32
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    a @ b  # warms up
    seconds, _ = alternate({"product": lambda: a @ b}, 5, device)["product"]
    return 2 * size**3 / seconds


def table(rows: list[dict]) -> str:
    """The rows as a Markdown table, without columns that none of them has."""
    columns = {key: form for key, (_, form) in COLUMNS.items() if any(row.get(key) is not None for row in rows)}
    cells = [
        [row["what"], *(form.format(row[key]) if row.get(key) is not None else "" for key, form in columns.items())]
        for row in rows
    ]
    return markdown_table(["step or work", *(COLUMNS[key][0] for key in columns)], cells)


def make_parser() -> Parser:
    parser = Parser(prog="python -m util.benchmark", description=__doc__.split("\n\n")[1])
    parser.add_argument("--sections", nargs="+", choices=tuple(SECTIONS), default=["steps"], help="what to measure")
    parser.add_argument("--models", nargs="+", choices=tuple(MODELS), default=list(MODELS), help="whose steps")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: CUDA if available")
    parser.add_argument("--amp", choices=AMPS, default="auto", help="mixed precision")
    parser.add_argument("--vit", choices=tuple(VITS), default="base", help="which Vision Transformer")
    for flag, kind, default, help in (
        ("--crop_size", integer(32, 4096), 128, "side of a training crop in pixels"),
        ("--batch_size", integer(1), 1, "images a domain and step"),
        ("--steps", integer(1), 5, "timed; the median counts"),
        ("--ngf", integer(1), 64, "generator's first width"),
        ("--ndf", integer(1), 64, "discriminator's first width"),
        ("--vit_size", integer(PATCH_SIZE), 224, "side of the Vision Transformer's images in pixels"),
        ("--metric_images", integer(20), 2000, "images a side of the distances"),
        ("--metric_dim", integer(2), 2048, "dimensions of their features"),
    ):
        parser.add_argument(flag, type=kind, default=default, metavar="N", help=help)
    parser.add_argument("--compile", action="store_true", help="torch.compile the networks of the fast step")
    parser.add_argument(
        "--cuda_graphs", action="store_true", help="replay the fast step as a CUDA graph, as train.py's flag does"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser


def main(argv: list[str] | None = None) -> None:
    opt = make_parser().parse_args(argv)
    device = resolve_device(opt.device)
    amp = resolve_amp(opt.amp, device)
    seed_everything(0)  # with train.py's settings: tuned convolutions, no TF32
    machine = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "batch_size": opt.batch_size,
        "crop_size": opt.crop_size,
    }
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    rows = [row for section in opt.sections for row in SECTIONS[section](opt, device, amp)]
    print(table(rows))
    if opt.json:
        write_json(opt.json, machine | {"rows": rows})
