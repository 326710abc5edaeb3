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

    @property
    def dtype(self) -> torch.dtype | None:
        """What networks compute in under autocast; None without."""
        return {"fp16": torch.float16, "bf16": torch.bfloat16, "off": None}[self.name]

    def autocast(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, dtype=self.dtype, enabled=self.name != "off")

    def grad_scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """A scaler that passes everything through unless this is fp16."""
        return torch.amp.GradScaler(device.type, enabled=self.name == "fp16")


def resolve_device(name: str, local_rank: int = 0, local_world_size: int = 1) -> torch.device:
    """`--device {auto,cpu,cuda}` -> the device; auto is CUDA where there is one. Raises UsageError.

    local_rank of local_world_size: which of this machine's processes this is; each takes a GPU of its own.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UsageError("--device cuda, but PyTorch sees no CUDA device here; use --device cpu or auto")
    if name == "cpu" or not available:
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if max(local_rank + 1, local_world_size) > count:
        raise UsageError(
            f"{max(local_rank + 1, local_world_size)} processes on this machine, and PyTorch sees {count} GPU"
            f"{'s' * (count > 1)}: each process needs one; start torchrun with --nproc_per_node={count}, or use --device cpu"
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def resolve_amp(name: str, device: torch.device) -> Amp:
    """`--amp {auto,fp16,bf16,off}` -> what runs. auto: bf16 where the device computes in it, else fp16 on CUDA, else off.

    Raises UsageError for fp16 on a CPU.
    """
    if name == "fp16" and device.type == "cpu":
        raise UsageError("--amp fp16 needs a CUDA device; on a CPU use --amp bf16, auto or off")
    if name != "auto":
        return Amp(name)
    if device.type == "cuda":
        return Amp("bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16")
    return Amp("bf16" if cpu_computes_bf16() else "off")


def cpu_computes_bf16() -> bool:
    """Whether the CPU has instructions for bfloat16 products; where it must emulate them, float32 is faster."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def seed_everything(seed: int, *, deterministic: bool = False) -> None:
    """Seed Python, NumPy and PyTorch, and turn TF32 off, so that float32 means on CUDA what it means on a CPU.

    deterministic: CUDA repeats itself bit for bit, at some cost in speed; an operator that cannot raises RuntimeError.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.use_deterministic_algorithms(deterministic)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself with this alone
    torch.backends.cudnn.benchmark = not deterministic  # training crops have one size


def seed_step(seed: int, rank: int, step: int) -> None:
    """Seed PyTorch, on every device, for one training step of one process.

    What a step draws (dropout, say) then depends on (seed, rank, step) alone, so a run that goes on draws what it would
    have drawn.
    """
    (mixed,) = np.random.SeedSequence((seed, rank, step)).generate_state(1, np.uint64)
    torch.default_generator.manual_seed(int(mixed))
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(int(mixed))
