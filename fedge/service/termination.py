"""Cleans up on SIGTERM: `finally` blocks run, and then the signal ends the program.

By default SIGTERM ends Python at once, without running a `finally` block. These two context managers are for
blocks that must not leave anything behind. They do nothing outside the main thread, where Python cannot set a
handler.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Terminated(BaseException):
    """SIGTERM has arrived. It is not an `Exception`, so that no handler of errors catches it."""


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM leave the block as an exception does. After the block the signal ends the program.

    This does nothing if the program handles or ignores SIGTERM itself. A second SIGTERM ends the program at
    once.
    """
    if not _in_main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    came: list[int] = []

    def terminate(number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        came.append(number)
        raise _Terminated

    try:
        signal.signal(signal.SIGTERM, terminate)
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is terminate:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if came:  # also if another exception was raised meanwhile
            signal.raise_signal(signal.SIGTERM)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay SIGINT and SIGTERM until the end of the block."""
    if not _in_main_thread():
        yield
        return
    arrived: list[int] = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in handlers.items() if handler is not None}
    try:
        for number in before:  # of the signals whose handler Python can restore
            signal.signal(number, lambda came, _: arrived.append(came))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        # SIGTERM first. Otherwise code that catches the KeyboardInterrupt of SIGINT would prevent it.
        for came in sorted(set(arrived), reverse=True):
            signal.raise_signal(came)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
