"""JSON that every reader takes: figures that are infinite or no number are null (PSNR of equal images is infinite)."""

import contextlib
import json
from pathlib import Path
from typing import Any

from util.images import write_bytes


def strict(value: Any) -> Any:
    """The value with null (None) for every float, at any depth, that is infinite or no number."""
    return json.loads(json.dumps(value), parse_constant=lambda _: None)


def json_lines(text: str) -> list[dict]:
    """The objects of a file of one JSON object a line, without lines that are damaged or were cut short."""
    entries = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            entries.append(json.loads(line))
    return [entry for entry in entries if isinstance(entry, dict)]


def write_json(path: Path, content: dict) -> None:
    """Write strict JSON, indented."""
    write_bytes(path, (json.dumps(strict(content), indent=2, allow_nan=False) + "\n").encode())
