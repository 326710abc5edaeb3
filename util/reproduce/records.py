"""Which stages are done: a record a stage, with a fingerprint of its command and of everything that it read."""

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from util.files import write_json
from util.pretrained import sha256
from util.reproduce.stages import Stage

# Flags that set where and how often, and do not change the result.
IDLE_FLAGS = ("--device", "--num_workers", "--log_freq", "--save_freq", "--display_freq")
GENERATED_NAMES = ("mask_refined", "masks_report.csv", "masks_preview.png")  # what the masks stage itself writes


@dataclass
class Record:
    """fingerprint: of command and inputs; finished: whether it ended well; seconds: of the attempt that did; outputs:
    {file: SHA-256} then.
    """

    fingerprint: str
    command: list[str]
    finished: bool = False
    seconds: float = 0.0
    outputs: dict[str, str] | None = None


def read_record(folder: Path, name: str) -> Record | None:
    """The stage's record, None where there is none that can be read."""
    try:
        return Record(**json.loads((folder / f"{name}.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_record(folder: Path, name: str, record: Record) -> None:
    """Write it, whole or not at all."""
    write_json(folder / f"{name}.json", asdict(record))


def file_digest(path: Path) -> str | None:
    """SHA-256 of a file, None where it is missing. A file is read again only once its size or time has changed."""
    try:
        info = os.stat(path)
        return _digest(path, info.st_size, info.st_mtime_ns)
    except OSError:
        return None


@functools.lru_cache(maxsize=1000)
def _digest(path: Path, _size: int, _time: int) -> str:
    return sha256(path)


def data_fingerprint(roots: Iterable[Path | None]) -> str:
    """What identifies the files below the roots: names, sizes and times of change. Hidden files do not count."""
    digest = hashlib.sha256()
    for root in roots:
        digest.update(f"{root}\n".encode("utf-8", "surrogateescape"))
        for folder, folders, files in os.walk(root) if root else ():
            folders[:] = sorted(name for name in folders if name[0] != "." and name not in GENERATED_NAMES)
            for name in sorted(files):
                if name[0] != "." and name not in GENERATED_NAMES:
                    path = os.path.join(folder, name)
                    info = os.stat(path)
                    line = f"{path} {info.st_size} {info.st_mtime_ns}\n"
                    digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def fingerprint(stage: Stage, inputs: Sequence[Path], data: str) -> str:
    """Of the stage's command, but for IDLE_FLAGS, the contents of its input files, and the data."""
    words = list(stage.command)
    for flag in IDLE_FLAGS:
        while flag in words:
            place = words.index(flag)
            del words[place : place + 2]
    content = {"command": words, "inputs": {str(path): file_digest(path) for path in inputs}, "data": data}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def is_done(record: Record | None, wanted: str) -> bool:
    """Whether the stage ended well with these inputs, and its outputs are still what they were."""
    if record is None or not record.finished or record.fingerprint != wanted:
        return False
    return all(file_digest(Path(path)) == digest for path, digest in (record.outputs or {}).items())
