"""Checkpoints: a temporary file, synced and renamed, so that the file at `path` is always whole. Reading runs no code."""

import io
from pathlib import Path

import torch

from util.errors import RunError, UsageError
from util.files import write_bytes

# Raised by a checkpoint, or options, of something else.
MISFITS = AttributeError, KeyError, RuntimeError, TypeError, ValueError


def save_checkpoint(path: Path, content: dict) -> None:
    """Write `content` (plain types and tensors). Raises RunError if it cannot be written; `path` then holds what it held."""
    packed = io.BytesIO()  # torch.save would replace the OSError of a failed write by its own error
    torch.save(content, packed)
    try:
        write_bytes(path, packed.getbuffer(), sync=True, part=f".{path.name}.part")
    except OSError as error:
        failed = f"{path} could not be written ({error.strerror or error})"
        raise RunError(
            f"{failed}; the last checkpoint is intact: mend that, then go on with --continue_train"
        ) from error


def load_checkpoint(path: Path) -> dict:
    """Read a checkpoint onto the CPU. Raises UsageError if it is missing, damaged, or holds more than plain types and tensors."""
    if not path.is_file():
        raise UsageError(f"there is no checkpoint {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if "step" not in content:
            raise KeyError("step")
    except Exception as error:  # damage raises errors of many kinds
        raise UsageError(f"{path} cannot be read as a checkpoint: it is damaged, or holds code") from error
    return content


def check_config(stored: dict, wanted: dict) -> None:
    """Raise ValueError, naming the options that differ, unless networks were stored with the configuration wanted."""
    differ = [key for key, value in wanted.items() if stored.get(key) != value]
    if differ:
        raise ValueError("; ".join(f"--{key} is {wanted[key]!r} here, {stored.get(key)!r} there" for key in differ))
