"""--options FILE: flags from a YAML file, such as a run's options.yaml."""

import argparse
from pathlib import Path
from typing import Any

import yaml

from options.parsing import Parser, as_flags, nearest
from options.stored import fault
from util.errors import UsageError

# Entries of a run's options.yaml that are not flags, or that must not be reused.
NOT_FLAGS = ("resolved", "recipe", "continue_train")


def with_options_file(argv: list[str], parser: Parser) -> list[str]:
    """argv with the flags of its --options FILE before its own, so that its own win. Raises UsageError."""
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    reader.add_argument("--options", type=Path, nargs="?")
    file = reader.parse_known_args(argv)[0].options
    if file is None:
        return argv
    return [*as_flags(read_flags(file, parser)), *argv]


def read_flags(file: Path, parser: Parser) -> dict[str, Any]:
    """{flag: value} of the file. Raises UsageError for an unknown flag or a value that the flag does not accept."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"--options {file} cannot be read ({reason})") from error
    if not isinstance(content, dict):
        raise UsageError(f"--options {file} holds no flags; write one on a line, as in lr: 0.0002")
    actions = {action.dest: action for action in parser.flags()}
    flags = {str(key).removeprefix("--"): value for key, value in content.items() if key not in NOT_FLAGS}
    for name, value in flags.items():
        if name not in actions or name == "options":
            near = nearest(name, actions)
            raise UsageError(
                f"--options {file}: {parser.prog} has no flag {name}" + (f"; did you mean {near}?" if near else "")
            )
        message = fault(actions[name], value)
        if message:
            raise UsageError(f"--options {file}: {name} {message}")
    return flags
