"""The shared parts of all commands for identities: the option `--folder`, and the report of an error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from fedge.errors import FedgeError, StateError

Folder = Annotated[Path, typer.Option("--folder", help="The federation's folder.")]


@contextmanager
def reporting(command: str) -> Iterator[None]:
    """Report an error of the block in one line, and exit with its code."""
    try:
        yield
    except FedgeError as error:
        typer.echo(f"fedge {command}: {error}", err=True)
        sys.exit(error.exit_code)
    except PermissionError as error:
        typer.echo(f"fedge {command}: {error.filename}: {error.strerror}", err=True)
        sys.exit(StateError.exit_code)
