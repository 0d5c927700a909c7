"""`fedge revoke`, `quarantine` and `forget`: exclude devices, quarantine them, or delete their data."""

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
    """Exclude a device at once, or withdraw a token.

    It is for the operator, when a device is stolen or leaves. The device can
    neither publish nor receive any more, and the broker refuses its
    certificate. With a token's claim, nobody can join with that token any more;
    the devices that joined with it are named, and stay.

    \b
      fedge revoke pump-2
    """
    from fedge.identity.provisioning import CLAIM
    from fleet.pki.folder import FederationFolder
    from fleet.pki.revocation import revoke as shut_out

    with reporting("revoke"):
        if re.match(CLAIM, device):
            _withdraw(FederationFolder(folder), device)
            return
        device = as_id(device)
        done = shut_out(FederationFolder(folder), device)
    typer.echo(f"{device} is revoked; {done.signalled.value}")
    if done.unseen:
        typer.echo(f"{done.unseen}: run the command again to complete this", err=True)


@app.command()
def quarantine(
    devices: Annotated[list[str], typer.Argument(metavar="DEVICE…", help="The devices' ids.")],
    lift: Annotated[bool, typer.Option("--lift", help="End the quarantine.")] = False,
    folder: Folder = Path(),
) -> None:
    """Keep devices from taking part for a while, without revoking them.

    It is for the operator, when a device's data look wrong. From now on, and in
    the open round too, rounds neither wait for these devices nor count their
    updates. The devices are told so, and still receive models. Models that were
    made with them stay: `fedge-aggregator new-generation --from-round` returns
    to an earlier one. `--lift` ends the quarantine; `fedge devices` shows it.

    \b
      fedge quarantine pump-2
      fedge quarantine pump-2 --lift
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
        when = "a running aggregator learns it within seconds, a stopped one when it starts"
        typer.echo(f"{are} {what}: {when}")


@app.command()
def forget(
    device: Annotated[str, typer.Argument(help="The device's id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    folder: Folder = Path(),
) -> None:
    """Delete what this server holds of a revoked device, and list what is deleted and what stays.

    It is for the operator, when an owner asks for it. Stop the aggregator
    first. On a terminal it asks before it deletes; elsewhere it needs --yes.

    Rounds whose updates are deleted cannot be computed again; models that were
    made with them stay. To continue without the device, begin a new generation
    first.

    It exits with 0, also if nothing was left; with 64 without a yes; with 75
    while an aggregator works.

    \b
      fedge revoke pump-2
      fedge forget pump-2 --yes
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
            typer.echo(f"there is nothing of {device} here: it was never enrolled, or is already forgotten")
            return
        typer.echo(f"this is removed of {device}:")
        for sentence in found.removable():
            typer.echo(f"  {sentence}")
        typer.echo("and this stays, because it cannot be removed:")
        for sentence in found.lasting():
            typer.echo(f"  {sentence}")
        if not yes and not (sys.stdin.isatty() and typer.confirm("remove it for good?")):
            typer.echo("fedge forget: nothing was removed: repeat it with --yes", err=True)
            sys.exit(os.EX_USAGE)
        left = erase(FederationFolder(folder), device)
    typer.echo(f"{device} is forgotten")
    if left.certificates:
        typer.echo(
            "its name and the numbers of its certificates stay in the register, so that these are refused "
            "until they expire: run this again then"
        )
    if left.status is not None:
        typer.echo(
            "the broker may still retain its status, as none was reached from here. Until that is erased its "
            f"name stays in the register: run this again where the broker runs (topic {left.status})"
        )


def _withdraw(folder: "FederationFolder", claim: str) -> None:
    from fleet.pki.tokens import withdraw

    enrolled, signalled = withdraw(folder, claim)
    typer.echo(f"{claim} is withdrawn; {signalled.value}")
    if enrolled:
        typer.echo(f"it enrolled {', '.join(enrolled)}: exclude them too with `fedge revoke`", err=True)
