"""File locks for runs and mask trees. The system releases a lock when its holder ends, even by SIGKILL."""

import contextlib
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


@contextlib.contextmanager
def locked(file: Path, *, what: object, remedy: str, seconds: float = 0) -> Iterator[bool]:
    """Hold the lock `file` within the block, waiting for it up to `seconds`. Yields False where nothing can be locked.

    what: the thing that is locked, for the message; remedy: what to change. Raises UsageError, which names the holder,
    if the lock is still taken, by another process or by this one.
    """
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        end = time.monotonic() + seconds
        state = try_lock(handle)
        if state is False and seconds:
            log.info("%s is in use by %s; waiting for it", what, _holder(handle))
        while state is False and time.monotonic() < end:
            time.sleep(0.2)
            state = try_lock(handle)
        if state is False:
            raise UsageError(f"{what} is in use by {_holder(handle)}; wait for it to end, or {remedy}")
        if state is None:
            log.warning("%s cannot be locked: make sure that no second process works on it", what)
        _sign(handle)
        yield state is True
    finally:
        os.close(handle)


def lock_run(folder: Path) -> contextlib.AbstractContextManager[None]:
    """The lock on a run's folder, which must exist."""
    return locked(folder / LOCK_FILE, what=f"the run in {folder}", remedy="choose another --name")


def _sign(handle: int) -> None:
    """Write the holder into the lock file."""
    holder = f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}"
    with contextlib.suppress(OSError):  # a full disk is no reason to stop
        os.ftruncate(handle, 0)
        os.pwrite(handle, holder.encode(), 0)


def _holder(handle: int) -> str:
    text = os.pread(handle, 200, 0).decode(errors="replace")
    return text if text.startswith("process ") and text.isprintable() else "another process"
