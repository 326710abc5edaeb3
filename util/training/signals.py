"""SIGINT and SIGTERM while training: the step is finished and saved; validation and pictures are interrupted."""

import contextlib
import logging
import signal
from collections.abc import Iterator

log = logging.getLogger(__name__)


class Cut(BaseException):
    """A signal interrupted work that may stop at any moment."""


class StopRequest:
    """The signals received so far; true if there are any."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._may_cut = False

    def __bool__(self) -> bool:
        return bool(self.received)

    @property
    def number(self) -> int:
        """The first signal's number; SIGTERM if another process received it."""
        return self.received[0] if self.received else signal.SIGTERM

    @contextlib.contextmanager
    def cut_short(self, possible: bool = True) -> Iterator[None]:
        """Within the block a signal raises Cut at once, if that is `possible`."""
        self._may_cut = possible
        try:
            if possible and self.received:
                raise Cut
            yield
        finally:
            self._may_cut = False

    def receive(self, number: int, _frame: object) -> None:
        """The signals' handler."""
        if number == signal.SIGINT and signal.SIGINT in self.received:
            raise KeyboardInterrupt
        self.received.append(number)
        log.info("%s: finishing the step and saving; Ctrl-C twice quits at once", signal.Signals(number).name)
        if self._may_cut:
            raise Cut
