"""How `fedge demo` and `fedge try` end early: with one line that says why, and the right exit code."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from fedge.errors import FedgeError


@contextmanager
def interruptible(command: str, worded: Callable[[str], str] = str) -> Iterator[None]:
    """Run a command that cleans up after SIGTERM as after Ctrl-C; exit with a line after either or an error.

    Args:
        command: its name, for that line.
        worded: makes the line's text of an error's message.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except FedgeError as error:
        typer.echo(f"{command}: {worded(str(error))}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo(f"{command}: stopped", err=True)
        sys.exit(128 + signal.SIGINT)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
