"""Work in processes and threads beside the main one: reading images, refining masks, drawing the demo.

Processes come by forkserver or spawn, never by a fork of the main process: a fork that happens while one of its threads
holds a lock leaves that lock held in the worker for ever. OpenCV takes such a lock whenever a thread that used it ends, and
its next `imdecode` in a worker then never returns. What workers send goes through pipes as plain arrays: shared memory is
64 MB in Docker, and passing its descriptors takes sockets, whose paths a long TMPDIR breaks.

A process takes seconds to start. Images that are read once are read by threads, which start at once and share memory.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.context import BaseContext
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import TypeVar

import cv2

from util.errors import RunError
from util.failures import go_on

Task = TypeVar("Task")
Result = TypeVar("Result")

STALLED = 300  # seconds without a result after which workers are taken to hang
POLL = 5  # seconds of waiting for a result at a time
PRELOADED = ("cv2", "scipy.ndimage", "torch", "torch.utils.tensorboard")  # slow to import: once, not once a worker
LONGEST_TMPDIR = 60  # bytes; a socket's path may have 107, of which Python's own part takes up to 40


def before_workers(count: int) -> None:
    """Call it before `count` worker processes are started; 0: before work in this one.

    The processes are the parallelism, so OpenCV gets one thread. A TMPDIR too long for sockets gives way to a shorter
    folder. Raises RunError where there is none.
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


def worker_context() -> BaseContext:
    """How worker processes are started: as Python was told to, by forkserver in the place of fork."""
    method = multiprocessing.get_start_method()
    context = multiprocessing.get_context("forkserver" if method == "fork" else method)
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload([name for name in PRELOADED if name in sys.modules])
    return context


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


def end_workers() -> None:
    """Kill the worker processes that are left. Python waits at its end for those that hang, and they ignore SIGTERM."""
    workers = multiprocessing.active_children()
    with contextlib.ExitStack() as restored:
        if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
            # PyTorch's handler raises an error for a worker that was killed.
            restored.callback(signal.signal, signal.SIGCHLD, signal.signal(signal.SIGCHLD, signal.SIG_DFL))
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join(5)


def in_processes(
    function: Callable[..., Result], tasks: Iterable[tuple], *, count: int, name: Callable[[tuple], str]
) -> Iterator[Result]:
    """function(*task) of each task, in `count` processes; yields the results in any order, as they come.

    A few tasks a process are under way at a time, so that memory does not grow with their number. name: what a task is
    called in messages. Raises RunError where a process is lost or none ends a task for STALLED seconds.
    """
    before_workers(count)
    tasks = iter(tasks)
    under_way: dict[Future, tuple] = {}  # in the order in which they begin
    with ProcessPoolExecutor(count, mp_context=worker_context(), initializer=start_worker) as pool:

        def submit(more: int) -> None:
            under_way.update({pool.submit(function, *task): task for task in islice(tasks, more)})

        try:
            submit(3 * count)
            while under_way:
                finished = wait(under_way, timeout=STALLED, return_when=FIRST_COMPLETED).done
                if not finished:
                    names = " or ".join(map(name, islice(under_way.values(), count)))
                    raise RunError(
                        f"worker processes have ended no work for {STALLED} s: one hangs at {names}; what was done is "
                        "kept, run again to go on, with --num_workers 0 if that does not help"
                    )
                submit(len(finished))
                for future in finished:
                    del under_way[future]
                    yield future.result()
        except BrokenProcessPool as error:
            raise RunError(
                "a worker process was killed (often for want of memory); what was done is kept, run again to go on, "
                "perhaps with a lower --num_workers"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            end_workers()
            raise


def in_threads(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    count: int,
    name: Callable[[Task], str] | None = None,
    start: Callable[[], object] | None = None,
) -> Iterator[Result]:
    """function(task) of each task, in order, by `count` threads that work a few tasks ahead; 0: each when it is asked for.

    For functions that rarely hold Python's lock, as those that read or translate images. An error of the function is raised
    in the task's turn. name: what a task is called in messages; RunError is raised where no result comes for STALLED seconds,
    and threads that hang are left behind. None: the function never hangs, and the end waits for the tasks begun. start:
    called first in each thread.
    """
    if not count:
        yield from map(function, tasks)
        return
    under_way: deque[tuple[Task, AsyncResult]] = deque()
    with ThreadPool(count, start) as pool:  # its end does not wait for threads that hang, nor does the program's
        try:
            for task in tasks:
                under_way.append((task, pool.apply_async(function, (task,))))
                if len(under_way) > 2 * count:
                    yield _result(*under_way.popleft(), name)
            while under_way:
                yield _result(*under_way.popleft(), name)
        finally:
            if name is None:  # the program must not end while a thread computes
                pool.terminate()
                pool.join()


def _result(task: Task, result: AsyncResult, name: Callable[[Task], str] | None) -> Result:
    if name is None:
        return result.get()
    for _ in range(max(1, STALLED // POLL)):  # counted, not timed: a process may be stopped for hours and go on
        result.wait(POLL)
        if result.ready():
            return result.get()
    raise RunError(
        f"no image has come for {STALLED} s: reading hangs at {name(task)}; see whether this file and its disk can be "
        f"read; {go_on()}"
    )
