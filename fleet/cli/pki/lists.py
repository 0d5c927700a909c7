"""`fedge devices`, `tokens` and `roster`: a federation's members, tokens to join it, and devices' keys."""

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
    """List the federation's members, with the end of their certificates and the time they were last seen.

    It is for the operator.

    \b
      fedge devices --folder phones
    """
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
    """List the tokens of `fedge enroll --token`, with the uses that are left and the devices that joined.

    It is for the operator. The tokens themselves are not stored; each is listed
    under the name of its claim, by which `fedge revoke CLAIM` withdraws it.

    \b
      fedge tokens --folder phones
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


@app.command()
def roster(folder: Folder = Path()) -> None:
    """Print the devices and the fingerprints of their keys, for the rosters of devices.

    It is for the operator. Devices whose agent.toml names such a file take part
    in masked rounds with the devices in it alone, whatever is enrolled later.
    An owner who does not trust this server compares each line with what
    `fedge-agent roster` prints on the device. Print it again after renewals:
    these make new keys.

    \b
      fedge roster --folder phones > roster.txt
    """
    from fleet.pki import rosters
    from fleet.pki.folder import FederationFolder

    with reporting("roster"):
        for line in rosters.lines(FederationFolder(folder)):
            typer.echo(line)
