"""`fedge enroll`: issue certificates to devices and observers, and make tokens."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedge.identity.device_names import as_id, renamed
from fleet.cli.pki.command import Folder, reporting

if TYPE_CHECKING:
    from fleet.pki.folder import FederationFolder

app = typer.Typer()
MOST_RENAMED = 20
"""The largest number of changed names that are printed."""
LONGEST_LIST = 8_000_000
"""The largest list of devices, in bytes."""


@app.command()
def enroll(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="DEVICE...", help="The devices' ids: a-z, 0-9, hyphens.", show_default=False),
    ] = None,
    listed: Annotated[
        Path | None,
        typer.Option("--from", help="Also the devices named in this file, one a line; - is standard input."),
    ] = None,
    csr: Annotated[
        Path | None,
        typer.Option(help="Sign this request (PEM) instead of making a key; - is standard input."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Issue a new certificate to a device that has lost its own.")
    ] = False,
    observer: Annotated[
        bool, typer.Option("--observer", help="Make devices/observer.pem for dashboards, which only read.")
    ] = False,
    token: Annotated[
        bool, typer.Option("--token", help="Print a token with which devices enrol themselves.")
    ] = False,
    uses: Annotated[
        int | None, typer.Option(help="With --token: how many devices may join with it; default: 1.", min=1)
    ] = None,
    valid: Annotated[
        str | None, typer.Option(help="With --token: how long it is valid, as in 30m or 7d; default: 1h.")
    ] = None,
    folder: Folder = Path(),
) -> None:
    """Enrol devices in the federation, and write a bundle for each: devices/DEVICE.fedge.

    It is for the operator. Of several devices, all are enrolled or none.
    Devices that are enrolled already stay as they are and are named, so an
    interrupted run can be repeated. In a file for --from, # begins a comment;
    an invalid line is reported with its number.

    With --token it prints one line instead, for `fedge-agent join` on the
    device: whoever has it may join.

    \b
      fedge enroll pump-1 pump-2
      fedge enroll --token --uses 20 --valid 7d
    """
    from fleet.pki.enrolment import admit_observer
    from fleet.pki.enrolment import enroll as enrol
    from fleet.pki.folder import FederationFolder

    devices = names or []
    many = listed is not None or len(devices) > 1
    if not token and (uses is not None or valid is not None):
        raise typer.BadParameter("--uses and --valid describe a token: use them with --token")
    if observer:
        if token or devices or many or csr is not None or again:
            raise typer.BadParameter(
                "an observer is no device: use --observer without DEVICE, --from, --csr, --again and --token"
            )
        with reporting("enroll"):
            signalled = admit_observer(FederationFolder(folder))
        typer.echo(FederationFolder(folder).observer_identity)
        typer.echo(signalled.value, err=True)
        return
    if token:
        if devices or many or csr is not None or again:
            raise typer.BadParameter(
                "a token names no device: use --token without DEVICE, --from, --csr and --again"
            )
        _promise(FederationFolder(folder), uses or 1, valid or "1h")
        return
    if many:
        if csr is not None or again:
            raise typer.BadParameter("--csr and --again take one DEVICE, and no --from")
        _enroll_all(FederationFolder(folder), devices, listed)
        return
    if not devices and csr is None:
        raise typer.BadParameter(
            "name devices here or in a file with --from, or give a request with --csr", param_hint="DEVICE"
        )
    _tell_renamed(devices)
    device = as_id(devices[0]) if devices else None
    with reporting("enroll"):
        done = enrol(FederationFolder(folder), device, request=_request(csr), again=again)
    typer.echo(done.bundle)
    typer.echo(
        f"{done.identity.name}, until {done.issued.not_after:%Y-%m-%d}; {done.signalled.value}", err=True
    )
    if done.unseen:
        typer.echo(f"{done.unseen} until the device connects with its new certificate", err=True)


def _tell_renamed(names: list[str]) -> None:
    sentences = renamed(names)
    for sentence in sentences[:MOST_RENAMED]:
        typer.echo(sentence, err=True)
    if (more := len(sentences) - MOST_RENAMED) > 0:
        typer.echo(f"and {more} more names become ids in the same way", err=True)


def _enroll_all(folder: "FederationFolder", devices: list[str], listed: Path | None) -> None:
    from fleet.pki.enrolment import enroll_all
    from fleet.pki.names import check_names, read_list

    with reporting("enroll"):
        federation = folder.federation()
        named = [(f"argument {number}", name) for number, name in enumerate(devices, 1)]
        if listed is not None:
            named += read_list(_text(listed), str(listed))
        batch = enroll_all(folder, check_names(federation, named))
        _tell_renamed([name for _, name in named])
    for done in batch.enrolled:
        typer.echo(done.bundle)
    if batch.known and batch.enrolled:
        known = ", ".join(str(identity.device) for identity in batch.known)
        typer.echo(f"already enrolled and unchanged: {known}", err=True)
    elif batch.known:
        typer.echo("all of them were enrolled already; nothing was changed", err=True)
    until = f", until {batch.enrolled[0].issued.not_after:%Y-%m-%d}" if batch.enrolled else ""
    number = len(batch.enrolled)
    typer.echo(
        f"{number} device{'' if number == 1 else 's'} enrolled{until}; {batch.signalled.value}", err=True
    )


def _promise(folder: "FederationFolder", uses: int, valid: str) -> None:
    from fleet.pki.tokens import promise, read_duration

    with reporting("enroll --token"):
        promised = promise(folder, uses, read_duration(valid))
    typer.echo(promised.token.text())
    typer.echo(
        f"{promised.token.claim}: valid for {uses} device{'s' if uses > 1 else ''} until "
        f"{promised.expires_at:%Y-%m-%d %H:%M} UTC; whoever has this line may join; "
        f"{promised.signalled.value}",
        err=True,
    )


def _request(csr: Path | None) -> bytes | None:
    return None if csr is None else _given("--csr", csr, 65_536)


def _text(listed: Path) -> str:
    from fedge.errors import ConfigError

    try:
        return _given("--from", listed, LONGEST_LIST).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"--from {listed}: is not a text in UTF-8") from None


def _given(option: str, path: Path, most: int) -> bytes:
    """Read a user's file or standard input, of at most `most` bytes."""
    from fedge.errors import ConfigError

    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(most + 1)
        else:
            with path.open("rb") as file:
                data = file.read(most + 1)
    except OSError as error:
        raise ConfigError(f"{option} {path}: cannot be read: {error.strerror}") from None
    if len(data) > most:
        raise ConfigError(f"{option} {path}: longer than {most:,} bytes")
    return data
