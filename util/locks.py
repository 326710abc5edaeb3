"""File locks for runs, packs and mask trees. The system releases a lock when its holder ends, even by SIGKILL."""

import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from util.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two processes apart
    fcntl = None

log = logging.getLogger(__name__)

LOCK_FILE = ".lock"
_held: set[int] = set()  # descriptors of this process's locks


def try_lock(handle: int) -> bool | None:
    """Lock an open file. Returns False where another process holds the lock, None where the system has no locks.

    The lock is released when the file is closed or the process ends.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def wait_for_lock(handle: int) -> None:
    """Wait for the lock on an open file for which try_lock returned False."""
    fcntl.flock(handle, fcntl.LOCK_EX)


@contextlib.contextmanager
def locked(file: Path, *, what: str, remedy: str, seconds: float = 0) -> Iterator[None]:
    """Hold the lock `file` within the block, waiting for it up to `seconds`.

    what: the thing that is locked, for the message; remedy: what to change. Raises UsageError, which names the holder,
    if the lock is still taken, by another process or by this one.
    """
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        end = time.monotonic() + seconds
        while (state := try_lock(handle)) is False and time.monotonic() < end:
            time.sleep(0.2)
        if state is False:
            raise UsageError(f"{what} is in use by {_holder(handle)}; wait for it to end, or {remedy}")
        if state is None:
            log.warning("%s cannot be locked: make sure that no second process works on it", what)
        _held.add(handle)
        _sign(handle)
        yield
    finally:
        _held.discard(handle)
        os.close(handle)


def lock_run(folder: Path) -> contextlib.AbstractContextManager[None]:
    """The lock on a run's folder, which must exist."""
    return locked(folder / LOCK_FILE, what=f"the run in {folder}", remedy="choose another --name")


def _sign(handle: int) -> None:
    """Write the holder into the lock file."""
    record = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    with contextlib.suppress(OSError):  # a full disk is no reason to stop
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(record).encode(), 0)


def _holder(handle: int) -> str:
    try:
        record = json.loads(os.pread(handle, 4096, 0))
        return f"process {int(record['pid'])} on {str(record['host'])[:100]} since {str(record['since'])[:30]}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _let_go() -> None:
    """In a forked child: close the parent's locks, which a worker that outlives it would keep."""
    for handle in _held:
        with contextlib.suppress(OSError):
            os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
