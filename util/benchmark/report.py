"""--json of the benchmarks."""

import argparse
from pathlib import Path

from util.errors import UsageError
from util.strict_json import write_json


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")


def write_report(file: Path | None, figures: dict) -> None:
    """Write the figures to --json, if it is given. Raises UsageError."""
    if file is None:
        return
    try:
        write_json(file, figures)
    except OSError as error:
        raise UsageError(f"cannot write --json {file}: {error.strerror or error}") from error
