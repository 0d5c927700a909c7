"""Handles Ctrl-C at any moment: the program prints one sentence, no traceback, and ends with code 130.

Each program imports this module before any other, so that only Python's own start comes before it. Until the
program begins its work there is nothing to clean up, and SIGINT ends it at once. From then on SIGINT raises
KeyboardInterrupt, so that the program cleans up. It is never raised during an import, because modules mistake
it for other errors. A second SIGINT ends the program at once. While agent and aggregator serve, they use
handlers of their own, which stop them in an orderly way.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, TypeVar

CODE = 128 + signal.SIGINT
"""The exit code that a shell gives a program which SIGINT has ended."""
AGAIN_S = 0.01
_IMPORTING = "<frozen importlib"
_put_off = False


T = TypeVar("T")


def prepare() -> None:
    """Let SIGINT end the program at once, unless the caller ignores or handles SIGINT."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
        sys.unraisablehook, sys.excepthook = _unraisable, _uncaught


def run(program: str, work: Callable[[], T]) -> T | int:
    """Do a program's work; return its result, or 130 if it was interrupted.

    Args:
        program: the program's name, for the sentence.
        work: the program's work.
    """
    ours = signal.getsignal(signal.SIGINT) is _end
    try:
        if ours:
            signal.signal(signal.SIGINT, _interrupt)
        result = work()
    except BaseException as error:
        said = isinstance(error, SystemExit) and error.code == CODE
        if said or not (_comes_of_one(error) or _is_put_off()):
            raise
    else:
        if not _is_put_off():
            return result
    finally:
        if ours and signal.getsignal(signal.SIGINT) is _interrupt:
            signal.signal(signal.SIGINT, _end)  # only the end of the interpreter is left
    _say(f"{program}: stopped\n")
    if ours:
        _leave()  # without waiting for threads and exit handlers, which were interrupted
    return CODE


def _comes_of_one(error: BaseException | None) -> bool:
    """Whether this is an interrupt, an error that was raised while the program cleaned up after one, or the
    error that a library written in another language makes of one: its text ends with the interrupt's name."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        if str(error).rstrip(": \n").endswith(KeyboardInterrupt.__name__):
            return True
        error = error.__context__
    return error is not None


def _is_put_off() -> bool:
    """Whether an interrupt came during an import and is still to be raised; this clears it."""
    global _put_off
    if not _put_off:
        return False
    _put_off = False
    signal.setitimer(signal.ITIMER_REAL, 0)
    return True


def _end(_number: int = 0, _frame: FrameType | None = None) -> None:
    _say("stopped\n")
    os._exit(CODE)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    global _put_off
    signal.signal(signal.SIGINT, _end)  # also during an import, which may take long: it may wait for a sensor
    if _put_off := _is_importing(frame):
        signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        return
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORTING):
            return True
        frame = frame.f_back
    return False


def _unraisable(unraisable: Any) -> None:
    """Handle a KeyboardInterrupt that cannot be caught, because it was raised while an object was deleted."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        _end()
    sys.__unraisablehook__(unraisable)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Handle an interrupt that comes while `run` itself begins or ends."""
    if issubclass(kind, KeyboardInterrupt):
        _end()
    sys.__excepthook__(kind, error, trace)


def _leave() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(CODE)


def _say(text: str) -> None:
    with suppress(OSError):
        os.write(2, text.encode())
