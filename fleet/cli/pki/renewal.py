"""`fedge renew`: renew the server's own certificates."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.pki.command import Folder, reporting
from fleet.cli.pki.reach import is_here_only, unreached

if TYPE_CHECKING:
    pass

app = typer.Typer()


@app.command()
def renew(
    force: Annotated[bool, typer.Option("--force", help="Renew all of them, due or not.")] = False,
    host: Annotated[
        list[str] | None, typer.Option(help="Add a name or address of the broker to its certificate.")
    ] = None,
    folder: Folder = Path(),
) -> None:
    """Renew those of the server's own certificates that have used two thirds of their time.

    It is for the operator; on an installed server a timer runs it every day.

    \b
      fedge renew --folder phones
    """
    from fleet.pki.folder import FederationFolder
    from fleet.pki.renewal import renew as renew_all

    with reporting("renew"):
        renewals, signalled = renew_all(FederationFolder(folder), force=force, more_hosts=host or ())
    for renewal in renewals:
        what = "renewed" if renewal.done else "not yet due"
        typer.echo(f"{renewal.path}: {what}; valid until {renewal.issued.not_after:%Y-%m-%d}")
    if host and is_here_only(FederationFolder(folder)):
        typer.echo(unreached(FederationFolder(folder)), err=True)
    if signalled is not None:
        typer.echo(f"{signalled.value}; an installed aggregator gets its own when it is restarted", err=True)
