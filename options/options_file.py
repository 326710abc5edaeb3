"""--options FILE: flags out of a YAML file, a run's own options.yaml included."""

import argparse
from pathlib import Path
from typing import Any

import yaml

from options.parsing import Parser, as_flags, nearest
from options.stored import fault
from util.errors import UsageError

# What a run's options.yaml says beside its flags, and flags of the moment that belong to that run alone.
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
    """{flag: value} of the file. Raises UsageError for what is no flag, or no value that the flag takes."""
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
        wrong = fault(actions[name], value)
        if wrong:
            raise UsageError(f"--options {file}: {name} {wrong}")
    return flags
