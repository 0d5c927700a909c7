"""`fedge rotate-key`: replace the key that signs models."""

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
    """Replace the key with which the aggregator signs models.

    It is for operators. The old key signs the new one, so that devices accept
    it, and is then deleted. Restart the aggregator afterwards.

    \b
      fedge rotate-key --folder phones
    """
    from aggregator.config import FederationSettings
    from fedge.errors import ConfigError
    from fedge.identity.trust import fingerprint
    from fleet.pki.folder import FederationFolder
    from fleet.pki.signing_key import rotate_signing_key

    try:
        FederationFolder(folder).federation()  # raises an error if this is not a federation's folder
        settings = FederationSettings.load(folder / "federation.toml", {})
        key = settings.signing.key
        if key is None:
            raise ConfigError(
                f"{folder / 'federation.toml'}: [signing] key: is missing; there is no key to replace"
            )
        rotation = rotate_signing_key(key, key.with_suffix(".pub"), settings.federation.name)
    except FedgeError as error:
        typer.echo(f"fedge rotate-key: {error}", err=True)
        sys.exit(error.exit_code)
    typer.echo(f"{fingerprint(rotation.old)} has signed {fingerprint(rotation.new)}, and is deleted")
    typer.echo(
        "restart the aggregator: from then on it signs with the new key, which devices accept", err=True
    )
