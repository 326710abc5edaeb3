"""The machine a command runs on: device, mixed precision, seeds."""

import contextlib
import random
from dataclasses import dataclass

import numpy as np
import torch

from util.errors import UsageError

AMP_CHOICES = ("auto", "fp16", "bf16", "off")


@dataclass(frozen=True)
class Amp:
    """Mixed precision: "fp16" (with gradient scaling, CUDA only), "bf16" or "off".

    Normalisation, tanh, compositing and losses stay in float32 whatever is chosen; the networks see to that themselves.
    """

    name: str

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager:
        if self.name == "off":
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=torch.float16 if self.name == "fp16" else torch.bfloat16)

    def grad_scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """A scaler that passes everything through unless this is fp16."""
        return torch.amp.GradScaler(device.type, enabled=self.name == "fp16")


def resolve_device(name: str, local_rank: int = 0) -> torch.device:
    """`--device {auto,cpu,cuda}` -> the device; auto is CUDA where there is one. Raises UsageError."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UsageError("--device cuda, but PyTorch sees no CUDA device here; use --device cpu or auto")
    if name == "cpu" or not available:
        return torch.device("cpu")
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
    try:
        flags = open("/proc/cpuinfo").read()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def seed_everything(seed: int, *, deterministic: bool = False) -> None:
    """Seed Python, NumPy and PyTorch; `deterministic` also makes CUDA repeat itself bit for bit, at some cost in speed."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    if deterministic:
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    elif torch.cuda.is_available():
        torch.backends.cudnn.benchmark = True  # training crops have one size


def random_states() -> dict:
    """All global random states, in plain types and tensors."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, list(internal), gauss],
        "numpy": [name, keys.tolist(), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_states(states: dict) -> None:
    """Undo `random_states`. CUDA's are restored where the number of devices is the same."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.device_count() == len(states["cuda"]):
        torch.cuda.set_rng_state_all(states["cuda"])
