"""`fedge rotate-key`: change the key that models are signed with."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fedge.errors import FedgeError

app = typer.Typer()


@app.command("rotate-key")
def rotate_key(
    folder: Annotated[Path, typer.Option(help="The federation's folder.")] = Path(),
) -> None:
    """Sign models with a new key: the old one names it, so that devices follow, and is deleted."""
    from aggregator.config import FederationSettings
    from fedge.errors import ConfigError
    from fedge.identity.trust import fingerprint
    from fleet.pki.folder import FederationFolder
    from fleet.pki.signing_key import rotate_signing_key

    try:
        FederationFolder(folder).federation()  # says so if it is none
        settings = FederationSettings.load(folder / "federation.toml", {})
        key = settings.signing.key
        if key is None:
            raise ConfigError(
                f"{folder / 'federation.toml'}: [signing] key: is missing; there is none to change"
            )
        rotation = rotate_signing_key(key, key.with_suffix(".pub"), settings.federation.name)
    except FedgeError as error:
        typer.echo(f"fedge rotate-key: {error}", err=True)
        sys.exit(error.exit_code)
    typer.echo(f"{fingerprint(rotation.old)} has named {fingerprint(rotation.new)}, and is deleted")
    typer.echo("restart the aggregator: it signs with the new key then, and devices follow", err=True)
