"""Checkpoints: written whole or not at all, read without running any code in them.

A new file is checked before it is renamed, and the file that it replaces can be kept beside it (`keep`). So at every
moment, even if the process dies or the disk fills up, one of the two names holds a good file.
"""

import contextlib
import io
import logging
import os
import pickle
import zipfile
from pathlib import Path

import torch

from util.errors import FULL, RunError, UsageError, first_lines
from util.files import write_bytes

log = logging.getLogger(__name__)

FORMAT = 2  # what is written: 2 keeps what differs between processes apart ("ranks")
READABLE = (1, 2)  # what networks can be taken from; training goes on from FORMAT alone


class DamagedCheckpoint(UsageError):
    """A file that is no checkpoint, or no longer one."""


def save_checkpoint(path: Path, content: dict, *, keep: Path | None = None) -> None:
    """Write `content` (plain types and tensors) beside `path`, sync and check it, and rename it to `path`.

    keep: the name that the file now at `path` goes on under. Raises RunError where the disk does not take the file;
    `path` then holds what it held.
    """
    packed = io.BytesIO()  # torch.save would replace the OSError of a failed write by its own error
    torch.save({"format": FORMAT, **content}, packed)

    def accept(part: Path) -> None:
        fault = damage(part)
        if fault:
            raise OSError(None, f"it came back otherwise than written ({fault})", str(part))
        if keep is not None and path.exists():
            os.replace(path, keep)

    part = path.parent / f".{path.name}.part"  # one name, so that a killed process leaves no more than one
    try:
        write_bytes(path, packed.getbuffer(), sync=True, part=part, accept=accept)
        sync_folder(path.parent)
    except OSError as error:
        reason = FULL.get(error.errno, error.strerror or str(error))
        raise RunError(
            f"{path} could not be written: {reason}; the last good checkpoint is intact: mend that, then go on with "
            "--continue_train"
        ) from error


def sync_folder(folder: Path) -> None:
    """Sync the folder's entries to the disk, so that a rename survives a loss of power."""
    with contextlib.suppress(OSError), contextlib.ExitStack() as opened:  # some network file systems sync no folders
        handle = os.open(folder, os.O_RDONLY)
        opened.callback(os.close, handle)
        os.fsync(handle)


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint's bytes by its own checksums, which torch.load does not check; None if nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        return str(error) or type(error).__name__
    return f"{broken} is damaged" if broken else None


def load_checkpoint(path: Path) -> dict:
    """Read a checkpoint onto the CPU; only tensors and plain types are unpickled.

    Raises DamagedCheckpoint for a file that is no checkpoint, UsageError if it is missing or of another format.
    """
    if not path.is_file():
        raise UsageError(f"there is no checkpoint {path}")
    fault = damage(path)
    if fault:
        raise DamagedCheckpoint(f"{path} cannot be read as a checkpoint ({fault})")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its bytes are as they were written: no damage, and no file of ours
        raise UsageError(
            f"{path} cannot be read as a checkpoint: it holds more than tensors and plain values, and to read that could "
            "run code"
        ) from error
    except Exception as error:  # damage raises errors of many kinds
        raise DamagedCheckpoint(f"{path} cannot be read as a checkpoint ({first_lines(error)})") from error
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise DamagedCheckpoint(f"{path} is no checkpoint of this program")
    if content["format"] not in READABLE:
        known = " and ".join(map(str, READABLE))
        raise UsageError(f"{path} is of format {content['format']}, and this version of the program reads {known}")
    return content


def load_newest(path: Path, previous: Path) -> tuple[dict, Path]:
    """(content, file) of the checkpoint at `path` or, with a warning, of the previous one if that is damaged or gone.

    Raises UsageError where neither can be read.
    """
    try:
        return load_checkpoint(path), path
    except UsageError as error:
        if not previous.is_file() or not (isinstance(error, DamagedCheckpoint) or not path.exists()):
            raise
        content = load_checkpoint(previous)
        log.warning("%s; falling back to %s, step %s", error, previous, content.get("step"))
        return content, previous


def check_config(stored: dict | None, wanted: dict) -> None:
    """Raise ValueError, naming the options that differ, unless networks were stored with the ones wanted.

    stored: None for a checkpoint that does not say; an option that is newer than the checkpoint is not in it.
    """
    if stored is None:
        return
    differ = [key for key, value in wanted.items() if key in stored and stored[key] != value]
    if differ:
        raise ValueError("; ".join(f"--{key} is {wanted[key]!r} here, {stored.get(key)!r} there" for key in differ))
