"""What the parsers of all scripts share: argument types with their ranges, and which flags were given explicitly."""

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one sentence on stderr (exit status 2), without the usage block."""

    def __init__(self, **kwargs) -> None:
        super().__init__(formatter_class=HelpFormatter, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"(\S{200})\S+", r"\1...", message)
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Defaults in every help line, except where the default is decided later (None)."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or "default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


def parse_with_explicit(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse argv (None: the command line); `.explicit` lists the destinations that argv itself named.

    argparse fills in a default only where the namespace lacks the attribute, so a namespace that starts with a marker
    everywhere keeps the marker wherever argv said nothing.
    """
    argv = sys.argv[1:] if argv is None else argv
    marker = object()
    # Subparsers and defaults of positionals are not used in this project, so every action has a plain dest.
    dests = [action.dest for action in parser._actions if action.dest not in ("help", argparse.SUPPRESS)]
    given = parser.parse_args(argv, argparse.Namespace(**dict.fromkeys(dests, marker)))
    explicit = sorted(dest for dest in dests if getattr(given, dest) is not marker)
    opt = parser.parse_args(argv)
    opt.explicit = explicit
    return opt


def add_switch(parser: argparse._ActionsContainer, flag: str, *, default: bool | None, help: str) -> None:
    """Add `--flag/--no-flag`."""
    parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=default, help=help)


def integer(minimum: int, maximum: int = 2**31 - 1) -> Callable[[str], int]:
    """An argument type: an integer in [minimum, maximum]."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{_short(text)} is not an integer") from None
        if not minimum <= value <= maximum:
            raise argparse.ArgumentTypeError(f"{_short(text)} is not {_range(minimum, maximum)}")
        return value

    return convert


def number(minimum: float, maximum: float = 1e6, *, above: bool = False) -> Callable[[str], float]:
    """An argument type: a finite number in [minimum, maximum], or in (minimum, maximum] if `above`."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{_short(text)} is not a number") from None
        too_low = value <= minimum if above else value < minimum
        if not math.isfinite(value) or too_low or value > maximum:
            raise argparse.ArgumentTypeError(f"{_short(text)} is not {_range(minimum, maximum, above)}")
        return value

    return convert


def _range(minimum: float, maximum: float, above: bool = False) -> str:
    low = f"above {minimum:g}" if above else f"at least {minimum:g}"
    return f"{low} and at most {maximum if isinstance(maximum, int) else f'{maximum:g}'}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "...")


def run_name(text: str) -> str:
    """An argument type: the name of a run, which becomes a folder and must not lead out of its parent."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+=-]{0,99}", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot name a run: use up to 100 letters, digits and . _ + = - (not starting with . + = -)"
        )
    return text


def existing_dir(text: str) -> Path:
    """An argument type: a folder that exists."""
    path = Path(text)
    if not os.path.isdir(path):  # pathlib raises for names that no system takes
        raise argparse.ArgumentTypeError(f"{_short(text)} is not a folder")
    return path


def existing_file(text: str) -> Path:
    """An argument type: a file that exists."""
    path = Path(text)
    if not os.path.isfile(path):
        raise argparse.ArgumentTypeError(f"{_short(text)} is not a file")
    return path
