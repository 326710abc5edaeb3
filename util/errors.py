"""How commands end: with one sentence for usage errors, external failures and signals."""

import argparse
import contextlib
import errno
import logging
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path


class UsageError(Exception):
    """A wrong choice, a missing path or an impossible combination; exit status 2.

    The message says what was given, what is accepted, and which flag to change.
    """


class RunError(Exception):
    """A failure of a valid command; exit status 1. The message says what happened, what is saved, and how to go on."""


class Stopped(Exception):
    """Signal `number` was received and work was ended in order; exit status 128 + number. The message says what is saved."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class Terminated(BaseException):
    """SIGTERM was received. Unwinding the stack cleans up."""


def first_lines(error: BaseException) -> str:
    """The first two lines of an error's message as one; PyTorch's messages can be very long. Its kind if it has none."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    return " ".join(lines[:2])[:300] or type(error).__name__


def run_command(main: Callable[[], int | None]) -> None:
    """Run a script's main function and exit with its status, and with one sentence on stderr where it fails.

    The status is 2 for a UsageError, 1 for a RunError and whatever `explain` knows, 130 for Ctrl-C, 143 for SIGTERM, 128 +
    number for Stopped. Anything else is a fault of the program and keeps its traceback.
    """
    threading.excepthook = _thread_failed
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
        message = explain(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    finally:
        for child in multiprocessing.active_children():
            child.kill()  # Python would wait for those that hang
        signal.signal(signal.SIGTERM, handler)


def _terminate(*_) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    raise Terminated


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    message = explain(failed.exc_value)
    if message is None:
        threading.__excepthook__(failed)
    else:
        print(f"error: {message}", file=sys.stderr)


def parse_or_exit(parse: Callable[[], argparse.Namespace]) -> argparse.Namespace:
    """The parsed command line; exits with its error, or after the help if that was asked for.

    Scripts call it before they import PyTorch, which takes seconds.
    """
    try:
        return parse()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


@contextlib.contextmanager
def signals_to(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Within the block SIGINT and SIGTERM call handler(number, frame)."""
    previous = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, last in previous.items():
            signal.signal(number, last)


# ------------------------------------------------------------------ external failures

FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is too large",
}
LESS_MEMORY = {  # by command
    "train": "lower --batch_size, --crop_size or --num_workers",
    "test": "lower --batch_size or --num_workers, or keep --crop",
    "classify": "lower --batch_size, --img_size or --num_workers, or choose a smaller --vit",
    "preprocess_masks": "lower --num_workers",
}
# (kinds of error, signs in the message of a RuntimeError, the sentence). Errors are known by their names, so that commands
# which need no PyTorch do not import it for this.
EXPLAINED = (
    (
        ("OutOfMemoryError", "MemoryError"),
        ("can't allocate memory", "nable to find an engine"),  # the latter is cuDNN's
        "out of memory ({first}); {less_memory}; {go_on}",
    ),
    (
        (),
        ("does not have a deterministic implementation",),
        "--deterministic: PyTorch cannot repeat {word} bit for bit on this device; drop --deterministic, or use --device cpu",
    ),
    (
        ("AcceleratorError",),
        ("CUDA error", "cuDNN error", "CUDNN_STATUS", "CUBLAS_STATUS", "cuda runtime error"),
        "the GPU failed ({first}); {go_on}",
    ),
    (
        ("DistBackendError", "DistNetworkError", "DistStoreError"),
        ("Connection closed by peer", "Connection reset by peer", "gloo", "NCCL error"),
        "another process of this run was lost ({first}); {go_on}",
    ),
)


def _command() -> str:
    """The command that runs: train, test, classify ..."""
    return Path(sys.argv[0]).stem if sys.argv else ""


def go_on() -> str:
    """How to go on after a failure of this command."""
    if _command() in ("train", "classify"):
        return "what was saved before is intact; go on with --continue_train"
    return "what was done is kept, run it again to go on" if _command() == "preprocess_masks" else "run it again"


def explain(error: BaseException) -> str | None:
    """What happened and what to do, in one sentence; None for an error that is no external failure."""
    text, kinds = str(error).strip(), {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"UsageError", "RunError", "ImageError"}:
        return str(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        if error.errno in FULL:
            return f"{where}{FULL[error.errno]}; free some space; {go_on()}"
        if "AF_UNIX path too long" in text:
            return "the name of TMPDIR is too long for worker processes; set a shorter TMPDIR, or pass --num_workers 0"
        return f"{where}{error.strerror or error}"
    words = {
        "first": (text.splitlines() or [type(error).__name__])[0][:200],
        "word": (text.split() or [""])[0],
        "less_memory": LESS_MEMORY.get(_command(), "lower --batch_size or --num_workers"),
        "go_on": go_on(),
    }
    for names, signs, sentence in EXPLAINED:
        if kinds & set(names) or "RuntimeError" in kinds and any(sign in text for sign in signs):
            return sentence.format(**words)
    return None
