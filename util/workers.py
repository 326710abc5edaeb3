"""Set-up of worker processes (reading images, refining masks, drawing the demo), and their end with the main process.

Workers come by fork, forkserver or spawn, whichever Python was told to use. What they send goes through pipes as plain
arrays: shared memory is 64 MB in Docker, and passing its descriptors takes sockets, whose paths a long TMPDIR breaks.
"""

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import tempfile
import threading

import cv2

from util.errors import RunError

log = logging.getLogger(__name__)

LONGEST_TMPDIR = 60  # bytes; a socket's path may have 107, of which Python's own part takes up to 40


def before_workers(count: int) -> None:
    """Call it before `count` worker processes are started; 0: before work in this one.

    OpenCV's threads do not survive a fork, and a worker that needs them hangs, so OpenCV gets one thread. A TMPDIR too long for sockets gives way to a shorter folder. Raises RunError where there is none.
    """
    cv2.setNumThreads(1)
    if not count or os.name != "posix" or len(os.fsencode(tempfile.gettempdir())) <= LONGEST_TMPDIR:
        return
    for folder in ("/tmp", "/var/tmp"):
        if os.access(folder, os.W_OK | os.X_OK):
            tempfile.tempdir = folder
            return
    raise RunError(
        f"the folder for temporary files, {tempfile.gettempdir()}, has too long a name for worker processes, and /tmp "
        "cannot be written; set TMPDIR to a shorter one, or pass --num_workers 0"
    )


def start_worker(*_: object) -> None:
    """Call it first in a worker: it leaves Ctrl-C and SIGTERM to the main process, and ends when that ends, even by SIGKILL."""
    cv2.setNumThreads(1)
    for number in (signal.SIGINT, signal.SIGTERM):  # a cluster signals every process of the job
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
