"""Checks of options that are read from a file, by the ranges and choices of their flags."""

import argparse
from pathlib import Path
from typing import Any

from options.parsing import Parser, existing_dir, existing_file, existing_path
from util.errors import UsageError

ROOTS = ("dataroot", "synth_root", "real_root")
PATHS = (Path, existing_dir, existing_file, existing_path)
NEEDED = ("dataset_mode", "objects", "seed", *ROOTS)  # others may be newer than the run


def check_stored(options: dict[str, Any], parser: Parser, file: Path) -> None:
    """Raise UsageError, naming the option, if a run's options.yaml does not say where its data lies, or holds a value
    that its flag does not accept.

    Knobs are checked when the run's networks are loaded (models.load). Entries that are not flags are not checked.
    """
    resolved = options.get("resolved")
    roots = resolved.get("roots") if isinstance(resolved, dict) else None
    placed = isinstance(roots, dict) and all(isinstance(roots.get(key), (str, type(None))) for key in ROOTS)
    missing = [key for key in NEEDED if key not in options] + ["where the data lies"] * (not placed)
    if missing:
        raise UsageError(f"{file} does not say {', '.join(missing)}; put back the file that the run was started with")
    for action in parser.flags():
        value = options.get(action.dest)
        message = None if hasattr(action, "knob") else fault(action, value)
        if action.type in PATHS and not isinstance(value, (str, type(None))):
            message = message or f"is {value!r}, not a path"
        if message:
            raise UsageError(f"{file}: {action.dest} {message}; put back the file that the run was started with")


def fault(action: argparse.Action, value: Any) -> str | None:
    """Why the flag does not accept a value from a file ("is ..."); None if it does."""
    if value is None:
        return None
    if isinstance(action, argparse.BooleanOptionalAction):
        return None if isinstance(value, bool) else "is neither true nor false"
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return f"is {str(value)[:40]!r}, which no flag gives"
    if action.choices is not None and value not in action.choices:
        return f"is {str(value)[:40]!r}, not one of {', '.join(map(str, action.choices))}"
    if action.type and action.type not in PATHS:  # files may have moved since
        try:
            action.type(str(value))
        except (argparse.ArgumentTypeError, ValueError) as error:
            return str(error)
    return None
