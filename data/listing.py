"""Which files of a folder are images to use."""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from util.files import printable
from util.images import FORMATS, IMAGE_SUFFIXES

log = logging.getLogger(__name__)

MOST_NAMED = 20  # skipped files that are named one by one
# Folders that systems, editors and network drives write; their images are copies or thumbnails.
SYSTEM_FOLDERS = frozenset({"@eadir", "__macosx", "__pycache__", "lost+found", "$recycle.bin", "#recycle"})
NOT_READ = re.compile(
    r"\.(heic|heif|avif|gif|jp2|jxl|raw|dng|cr[23]|nef|arw|exr|hdr|psd|mp4|mov|avi|mkv|webm|np[yz]|zip)$"
)


def is_hidden(name: str) -> bool:
    """Whether the system or an editor keeps a file or folder of that name: ._a.png, .ipynb_checkpoints, @eaDir, ..."""
    return name.startswith(".") or name.casefold() in SYSTEM_FOLDERS


def folders_below(root: Path) -> Iterator[tuple[str, list, list]]:
    """As os.walk, sorted and without what is_hidden; warns of folders that cannot be read. Links are followed once."""
    entered = set()
    for parent, subfolders, names in os.walk(root, followlinks=True, onerror=_warn_unreadable):
        real = os.path.realpath(parent)
        if real in entered:  # a link to a folder above
            subfolders.clear()
            continue
        entered.add(real)
        subfolders[:] = sorted(name for name in subfolders if not is_hidden(name))
        yield parent, subfolders, sorted(name for name in names if not is_hidden(name))


def images_below(folder: Path) -> Iterator[Path]:
    """Every image file below a folder, in the order of folders_below; warns of files that are not read."""
    others = Counter()
    for path in (Path(parent, name) for parent, _, names in folders_below(folder) for name in names):
        suffix = path.suffix.lower()
        if NOT_READ.match(suffix):
            others[suffix] += 1
        elif suffix in IMAGE_SUFFIXES and os.path.isfile(path):
            yield path
        elif suffix in IMAGE_SUFFIXES:
            log.warning("skipped: %s: no file, or a link that leads nowhere", printable(path))
    if others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        log.warning("%s: files that are not read: %s (%s are)", printable(folder), kinds, FORMATS)


def warn_skipped(reasons: list[str], *, what: str) -> None:
    """Name the first files that are skipped and count all. what: "3 of 10 real images"."""
    for reason in reasons[:MOST_NAMED]:
        log.warning("skipped: %s", reason)
    more = f", the first {MOST_NAMED} above" if len(reasons) > MOST_NAMED else ""
    log.warning("%s skipped%s", what, more)


def _warn_unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # optional folders may be missing
        log.warning("skipped: %s: a folder that cannot be read (%s)", printable(error.filename), error.strerror)
