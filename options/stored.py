"""Checks of options that are read from a file, by the ranges and choices of their flags."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from options.parsing import Parser, existing_dir, existing_file, existing_path
from util.errors import UsageError

ROOTS = ("dataroot", "synth_root", "real_root")


def check_stored(options: dict[str, Any], parser: Parser, file: Path, *, needed: Sequence[str]) -> None:
    """Raise UsageError, naming the option, if a value in a run's options.yaml is not one that its flag accepts.

    needed: options that must be there. Others may be missing. Entries that are not flags are not checked, except the
    absolute roots under "resolved".
    """
    missing = [key for key in needed if key not in options]
    if missing:
        raise UsageError(f"{file} does not say {', '.join(missing)}; put back the file that the run was started with")
    resolved = options.get("resolved")
    roots = resolved.get("roots") if isinstance(resolved, dict) else None
    if not isinstance(roots, dict) or not all(isinstance(roots.get(key), (str, type(None))) for key in ROOTS):
        raise UsageError(f"{file} does not say where the data lies; put back the file that the run was started with")
    for action in parser.flags():
        message = fault(action, options.get(action.dest))
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
    if action.type in (None, Path, existing_dir, existing_file, existing_path):  # files may have moved since
        return None
    try:
        action.type(str(value))
    except (argparse.ArgumentTypeError, ValueError) as error:
        return str(error)
    return None
