"""This project's commands as child processes, which save and stop when their parent stops or is killed."""

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from util.errors import signals_to
from util.locks import LOCK_FILE, locked

ROOT = Path(__file__).resolve().parents[1]
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
PR_SET_PDEATHSIG = 1


def start(command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen:
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


def stop(child: subprocess.Popen, *, seconds: float = 60) -> None:
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
