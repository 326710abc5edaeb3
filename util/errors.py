"""How commands end: with one sentence for usage errors, external failures and signals."""

import argparse
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from util.failures import explain, go_on


class UsageError(Exception):
    """A wrong choice, a missing path or an impossible combination; exit status 2.

    The message says what was given, what is accepted, and which flag to change.
    """


def first_lines(error: BaseException) -> str:
    """The first two lines of an error's message as one; PyTorch's messages can be very long. Its kind if it has none."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    return " ".join(lines[:2])[:300] or type(error).__name__


class RunError(Exception):
    """A failure of a valid command, such as a full disk or losses that are never finite; exit status 1.

    The message says what happened, what is saved, and how to go on.
    """


class Stopped(Exception):
    """SIGINT or SIGTERM, its `number`, was received, and work was ended in order; exit status 128 + number.

    The message says what is saved, and how to go on.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class Terminated(BaseException):
    """SIGTERM was received. Unwinding the stack cleans up and ends worker processes."""


def run_command(main: Callable[[], int | None]) -> None:
    """Run a script's main function and exit with its status.

    A UsageError ends it with exit status 2, a RunError and whatever util.failures can explain with 1, Ctrl-C with 130,
    SIGTERM with 143, Stopped with 128 and the signal's number: each with one sentence on stderr. Anything else is a fault of the program and keeps its traceback.
    """
    hook = threading.excepthook
    threading.excepthook = _explain_thread(hook)
    handler = signal.signal(signal.SIGTERM, _terminate)
    try:
        sys.exit(main() or 0)
    except (KeyboardInterrupt, Terminated) as end:
        said, number = ("terminated", signal.SIGTERM) if isinstance(end, Terminated) else ("interrupted", signal.SIGINT)
        print(f"{said}; {go_on()}", file=sys.stderr)
        sys.exit(128 + number)
    except Stopped as stopped:
        logging.info("%s: %s", signal.Signals(stopped.number).name, stopped)
        sys.exit(128 + stopped.number)
    except Exception as error:
        known = isinstance(error, (UsageError, RunError))
        message = str(error) if known else explain(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    finally:
        if "util.workers" in sys.modules:  # else there are none
            sys.modules["util.workers"].end_workers()
        threading.excepthook = hook
        signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def signals_to(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Within the block, SIGINT and SIGTERM call the handler."""
    previous = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, last in previous.items():
            signal.signal(number, last)


def _terminate(*_) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    raise Terminated


def parse_or_exit(parse: Callable[[], argparse.Namespace]) -> argparse.Namespace:
    """The parsed command line; exits with its error, or after the help if that was asked for.

    Scripts call it before they import PyTorch, which takes seconds.
    """
    try:
        return parse()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _explain_thread(otherwise: Callable) -> Callable:
    """A threading.excepthook that prints explainable errors without a traceback."""

    def hook(args) -> None:
        message = explain(args.exc_value) if isinstance(args.exc_value, Exception) else None
        if message is None:
            otherwise(args)
        else:
            print(f"error: {message}", file=sys.stderr)

    return hook
