"""Options that come out of a file: held to the ranges and choices of the flags that they were given by."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from options.parsing import Parser, existing_dir, existing_file, existing_path
from util.errors import UsageError

ROOTS = ("dataroot", "synth_root", "real_root")


def check_stored(options: dict[str, Any], parser: Parser, file: Path, *, needed: Sequence[str]) -> None:
    """Raise UsageError, naming the option, where a value in a run's options.yaml is none that its flag takes.

    needed: options that must be there. Others may be missing, and entries that are no flags are let pass, but for the
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
        wrong = fault(action, options.get(action.dest))
        if wrong:
            raise UsageError(f"{file}: {action.dest} {wrong}; put back the file that the run was started with")


def fault(action: argparse.Action, value: Any) -> str | None:
    """Why a value out of a file is none that the flag takes ("is ..."), None for a good one."""
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
