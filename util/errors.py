"""How commands end: with one sentence for usage errors, external failures and signals."""

import argparse
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

# Those that end a job: a terminal that closes sends SIGHUP, which nohup has the process ignore, a cluster's manager the others.
STOP_SIGNALS = [
    number
    for number in signal.valid_signals()
    if getattr(number, "name", None) in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    and (number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN)
]


class UsageError(Exception):
    """A wrong choice, a missing path or an impossible combination: what was given, what is accepted, which flag to change."""


class RunError(Exception):
    """A failure of a valid command: what happened, what is saved, and how to go on."""


class Stopped(Exception):
    """Signal `number` was received and work was ended in order. The message says what is saved."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


def first_lines(error: BaseException) -> str:
    """The first two lines of an error's message as one; PyTorch's messages can be very long. Its kind if it has none."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    return " ".join(lines[:2])[:300] or type(error).__name__


def run_command(main: Callable[[], int | None]) -> None:
    """Run a script's main function and exit with its status, and with one sentence on stderr where it fails.

    The status is 2 for a UsageError, 1 for a RunError and whatever `explain` knows, 128 + number for Ctrl-C and the other
    STOP_SIGNALS, also where work has Stopped. Anything else is a fault of the program and keeps its traceback.
    """
    # What fails in a thread of TensorBoard's is told where the main thread meets it.
    threading.excepthook = lambda failed: explain(failed.exc_value) or threading.__excepthook__(failed)
    before = {number: signal.signal(number, _terminate) for number in STOP_SIGNALS if number != signal.SIGINT}
    try:
        sys.exit(main() or 0)
    except KeyboardInterrupt as end:
        print(f"interrupted; {go_on()}", file=sys.stderr)
        sys.exit(128 + (end.args[0] if end.args else signal.SIGINT))
    except Stopped as stopped:
        logging.info("%s: %s", signal.Signals(stopped.number).name, stopped)
        sys.exit(128 + stopped.number)
    except Exception as error:
        if (message := explain(error)) is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    finally:
        for child in multiprocessing.active_children():
            child.kill()  # Python would wait for those that hang
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminate(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough
    raise KeyboardInterrupt(number)  # unwinding the stack cleans up


def parse_or_exit(parse: Callable[[], argparse.Namespace]) -> argparse.Namespace:
    """The parsed command line, or the end of the program. Scripts parse before they import PyTorch, which takes seconds."""
    try:
        return parse()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


# ------------------------------------------------------------------ external failures

# What happened, and its signs: names of kinds of error, as not every command imports PyTorch, or parts of messages.
EXTERNAL = {
    "out of memory: lower --batch_size, --num_workers or the images' size": (
        "MemoryError",
        "can't allocate memory",
        "nable to find an engine",  # cuDNN's
    ),
    "torch.compile failed: install a compiler or drop --compile": (
        "BackendCompilerFailed",
        "C++ compile",
        "C compiler",
    ),
    "the system starts no more threads: lower --num_workers, or raise ulimit -u": ("can't start new thread",),
    "the GPU failed": ("CUDA error", "cuDNN error", "CUDNN_STATUS", "CUBLAS_STATUS"),
    "another process of this run was lost": ("DistError", "by peer", "gloo", "NCCL error"),
}


def go_on() -> str:
    """How to go on after a failure of this command."""
    resumes = Path(sys.argv[0]).stem in ("train", "classify")
    return "what was saved before is intact; go on with --continue_train" if resumes else "run it again to go on"


def explain(error: BaseException) -> str | None:
    """What happened and what to do, in one sentence; None for an error that is no external failure."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"UsageError", "RunError", "ImageError"}:
        return str(error)
    if isinstance(error, OSError):
        said = error.strerror or str(error)
        return f"{os.fsdecode(error.filename)}: {said}" if error.filename else said
    said = f"{kinds} {error}" if kinds & {"RuntimeError", "MemoryError"} else ""
    for happened, signs in EXTERNAL.items():
        if any(sign in said for sign in signs):
            return f"{happened} ({first_lines(error)}); {go_on()}"
    return None
