"""`fedge registrar`: the process that signs the certificate requests of devices."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from fedge.errors import FedgeError
from fedge.service.logs import tell

app = typer.Typer()


@app.command()
def registrar(
    folder: Annotated[Path, typer.Option(help="The federation's folder.")] = Path(),
    verbose: Annotated[bool, typer.Option("--verbose", help="Log every step.")] = False,
) -> None:
    """Sign the requests of devices that have a token, and renew certificates, until stopped.

    It is for the operator of a federation. No other running program reads the
    authority's key, so run it as its own user on the broker's machine.

    \b
      fedge registrar --folder phones
    """
    from fleet.pki.folder import FederationFolder
    from fleet.pki.service import Loop

    tell(verbose=verbose)
    try:
        loop = Loop(FederationFolder(folder))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: loop.stop())
        loop.run()
    except FedgeError as error:
        typer.echo(f"fedge registrar: {error}", err=True)
        sys.exit(error.exit_code)
