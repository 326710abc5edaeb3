"""Work beside the main process: in worker processes, in threads, and by this project's own commands; and its progress.

Workers are started by forkserver or spawn: a fork can hang on a lock that a thread of the main process held. Each has a
pipe of its own, through which results go as plain data. So no shared memory is needed, of which Docker has 64 MB, and a
lost worker is noticed at once. As a process takes seconds to start, images that are read once are read by threads.
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
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import cycle, starmap
from multiprocessing.context import BaseContext
from multiprocessing.pool import AsyncResult, ThreadPool
from pathlib import Path
from typing import TypeVar

import cv2
from tqdm import tqdm

from util.errors import RunError, go_on

log = logging.getLogger(__name__)

Task = TypeVar("Task")
Result = TypeVar("Result")

STALLED = 300  # seconds without a result after which the work is taken to hang
POLL = 5  # seconds of waiting for a result at a time
TASKS = 3  # of each worker: one is worked on, the others wait
PRELOADED = ("cv2", "scipy.ndimage", "torch", "torch.utils.tensorboard")  # slow to import: once, not once a worker
SECONDS = 30.0  # between two lines of progress
ROOT = Path(__file__).resolve().parents[1]


def in_processes(
    function: Callable[..., Result], tasks: Iterable[tuple], *, count: int, name: Callable[[tuple], str]
) -> Iterator[Result]:
    """function(*task) of each task, in order, by `count` processes that work a few tasks ahead; 0: in this process.

    tasks: may be endless. name: what a task is called in messages. An error of the function is raised in its task's turn.
    Raises RunError where a process is lost, or gives nothing for STALLED seconds.
    """
    if not count:
        yield from starmap(function, tasks)
        return
    context, workers = worker_context(), []
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(function, theirs), daemon=True)
            process.start()
            workers.append((process, ours))
            theirs.close()
        turns = cycle(pipe for _, pipe in workers)

        def begin(task: tuple) -> Callable[[], Result]:
            pipe = next(turns)
            with contextlib.suppress(OSError):  # of a worker that is lost: its result will say so
                pipe.send(task)
            return partial(_receive, pipe, name, task)

        yield from _ahead(begin, tasks, TASKS * count)
    finally:
        for process, _ in workers:
            process.kill()
        for process, pipe in workers:
            process.join(POLL)
            pipe.close()


def _serve(function: Callable[..., Result], pipe: multiprocessing.connection.Connection) -> None:
    start_worker()
    with contextlib.suppress(EOFError, OSError):  # the main process is gone
        while True:
            task, error, result = pipe.recv(), None, None
            try:
                result = function(*task)
            except Exception as raised:
                error = raised
                error.add_note(traceback.format_exc())
            pipe.send((result, error))


def _receive(pipe: multiprocessing.connection.Connection, name: Callable[[tuple], str], task: tuple) -> object:
    _wait(pipe.poll, lambda: name(task), "; pass --num_workers 0 if that does not help")
    try:
        result, error = pipe.recv()
    except (EOFError, OSError):
        raise RunError(
            f"a worker process was lost, often for want of memory; {go_on()}, perhaps with a lower --num_workers"
        ) from None
    if error:
        raise error
    return result


def in_threads(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    count: int,
    name: Callable[[Task], str] | None = None,
    start: Callable[[], object] | None = None,
) -> Iterator[Result]:
    """function(task) of each task, as in_processes does, by `count` threads. For functions that rarely hold Python's lock.

    Threads that hang are left behind. name None: the function never hangs, and the end waits for the tasks begun. start:
    called first in each thread.
    """
    if not count:
        yield from map(function, tasks)
        return
    with ThreadPool(count, start) as pool:  # its end does not wait for threads that hang, nor does the program's

        def begin(task: Task) -> Callable[[], Result]:
            return partial(_get, pool.apply_async(function, (task,)), name, task)

        try:
            yield from _ahead(begin, tasks, TASKS * count)
        finally:
            if name is None:  # the program must not end while a thread computes
                pool.terminate()
                pool.join()


def _get(result: AsyncResult, name: Callable[[Task], str] | None, task: Task) -> Result:
    if name is not None:
        _wait(lambda seconds: result.wait(seconds) or result.ready(), lambda: name(task))
    return result.get()


def _ahead(begin: Callable[[Task], Callable[[], Result]], tasks: Iterable[Task], most: int) -> Iterator[Result]:
    """Begin up to `most` tasks ahead of the one whose result is due; `begin` returns what waits for its result."""
    under_way: deque[Callable[[], Result]] = deque()
    for task in tasks:
        under_way.append(begin(task))
        if len(under_way) == most:
            yield under_way.popleft()()
    while under_way:
        yield under_way.popleft()()


def _wait(ready: Callable[[float], bool], name: Callable[[], str], advice: str = "") -> None:
    """Wait for a result by ready(seconds). The waits are counted, as a process may be stopped for hours and go on."""
    if not any(ready(POLL) for _ in range(max(1, STALLED // POLL))):
        raise RunError(
            f"no result has come for {STALLED} s: the work on {name()} hangs; see whether this file and its disk can be "
            f"read; {go_on()}{advice}"
        )


def worker_context() -> BaseContext:
    """How worker processes are started: by forkserver, or by spawn where there is none."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([name for name in PRELOADED if name in sys.modules])
    return context


def start_worker() -> None:
    """Call it first in a worker: it leaves Ctrl-C and SIGTERM to the main process, and ends when that ends."""
    cv2.setNumThreads(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM):  # a cluster signals every process of the job
        signal.signal(number, signal.SIG_IGN)
    sentinel = multiprocessing.parent_process().sentinel
    threading.Thread(target=_end_with, args=(sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


# ------------------------------------------------------------------ progress


class _Lines(tqdm):
    """tqdm that logs a line every SECONDS, for where there is no terminal."""

    def display(self, *_, **__) -> None:
        of = f" of {self.total:,}" if self.total else ""
        if self.n > self.initial:
            log.info("%s: %s%s %ss", self.desc, f"{self.n:,}", of, self.unit)

    def close(self) -> None:
        self.disable = True


def progress(
    items: Iterable[Task] | None = None,
    *,
    total: int | None = None,
    desc: str,
    unit: str = "image",
    initial: int = 0,
) -> "tqdm[Task]":
    """Show how many items are done: iterate over the result, or use it in `with` and call its update(count).

    A bar on a terminal, removed at the end; elsewhere a plain line every SECONDS, without control characters.
    """
    if on_terminal():
        return tqdm(items, desc, total, unit=unit, initial=initial, leave=False, dynamic_ncols=True)
    return _Lines(items, desc, total, unit=unit, initial=initial, mininterval=SECONDS, miniters=1)


def on_terminal() -> bool:
    """Whether stderr is a terminal, where a line can be drawn over."""
    return sys.stderr is not None and sys.stderr.isatty()


# ------------------------------------------------------------------ this project's commands as child processes


def start_child(command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen:
    """Start a script of this project, ("train.py", "--name", ...), its output appended to `log`.

    It runs in the current folder and in a session of its own: Ctrl-C reaches the parent alone, which passes it on. On
    Linux it gets SIGTERM when its parent dies: train.py then saves and ends.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    end_with_parent = partial(ctypes.CDLL(None).prctl, 1, signal.SIGTERM) if sys.platform == "linux" else None
    with open(log, "ab") as output:
        output.write(f"$ {shell_line(command)}\n".encode())
        output.flush()
        return subprocess.Popen(
            [sys.executable, str(ROOT / command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            preexec_fn=end_with_parent,
        )


def stop_child(child: subprocess.Popen, *, seconds: float = 60) -> None:
    """Ask a child to save and end, and wait for it; after so many seconds it is killed."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def shell_line(command: Sequence[str]) -> str:
    """The command as it is typed in a shell."""
    return shlex.join(["python", *command])


def last_line(log: Path) -> str:
    """The last line of a log that is not empty, "" where there is none."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
