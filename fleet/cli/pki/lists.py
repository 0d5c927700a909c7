"""`fedge devices` and `tokens`: who belongs to a federation, and who may join."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.pki.command import Folder, reporting

if TYPE_CHECKING:
    pass

app = typer.Typer()


@app.command()
def devices(
    ledger: Annotated[
        Path | None,
        typer.Option(help="The aggregator's ledger.db, if it lies elsewhere than its settings say."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list and nothing else.")] = False,
    folder: Folder = Path(),
) -> None:
    """List who belongs to the federation, until when its certificate counts, and when it was last seen."""
    from rich.console import Console

    from fleet.pki import device_list
    from fleet.pki.certificates import utc_now
    from fleet.pki.folder import FederationFolder

    with reporting("devices"):
        listed = device_list.listing(FederationFolder(folder), ledger)
    if as_json:
        typer.echo(json.dumps(device_list.as_json(listed, utc_now())))
    else:
        device_list.show(listed, utc_now(), Console())


@app.command()
def tokens(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list and nothing else.")] = False,
    folder: Folder = Path(),
) -> None:
    """List the tokens of `fedge enroll --token`: what they are still good for, and who joined with them.

    The tokens themselves are not kept: `fedge revoke CLAIM` withdraws one by its claim's name.
    """
    from rich.console import Console

    from fleet.pki import list_tokens
    from fleet.pki.certificates import utc_now
    from fleet.pki.folder import FederationFolder

    with reporting("tokens"):
        listed = list_tokens.tokens(FederationFolder(folder))
    if as_json:
        typer.echo(json.dumps(list_tokens.as_json(listed, utc_now())))
    else:
        list_tokens.show(listed, utc_now(), Console())
