"""Work in processes and threads beside the main one: reading images, refining masks, drawing the demo.

Processes come by forkserver or spawn, never by a fork of the main process: a fork that happens while one of its threads
holds a lock leaves that lock held in the worker for ever. OpenCV takes such a lock whenever a thread that used it ends, and
its next `imdecode` in a worker then never returns. What workers send goes through pipes as plain arrays: shared memory is
64 MB in Docker, and passing its descriptors takes sockets, whose paths a long TMPDIR breaks.

A process takes seconds to start. Images that are read once are read by threads, which start at once and share memory.
"""

import contextlib
import ctypes
import logging
import multiprocessing
import multiprocessing.connection
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.context import BaseContext
from multiprocessing.pool import AsyncResult, ThreadPool
from pathlib import Path
from typing import Generic, TypeVar

import cv2
from tqdm import tqdm

from util.errors import RunError, go_on, signals_to
from util.locks import LOCK_FILE, locked

log = logging.getLogger(__name__)

Task = TypeVar("Task")
Result = TypeVar("Result")

STALLED = 300  # seconds without a result after which workers are taken to hang
POLL = 5  # seconds of waiting for a result at a time
PRELOADED = ("cv2", "scipy.ndimage", "torch", "torch.utils.tensorboard")  # slow to import: once, not once a worker
LONGEST_TMPDIR = 60  # bytes; a socket's path may have 107, of which Python's own part takes up to 40

SECONDS = 30.0  # between two plain lines of progress
ROOT = Path(__file__).resolve().parents[1]
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
PR_SET_PDEATHSIG = 1


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


# ------------------------------------------------------------------ progress


def on_terminal() -> bool:
    """Whether stderr is a terminal, where a line can be drawn over."""
    return sys.stderr is not None and sys.stderr.isatty()


class Lines(Generic[Task]):
    """Progress as log lines where there is no terminal, with the part of tqdm's interface that is used here."""

    def __init__(self, items: Iterable[Task], *, total: int | None, desc: str, unit: str, initial: int = 0) -> None:
        self.items, self.total, self.desc, self.unit = items, total, desc, unit
        self.n, self._last_line = initial, time.monotonic()

    def __iter__(self) -> Iterator[Task]:
        for item in self.items:
            yield item
            self.update()

    def __enter__(self) -> "Lines[Task]":
        return self

    def __exit__(self, *error) -> None:
        pass

    def update(self, count: int = 1) -> None:
        """Count some more; log a line every SECONDS."""
        self.n += count
        if time.monotonic() - self._last_line >= SECONDS:
            self._last_line = time.monotonic()
            of = f" of {self.total:,}" if self.total else ""
            log.info("%s: %s%s %ss", self.desc, f"{self.n:,}", of, self.unit)


def progress(
    items: Iterable[Task] = (), *, total: int | None = None, desc: str, unit: str = "image", initial: int = 0
) -> "tqdm[Task] | Lines[Task]":
    """Show how many items are done: iterate over the result, or use it in `with` and call its update(count).

    A bar on a terminal, removed at the end; elsewhere a plain line every SECONDS, without control characters.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items) or None
    if not on_terminal():
        return Lines(items, total=total, desc=desc, unit=unit, initial=initial)
    return tqdm(items or None, total=total, desc=desc, unit=unit, initial=initial, leave=False, dynamic_ncols=True)


# ------------------------------------------------------------------ this project's commands as child processes


def start_child(command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen:
    """Start a script of this project, ("train.py", "--name", ...), its output appended to `log`.

    It runs in the current folder and in a session of its own, so that Ctrl-C reaches the parent alone, which passes it
    on. On Linux it gets SIGTERM when its parent dies: train.py then saves and ends.
    """
    script, *flags = command
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        output.write(f"$ {shell_line(command)}\n".encode())
        output.flush()
        return subprocess.Popen(
            [sys.executable, str(ROOT / script), *flags],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            preexec_fn=_end_with_parent if LIBC else None,
        )


def _end_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def shell_line(command: Sequence[str]) -> str:
    """The command as it is typed in a shell."""
    return shlex.join(["python", *command])


def last_line(log: Path) -> str:
    """The last line of a log that is not empty, "" where there is none."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def stop_child(child: subprocess.Popen, *, seconds: float = 60) -> None:
    """Ask a child to save and end, and wait for it; after so many seconds it is killed."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextlib.contextmanager
def note_signals() -> Iterator[list[int]]:
    """Within the block SIGINT and SIGTERM do nothing but append their numbers to the list that it yields."""
    received: list[int] = []
    with signals_to(lambda number, _: received.append(number)):
        yield received


def wait_for_run(folder: Path) -> None:
    """Wait until no process trains in the run's folder: a child whose parent was killed takes a moment to save."""
    file = folder / LOCK_FILE
    if file.exists():
        with locked(file, what=f"the run in {folder}", remedy="stop it", seconds=60):
            pass
