"""--options FILE: flags from a YAML file, such as a run's options.yaml."""

import argparse
from pathlib import Path
from typing import Any

from options.parsing import Parser, as_flags, nearest
from options.stored import fault
from util.errors import UsageError
from util.run import read_mapping

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
    content = read_mapping(file, name=f"--options {file}")
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
