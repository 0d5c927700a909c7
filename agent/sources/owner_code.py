"""Runs code of the owner, or of a library, on a device's data. Whatever it raises becomes a `DataError`."""

import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from fedge.data.disclosure import Public
from fedge.errors import DataError


@contextmanager
def run_owner_code(what: str, public: Public) -> Iterator[None]:
    """Run code of the owner, or of a library.

    Exceptions that are not derived from `Exception` are caught too: a sensor's library may raise
    `asyncio.CancelledError`, and a function `SystemExit`. Only Ctrl-C is passed on. It reaches the main
    thread alone. On another thread a `KeyboardInterrupt` comes from the code itself.

    Args:
        what: the beginning of the message: `sensors:read`.
        public: the text for the aggregator.

    Raises:
        DataError: the code raised an exception; the text gives its type and place, not its message.
    """
    try:
        yield
    except DataError:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise
        raise DataError(f"{what} raised {summary(error)}", public) from error


def summary(error: BaseException) -> str:
    """Return type and place of an exception. Its message may quote samples, and stays in the traceback."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__} at {error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno}"
