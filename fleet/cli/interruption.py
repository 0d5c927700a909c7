"""End a command of `fedge` early with the right exit code and one line that says why."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from fedge.errors import FedgeError


@contextmanager
def interruptible(command: str, worded: Callable[[str], str] = str) -> Iterator[None]:
    """Run a command so that it cleans up after SIGTERM or Ctrl-C, and reports either, or an error, in a line.

    Args:
        command: the command's name, for that line.
        worded: turns an error's message into the line's text.
    """
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except FedgeError as error:
        typer.echo(f"{command}: {worded(str(error))}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo(f"{command}: stopped", err=True)
        sys.exit(128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
