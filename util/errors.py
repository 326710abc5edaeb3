"""Mistakes that the user can mend, told in one sentence."""

import sys
from typing import Callable


class UsageError(Exception):
    """A wrong choice, a missing path or an impossible combination.

    The message says what was given, what is accepted, and which flag to change.
    """


def run_command(main: Callable[[], int | None]) -> None:
    """Run a script's main function; a UsageError ends it with exit status 2 and its sentence on stderr."""
    try:
        sys.exit(main() or 0)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
