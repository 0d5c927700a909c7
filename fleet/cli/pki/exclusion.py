"""`fedge revoke`, `quarantine`, `forget`: devices no longer belong, do not count, or are not remembered."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedge.identity.device_names import as_id
from fleet.cli.pki.command import Folder, reporting

if TYPE_CHECKING:
    from fleet.pki.folder import FederationFolder

app = typer.Typer()


@app.command()
def revoke(
    device: Annotated[str, typer.Argument(help="The device's id; or a token's claim, as in claim-0a1b2c3d.")],
    folder: Folder = Path(),
) -> None:
    """Shut a device out at once: its connection can neither publish nor receive, and its certificate is
    refused.

    A claim is withdrawn at once too; the devices that it enrolled are named, and stay.
    """
    from fedge.identity.provisioning import CLAIM
    from fleet.pki.enrolment import revoke as shut_out
    from fleet.pki.folder import FederationFolder

    with reporting("revoke"):
        if re.match(CLAIM, device):
            _withdraw(FederationFolder(folder), device)
            return
        device = as_id(device)
        done = shut_out(FederationFolder(folder), device)
    typer.echo(f"{device} is revoked; {done.signalled.value}")
    if done.unseen:
        typer.echo(f"{done.unseen}: run it again to see it done", err=True)


@app.command()
def quarantine(
    devices: Annotated[list[str], typer.Argument(metavar="DEVICE…", help="The devices' ids.")],
    lift: Annotated[bool, typer.Option("--lift", help="Let them count again.")] = False,
    folder: Folder = Path(),
) -> None:
    """Set devices aside at once: they are told, not awaited and not counted, and nobody is revoked.

    Also in the round that is open: what they have sent there counts no more. A model that was made with
    them stays: `fedge-aggregator new-generation --from-round` goes back to one from before. They go on
    following the model, and `--lift` lets them take part again; `fedge devices` shows who is set aside.
    """
    from fleet.pki.folder import FederationFolder
    from fleet.pki.quarantine import quarantine as set_aside

    with reporting("quarantine"):
        done = set_aside(FederationFolder(folder), [as_id(device) for device in devices], lift=lift)
    for device in done.as_before:
        typer.echo(f"{device} was {'not ' if lift else ''}in quarantine before; nothing was changed")
    if done.changed:
        are = f"{', '.join(done.changed)} {'is' if len(done.changed) == 1 else 'are'}"
        what = "out of quarantine" if lift else "in quarantine"
        when = "an aggregator at work learns it within seconds, another when it starts"
        typer.echo(f"{are} {what}: {when}")


@app.command()
def forget(
    device: Annotated[str, typer.Argument(help="The device's id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it, without asking.")] = False,
    folder: Folder = Path(),
) -> None:
    """Remove what this server holds of a device, which is revoked; says what that is, and what stays.

    Stop the aggregator first. On a terminal it asks; elsewhere it takes --yes.

    Rounds whose updates are removed cannot be computed again, and models that were made with them stay.
    A new generation can learn on without it: begin that before.

    Exits with 0, also where nothing was left; 64 without a yes; 75 while an aggregator is at work.
    """
    import os

    from fedge.wire.topics import DEVICE_ID
    from fleet.pki.folder import FederationFolder
    from fleet.pki.removal import forget as erase
    from fleet.pki.removal import held

    device = as_id(device)
    if re.fullmatch(DEVICE_ID, device) is None:
        raise typer.BadParameter(f"{device!r} is no device's id: expected 1 to 36 of a-z, 0-9 and '-'")
    with reporting("forget"):
        found = held(FederationFolder(folder), device)
        if found.is_nothing:
            typer.echo(f"there is nothing of {device} here: it was never heard of, or is forgotten")
            return
        typer.echo(f"of {device} is removed:")
        for sentence in found.removable():
            typer.echo(f"  {sentence}")
        typer.echo("and there stays, which this cannot remove:")
        for sentence in found.lasting():
            typer.echo(f"  {sentence}")
        if not yes and not (sys.stdin.isatty() and typer.confirm("remove it for good?")):
            typer.echo("fedge forget: nothing was removed: --yes does it", err=True)
            sys.exit(os.EX_USAGE)
        left = erase(FederationFolder(folder), device)
    typer.echo(f"{device} is forgotten")
    if left.certificates:
        typer.echo(
            "its name and the numbers of its certificates stay in the register, so that these are refused "
            "until they end: run this again then"
        )
    if left.status is not None:
        typer.echo(
            "its status may still lie at the broker, as none was reached from here. Until it is erased its "
            f"name stays in the register: run this again where the broker runs (topic {left.status})"
        )


def _withdraw(folder: "FederationFolder", claim: str) -> None:
    from fleet.pki.tokens import withdraw

    enrolled, signalled = withdraw(folder, claim)
    typer.echo(f"{claim} is withdrawn; {signalled.value}")
    if enrolled:
        typer.echo(f"it enrolled {', '.join(enrolled)}: `fedge revoke` shuts them out too", err=True)
