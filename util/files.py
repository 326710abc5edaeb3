"""Files and their names: whole files or none, strict JSON, CSV, and paths in messages."""

import contextlib
import csv
import io
import json
import logging
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from util.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None

log = logging.getLogger(__name__)

LOCK_FILE = ".lock"


def user_path(text: str | os.PathLike) -> Path:
    """A path that a user gave: ~ is the home folder, also where no shell has expanded it, as in --flag=~/x."""
    return Path(os.path.expanduser(text))


def printable(path: str | os.PathLike) -> str:
    """A path on one line of valid text: control characters and undecodable bytes as backslash escapes."""
    chars = as_utf8(os.fspath(path))
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in chars)


def as_utf8(text: str) -> str:
    """The text with what UTF-8 cannot hold (undecodable bytes of file names) as backslash escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def naming(file: str | os.PathLike) -> Iterator[None]:
    """Raise an OSError of the block, which for a full disk names no file, as one of this file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(file)) from error


def write_bytes(
    path: str | os.PathLike, data: bytes | memoryview, *, sync: bool = False, part: str | None = None
) -> None:
    """Write a whole file or nothing, by a temporary file and a rename; makes parent folders. Raises OSError, which names it.

    sync: wait for the disk. part: the temporary file's name, for large files, of which killed processes then leave one.
    """
    path = Path(path)
    part = path.with_name(part or f".part-{secrets.token_hex(8)}")
    with naming(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(part, "wb") as file:
                file.write(data)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def locked(file: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock `file`, which the system releases when the process ends.

    Raises UsageError if another process holds it; `wait` waits for it instead.
    """
    with open(file, "a") as handle:
        try:
            if fcntl:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = f"{file.parent} is in use by another process"
            if not wait:
                raise UsageError(f"{said}; wait for it to end, or choose another folder") from None
            log.info("%s: waiting for it to end", said)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            pass
        yield


def strict(value: Any) -> Any:
    """The value with None for every float, at any depth, that is infinite or no number."""
    return json.loads(json.dumps(value), parse_constant=lambda _: None)


def read_json(path: Path) -> dict | None:
    """What write_json has written; None where there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def write_json(path: Path, content: dict) -> None:
    """Write strict JSON, indented."""
    write_bytes(path, (json.dumps(strict(content), indent=2, allow_nan=False) + "\n").encode())


def csv_text(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """The text of a CSV file, with lines that end in "\\n"."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
