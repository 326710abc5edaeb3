"""Which files of a folder are images to use: hidden and system files are passed over, other formats are named once."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from util.files import printable
from util.images import FORMATS, IMAGE_SUFFIXES, OTHER_SUFFIXES

log = logging.getLogger(__name__)

MOST_NAMED = 20  # files that are left out and named one by one

# Folders that systems, editors and network drives write; their images are copies or thumbnails.
SYSTEM_FOLDERS = frozenset({"@eadir", "__macosx", "__pycache__", "lost+found", "$recycle.bin", "#recycle"})


def is_hidden(name: str) -> bool:
    """Whether the system or an editor keeps a file or folder of that name: ._a.png, .ipynb_checkpoints, @eaDir, ..."""
    return name.startswith(".") or name.casefold() in SYSTEM_FOLDERS


def folders_below(root: Path, onerror: Callable[[OSError], None] | None = None) -> Iterator[tuple[str, list, list]]:
    """As os.walk, in order and without what is_hidden; links to folders are followed, but no folder is entered twice."""
    entered = set()
    for parent, subfolders, names in os.walk(root, followlinks=True, onerror=onerror):
        real = os.path.realpath(parent)
        if real in entered:  # a link to a folder above
            subfolders.clear()
            continue
        entered.add(real)
        subfolders[:] = sorted(name for name in subfolders if not is_hidden(name))
        yield parent, subfolders, sorted(name for name in names if not is_hidden(name))


def images_below(folder: Path) -> Iterator[Path]:
    """Every image file below a folder, in the order of folders_below.

    Folders that cannot be read, and links that lead nowhere, are named in warnings; so are, once and by their number,
    pictures and films of formats that are not read.
    """
    others = Counter()
    for parent, _, names in folders_below(folder, _warn_unreadable):
        for name in names:
            path = Path(parent, name)
            suffix = path.suffix.lower()
            if suffix not in IMAGE_SUFFIXES:
                others[suffix] += suffix in OTHER_SUFFIXES
            elif os.path.isfile(path):
                yield path
            else:
                reason = "a link that leads nowhere" if path.is_symlink() else "no file"
                log.warning("left out: %s: %s", printable(path), reason)
    warn_of_others(folder, others)


def warn_of_others(folder: Path, others: Counter) -> None:
    """Say how many files of formats that are not read a folder holds; nothing if there are none."""
    kinds = [f"{count} {suffix}" for suffix, count in sorted(others.items()) if count]
    if kinds:
        log.warning("%s: files that are not read: %s (%s are)", printable(folder), ", ".join(kinds), FORMATS)


def warn_left_out(reasons: list[str], *, what: str) -> None:
    """Name the first files that are left out, one by one, and count all. what: "3 of 10 real images"."""
    for reason in reasons[:MOST_NAMED]:
        log.warning("left out: %s", reason)
    more = f", the first {MOST_NAMED} above" if len(reasons) > MOST_NAMED else ""
    log.warning("%s left out%s", what, more)


def file_stamp(path: Path | None) -> tuple[int, int] | None:
    """Size in bytes and time of change in ns; None where there is no file."""
    try:
        state = os.stat(path) if path else None
    except OSError:
        return None
    return (state.st_size, state.st_mtime_ns) if state else None


def _warn_unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # optional folders may be missing
        log.warning("left out: %s: a folder that cannot be read (%s)", printable(error.filename), error.strerror)
