"""Progress on stderr: a bar on a terminal, a plain line now and then in a file or a pipe."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
log = logging.getLogger(__name__)

SECONDS = 30.0  # between two plain lines


def on_terminal() -> bool:
    """Whether stderr is a terminal, where a line can be drawn over."""
    return sys.stderr is not None and sys.stderr.isatty()


class Lines(Generic[Item]):
    """Progress as log lines where there is no terminal, with the part of tqdm's interface that is used here."""

    def __init__(self, items: Iterable[Item], *, total: int | None, desc: str, unit: str, initial: int = 0) -> None:
        self.items, self.total, self.desc, self.unit = items, total, desc, unit
        self.n, self._last_line = initial, time.monotonic()

    def __iter__(self) -> Iterator[Item]:
        for item in self.items:
            yield item
            self.update()

    def __enter__(self) -> "Lines[Item]":
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
    items: Iterable[Item] = (), *, total: int | None = None, desc: str, unit: str = "image", initial: int = 0
) -> "tqdm[Item] | Lines[Item]":
    """Show how many items are done: iterate over the result, or use it in `with` and call its update(count).

    A bar on a terminal, removed at the end; elsewhere a plain line every SECONDS, without control characters.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items) or None
    if not on_terminal():
        return Lines(items, total=total, desc=desc, unit=unit, initial=initial)
    return tqdm(items or None, total=total, desc=desc, unit=unit, initial=initial, leave=False, dynamic_ncols=True)
