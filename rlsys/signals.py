"""Ctrl-C, SIGTERM and a terminal that is closed (SIGHUP) as a request to end cleanly."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

INTERRUPTED = "interrupted; a checkpoint was written"
"""Why a run ended that a signal ended."""
INTERRUPTED_S = 3.0
"""Longest that the end of such a run waits for an evaluation on its way."""


class Signals:
    """What has been received, and who is told."""

    def __init__(self) -> None:
        self.received = False
        self._tell: Callable[[], None] | None = None

    def tell(self, stop: Callable[[], None]) -> None:
        """Has `stop` called at the first signal; now, if that has come already."""
        self._tell = stop
        if self.received:
            stop()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Takes in a signal.

        Raises:
          KeyboardInterrupt: it is the second.
        """
        if self.received and number != signal.SIGHUP:  # which shells send twice
            raise KeyboardInterrupt("a second signal: ended at once; go on from the last checkpoint")
        if not self.received:
            self.received = True
            if self._tell is not None:
                self._tell()


@contextlib.contextmanager
def stops_on_signals() -> Iterator[Signals]:
    """Turns SIGINT, SIGTERM and SIGHUP into a call; a second one ends at once.

    A SIGHUP that is ignored, as under nohup, stays so.
    """
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    previous = {number: signal.signal(number, signals.handle) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def outliving_hangup() -> Iterator[None]:
    """Has processes that are started inside ignore SIGHUP: the run, not the end of its terminal, says when they end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, previous)
