"""The machine a command runs on: device, mixed precision, seeds."""

import os
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from util.errors import UsageError


@dataclass(frozen=True)
class Amp:
    """Mixed precision: "fp16" (with gradient scaling, CUDA only), "bf16" or "off". Normalisation, tanh, compositing and
    losses are computed in float32 in any case."""

    name: str

    def autocast(self, device: torch.device) -> torch.autocast:
        dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self.name)
        return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)

    def grad_scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """A scaler that passes everything through unless this is fp16."""
        return torch.amp.GradScaler(device.type, enabled=self.name == "fp16")


def resolve_device(name: str, local_rank: int = 0, local_world_size: int = 1) -> torch.device:
    """`--device {auto,cpu,cuda}` -> the device; auto is CUDA where there is one. local_rank of local_world_size: which of
    this machine's processes this is; each takes a GPU of its own. Raises UsageError."""
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device {name!r} is none of auto, cpu, cuda")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UsageError("--device cuda, but PyTorch sees no CUDA device here; use --device cpu or auto")
    if name == "cpu" or not available:
        return torch.device("cpu")
    processes, gpus = max(local_rank + 1, local_world_size), torch.cuda.device_count()
    if processes > gpus:
        said = f"{processes} processes on this machine, and PyTorch sees {gpus} GPU{'s' * (gpus > 1)}: each needs one"
        raise UsageError(f"{said}; start torchrun with --nproc_per_node={gpus}, or use --device cpu")
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def resolve_amp(name: str, device: torch.device) -> Amp:
    """`--amp {auto,fp16,bf16,off}` -> what runs. auto: bf16 where the device has instructions for it (emulated, it is slower
    than float32), else fp16 on CUDA, else off. Raises UsageError for fp16 on a CPU."""
    if name == "fp16" and device.type == "cpu":
        raise UsageError("--amp fp16 needs a CUDA device; on a CPU use --amp bf16, auto or off")
    if name != "auto":
        return Amp(name)
    if device.type == "cuda":
        return Amp("bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16")
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    return Amp("bf16" if "avx512_bf16" in flags or "amx_bf16" in flags else "off")


def seed_everything(seed: int, *, deterministic: bool = False) -> None:
    """Seed Python, NumPy and PyTorch, and turn TF32 off, so that float32 means on CUDA what it means on a CPU.

    deterministic: CUDA repeats itself bit for bit, at some cost in speed; an operator that cannot raises RuntimeError.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    if deterministic != torch.are_deterministic_algorithms_enabled():  # the call imports much, which takes seconds
        torch.use_deterministic_algorithms(deterministic)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself with this alone
    torch.backends.cudnn.benchmark = not deterministic  # training crops have one size


def seed_step(seed: int, rank: int, step: int) -> None:
    """Seed PyTorch on every device: what a step draws, as dropout does, depends on (seed, rank, step) alone, resumed or not."""
    (mixed,) = np.random.SeedSequence((seed, rank, step)).generate_state(1, np.uint64)
    torch.default_generator.manual_seed(int(mixed))
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(int(mixed))
