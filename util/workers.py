"""Work beside the main process: in worker processes, in threads, and by this project's own commands; and its progress.

Workers are started by forkserver or spawn: a fork can hang on a lock that a thread of the main process held. Each has its
own pipe for results: this needs no shared memory, of which Docker has 64 MB, and shows a lost worker at once. As a process
takes seconds to start, images that are read once are read by threads.
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
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, starmap
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import TypeVar

import cv2
from tqdm import tqdm

from util.errors import STOP_SIGNALS, RunError, go_on

log = logging.getLogger(__name__)

Task = TypeVar("Task")
Result = TypeVar("Result")

TASKS = 3  # of each worker: one is worked on, the others wait
PRELOADED = ("cv2", "scipy.ndimage", "torch", "torch.utils.tensorboard")  # slow to import: once, not once a worker
SECONDS = 30.0  # between two lines of progress
ROOT = Path(__file__).resolve().parents[1]


def in_processes(function: Callable[..., Result], tasks: Iterable[tuple], *, count: int) -> Iterator[Result]:
    """function(*task) of each task, in order, by `count` processes that work a few tasks ahead; 0: in this process.

    tasks: may be endless. An error of the function is raised in its task's turn. Raises RunError where a process is lost.
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
            return partial(_receive, pipe)

        yield from _ahead(begin, tasks, TASKS * count)
    finally:
        for process, pipe in workers:
            process.kill()
            process.join(5)
            pipe.close()


def _serve(function: Callable[..., Result], pipe: multiprocessing.connection.Connection) -> None:
    cv2.setNumThreads(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    for number in STOP_SIGNALS:  # a terminal or a cluster signals every process of the job; the main one ends us
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()  # also where a task hangs
    with contextlib.suppress(EOFError, OSError):  # the main process is gone
        while True:
            task, error, result = pipe.recv(), None, None
            try:
                result = function(*task)
            except Exception as raised:
                error = raised
                error.add_note(traceback.format_exc())
            pipe.send((result, error))


def _receive(pipe: multiprocessing.connection.Connection) -> object:
    try:
        result, error = pipe.recv()
    except (EOFError, OSError):
        raise RunError(f"a worker process was lost, often for want of memory; lower --num_workers; {go_on()}") from None
    if error:
        raise error
    return result


def in_threads(
    function: Callable[[Task], Result], tasks: Iterable[Task], *, count: int, start: Callable[[], None] | None = None
) -> Iterator[Result]:
    """function(task) of each task, as in_processes does, by `count` threads, each of which calls `start` first. For
    functions that rarely hold Python's lock."""
    if not count:
        yield from map(function, tasks)
        return
    pool = ThreadPoolExecutor(count, initializer=start)
    try:
        yield from _ahead(lambda task: pool.submit(function, task).result, tasks, TASKS * count)
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(begin: Callable[[Task], Callable[[], Result]], tasks: Iterable[Task], most: int) -> Iterator[Result]:
    """Begin up to `most` tasks ahead of the one whose result is due; `begin` returns what waits for its result."""
    under_way: deque[Callable[[], Result]] = deque()
    for task in tasks:
        under_way.append(begin(task))
        if len(under_way) == most:
            yield under_way.popleft()()
    while under_way:
        yield under_way.popleft()()


def worker_context() -> BaseContext:
    """How worker processes are started: by forkserver, or by spawn where there is none."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([name for name in PRELOADED if name in sys.modules])
    return context


def progress(items: Iterable[Task], *, total: int | None = None, desc: str, unit: str = "image") -> Iterator[Task]:
    """The items, and how many are done: a bar on a terminal, removed at the end; elsewhere a line every SECONDS."""
    bar = tqdm(items, desc, total, unit=unit, leave=False, dynamic_ncols=True, disable=None)
    shown = time.monotonic()
    for done, item in enumerate(bar, 1):
        yield item
        if bar.disable and time.monotonic() >= shown + SECONDS:
            shown = time.monotonic()
            log.info("%s: %s%s %ss", desc, f"{done:,}", f" of {bar.total:,}" if bar.total else "", unit)


def run_child(command: Sequence[str], *, log: Path) -> None:
    """Run a script of this project, ("train.py", "--name", ...), to its end; its output is appended to `log`. Raises RunError.

    Where this process is interrupted, the script is asked to save and end first; after a minute it is killed.
    """
    child = start_child(command, log=log)
    try:
        child.wait()
    finally:
        child.terminate()
        try:
            child.wait(60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    if child.returncode:
        last = log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise RunError(f"{last}: status {child.returncode} (see {log})")


def start_child(command: Sequence[str], *, log: Path) -> subprocess.Popen:
    """Start a script, in the current folder and in a session of its own: Ctrl-C reaches the parent alone, which passes it on. On
    Linux it gets SIGTERM when its parent dies."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab", buffering=0) as output:
        output.write(f"$ {shell_line(command)}\n".encode())
        return subprocess.Popen(
            [sys.executable, str(ROOT / command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=partial(ctypes.CDLL(None).prctl, 1, signal.SIGTERM) if sys.platform == "linux" else None,
        )


def shell_line(command: Sequence[str]) -> str:
    """The command as it is typed in a shell."""
    return shlex.join(["python", *command])
