"""Checkpoints: written whole or not at all, read without running any code in them."""

import os
import tempfile
from pathlib import Path

import torch

from util.errors import UsageError

FORMAT = 1


def save_checkpoint(path: Path, content: dict) -> None:
    """Write `content` (plain types and tensors) to a temporary file beside `path`, sync it, and rename it.

    Whenever the process dies, `path` holds either the old checkpoint or the new one.
    """
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save({"format": FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o644)
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def load_checkpoint(path: Path) -> dict:
    """Read a checkpoint onto the CPU; only tensors and plain types are unpickled. Raises UsageError."""
    if not path.is_file():
        raise UsageError(f"there is no checkpoint {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged zip, a truncated pickle and a forbidden class each raise their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{path} cannot be read as a checkpoint ({reason})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(f"{path} is no checkpoint of this program, or of another version of it (wanted format {FORMAT})")
    return content
