"""What ends a command, told in one sentence: mistakes that the user can mend, and blows from outside."""

import sys
import threading
from collections.abc import Callable

from util.failures import explain


class UsageError(Exception):
    """A wrong choice, a missing path or an impossible combination; exit status 2.

    The message says what was given, what is accepted, and which flag to change.
    """


class RunError(Exception):
    """What stops a command that was asked rightly: a full disk, losses that stay broken; exit status 1.

    The message says what happened, what is safe, and how to go on.
    """


def run_command(main: Callable[[], int | None]) -> None:
    """Run a script's main function and exit with its status.

    A UsageError ends it with exit status 2, a RunError and whatever util.failures can explain with 1, Ctrl-C with 130:
    each with one sentence on stderr. Anything else is a fault of the program and keeps its traceback.
    """
    hook = threading.excepthook
    threading.excepthook = _explain_thread(hook)
    try:
        sys.exit(main() or 0)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        known = isinstance(error, (UsageError, RunError))
        told = str(error) if known else explain(error)
        if told is None:
            raise
        print(f"error: {told}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    finally:
        threading.excepthook = hook


def check_flags(parse: Callable[[], object]) -> None:
    """Read the command line and end with what is wrong in it, or with the help, if there is anything to say.

    For scripts, before they import PyTorch, which takes seconds.
    """
    try:
        parse()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _explain_thread(otherwise: Callable) -> Callable:
    """A hook for threads that end with an error: what can be explained is told without a traceback."""

    def hook(args) -> None:
        told = explain(args.exc_value) if isinstance(args.exc_value, Exception) else None
        if told is None:
            otherwise(args)
        else:
            print(f"error: {told}", file=sys.stderr)

    return hook
