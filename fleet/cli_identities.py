"""`fedge init`, `enroll`, `revoke`, `quarantine`, `renew`, `devices`, …: who belongs to a federation."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedge.device_names import as_id, renamed
from fedge.errors import FedgeError, StateError

if TYPE_CHECKING:
    from fleet.identities.folder import FederationFolder

app = typer.Typer()
MOST_RENAMED = 20
"""Names that become another id, of which each is told."""
LONGEST_LIST = 8_000_000
"""Bytes of a list of devices."""
Folder = Annotated[Path, typer.Option("--folder", help="The federation's folder.")]


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="The federation's name: a-z, 0-9 and hyphens, at most 31.")],
    host: Annotated[
        list[str] | None,
        typer.Option(
            help="The broker's name or address for devices; more than one: the first is told. Without it "
            "only this machine reaches the broker."
        ),
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Where to make it; by default ./NAME.")] = None,
    beside: Annotated[
        Path | None, typer.Option(help="A federation's folder whose authority and broker serve this one too.")
    ] = None,
    port: Annotated[int, typer.Option(help="Where those who have a certificate connect.", min=1)] = 8883,
    provisioning_port: Annotated[
        int, typer.Option(help="Where those who ask for a certificate connect.", min=1)
    ] = 8884,
    ca_days: Annotated[int, typer.Option(help="How long the authority lasts.", min=1)] = 20 * 365,
    server_days: Annotated[int, typer.Option(help="How long a server's certificate lasts.", min=1)] = 730,
    device_days: Annotated[int, typer.Option(help="How long a device's certificate lasts.", min=1)] = 365,
    like: Annotated[
        Path | None,
        typer.Option(
            help="A CSV, a folder of them or an .npz: propose from it what is learnt. Or the folder that "
            "`fedge try` made: take up what was tried there."
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="With --like: the CSV's column of class names.", show_default="label")
    ] = None,
    regression: Annotated[
        str | None, typer.Option(help="With --like: the column to predict as a number, instead of classes.")
    ] = None,
) -> None:
    """Make a federation's folder: authority, identities, signing key, configuration; overwrites nothing.

    Run again it completes what is missing, and tells the broker of topics that a newer version has.
    To replace a key that others saw, remove its file and run this again: its certificate counts no more.

    With --like it says which columns it took, which it left out and why.

    \b
      fedge init phones --like out/try                         what `fedge try` has tried
      fedge init phones --like data.csv --label activity       proposed from one file
    """
    if like is None and (label is not None or regression is not None):
        raise typer.BadParameter("--label and --regression are a file's: they go with --like")
    if label is not None and regression is not None:
        raise typer.BadParameter("--label is for classes and --regression for a number: give one of them")
    from fleet.identities.folder import FederationFolder
    from fleet.identities.founding import Founding, found
    from fleet.identities.renewing import ignored

    root = folder or Path(name)
    founding = Founding(
        name, host or ["localhost"], port, provisioning_port, ca_days, server_days, device_days
    )
    with _told("init"):
        told = ""
        if like is not None:
            from fleet.trial.settings import is_trial, tried

            if is_trial(like):
                if label is not None or regression is not None:
                    raise typer.BadParameter("the trial has its own --label or --regression: leave it out")
                trial = tried(like)
                told = trial.summary
                founding = replace(founding, model=trial.model, learning=trial.learning, data=trial.data)
            else:
                from fleet.settings_text import data_table, model_table, proposed, summary

                proposal = proposed(like, label, regression)
                told = summary(proposal, like.name)
                founding = replace(
                    founding,
                    model=model_table(proposal, like.name),
                    data=data_table(like, label, regression),
                )
        made = found(
            FederationFolder(root), founding, FederationFolder(beside) if beside is not None else None
        )
        unused = ignored(FederationFolder(root), host or ())
        here_only = _listens_here_only(FederationFolder(root))
    for path in made:
        typer.echo(path)
    if not made:
        typer.echo(f"{root} is complete; nothing was changed")
    elif here_only and FederationFolder(root).mosquitto_conf in made:
        typer.echo("the broker listens on this machine only: for devices elsewhere use --host", err=True)
    if told:
        typer.echo(told, err=True)
        for path in (FederationFolder(root).settings, FederationFolder(root).device_settings):
            if path not in made:
                typer.echo(f"{path} was there before, so --like has not changed it", err=True)
    if unused:
        hosts = "--host " + " --host ".join(unused)
        typer.echo(
            f"{hosts} was ignored, as the broker had its certificate before: "
            f"`fedge renew {hosts} --folder {root}` adds to it; "
            f"{FederationFolder(root).registrar_settings} says where devices find the broker"
            + (f"; {_unreached(FederationFolder(root))}" if here_only else ""),
            err=True,
        )


@app.command()
def enroll(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="DEVICE...", help="The devices' ids: a-z, 0-9, hyphens.", show_default=False),
    ] = None,
    listed: Annotated[
        Path | None,
        typer.Option("--from", help="Also those named in this file, one a line; - is standard input."),
    ] = None,
    csr: Annotated[
        Path | None,
        typer.Option(help="Sign this request (PEM) instead of making a key; - is standard input."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="A new certificate for a device that has lost its own.")
    ] = False,
    observer: Annotated[
        bool, typer.Option("--observer", help="Make devices/observer.pem, for dashboards that only read.")
    ] = False,
    token: Annotated[
        bool, typer.Option("--token", help="Print a token instead, with which devices enrol themselves.")
    ] = False,
    uses: Annotated[
        int | None, typer.Option(help="With --token: how many devices it is good for; else 1.", min=1)
    ] = None,
    valid: Annotated[
        str | None, typer.Option(help="With --token: for how long, as in 30m, 1h or 7d; else 1h.")
    ] = None,
    folder: Folder = Path(),
) -> None:
    """Let devices belong to the federation: writes their bundles, devices/DEVICE.fedge.

    Many, named together or with --from, are enrolled all or none, and the broker is told once.
    Those that are enrolled already stay as they are and are named: a run that was cut off is just run again.
    In the file # begins a comment; a line that names no device is told with its number.

    With --token it prints one line instead, for `fedge-agent join` on the device: whoever has it may join.
    """
    from fleet.identities.enrolling import admit_observer
    from fleet.identities.enrolling import enroll as enrol
    from fleet.identities.folder import FederationFolder

    devices = names or []
    many = listed is not None or len(devices) > 1
    if not token and (uses is not None or valid is not None):
        raise typer.BadParameter("--uses and --valid are a token's: they go with --token")
    if observer:
        if token or devices or many or csr is not None or again:
            raise typer.BadParameter(
                "an observer is no device: --observer goes without DEVICE, --from, --csr, --again and --token"
            )
        with _told("enroll"):
            signalled = admit_observer(FederationFolder(folder))
        typer.echo(FederationFolder(folder).observer_identity)
        typer.echo(signalled.value, err=True)
        return
    if token:
        if devices or many or csr is not None or again:
            raise typer.BadParameter(
                "a token names no device: it goes without DEVICE, --from, --csr and --again"
            )
        _promise(FederationFolder(folder), uses or 1, valid or "1h")
        return
    if many:
        if csr is not None or again:
            raise typer.BadParameter("--csr and --again go with one DEVICE, and without --from")
        _enroll_all(FederationFolder(folder), devices, listed)
        return
    if not devices and csr is None:
        raise typer.BadParameter(
            "name devices, here or in a file with --from, or give a request with --csr", param_hint="DEVICE"
        )
    _tell_renamed(devices)
    device = as_id(devices[0]) if devices else None
    with _told("enroll"):
        done = enrol(FederationFolder(folder), device, request=_request(csr), again=again)
    typer.echo(done.bundle)
    typer.echo(
        f"{done.identity.name}, until {done.issued.not_after:%Y-%m-%d}; {done.signalled.value}", err=True
    )
    if done.unseen:
        typer.echo(f"{done.unseen} until the device connects with its new certificate", err=True)


@app.command()
def revoke(
    device: Annotated[str, typer.Argument(help="The device's id; or a token's claim, as in claim-0a1b2c3d.")],
    folder: Folder = Path(),
) -> None:
    """Shut a device out at once: its connection is deaf and mute now, and its certificate refused.

    A claim is withdrawn at once too; the devices that it enrolled are named, and stay.
    """
    from fedge.provisioning import CLAIM
    from fleet.identities.enrolling import revoke as shut_out
    from fleet.identities.folder import FederationFolder

    with _told("revoke"):
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
    from fleet.identities.folder import FederationFolder
    from fleet.identities.quarantining import quarantine as set_aside

    with _told("quarantine"):
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

    from fedge.topics import DEVICE_ID
    from fleet.identities.folder import FederationFolder
    from fleet.identities.forgetting import forget as erase
    from fleet.identities.forgetting import held

    device = as_id(device)
    if re.fullmatch(DEVICE_ID, device) is None:
        raise typer.BadParameter(f"{device!r} is no device's id: expected 1 to 36 of a-z, 0-9 and '-'")
    with _told("forget"):
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


@app.command()
def renew(
    force: Annotated[bool, typer.Option("--force", help="All of them, due or not.")] = False,
    host: Annotated[
        list[str] | None, typer.Option(help="A further name or address of the broker, for its certificate.")
    ] = None,
    folder: Folder = Path(),
) -> None:
    """Renew the server's own certificates of which two thirds of the time are over.

    On an installed server a timer does this every day.
    """
    from fleet.identities.folder import FederationFolder
    from fleet.identities.renewing import renew as renew_all

    with _told("renew"):
        renewals, signalled = renew_all(FederationFolder(folder), force=force, more_hosts=host or ())
    for renewal in renewals:
        what = "renewed" if renewal.done else "not yet due"
        typer.echo(f"{renewal.path}: {what}; good until {renewal.issued.not_after:%Y-%m-%d}")
    if host and _listens_here_only(FederationFolder(folder)):
        typer.echo(_unreached(FederationFolder(folder)), err=True)
    if signalled is not None:
        typer.echo(f"{signalled.value}; an installed aggregator gets its own when it is restarted", err=True)


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

    from fleet.identities import listing
    from fleet.identities.authority import utc_now
    from fleet.identities.folder import FederationFolder

    with _told("devices"):
        listed = listing.listing(FederationFolder(folder), ledger)
    if as_json:
        typer.echo(json.dumps(listing.as_json(listed, utc_now())))
    else:
        listing.show(listed, utc_now(), Console())


@app.command()
def tokens(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list and nothing else.")] = False,
    folder: Folder = Path(),
) -> None:
    """List the tokens of `fedge enroll --token`: what they are still good for, and who joined with them.

    The tokens themselves are not kept: `fedge revoke CLAIM` withdraws one by its claim's name.
    """
    from rich.console import Console

    from fleet.identities import outstanding
    from fleet.identities.authority import utc_now
    from fleet.identities.folder import FederationFolder

    with _told("tokens"):
        listed = outstanding.tokens(FederationFolder(folder))
    if as_json:
        typer.echo(json.dumps(outstanding.as_json(listed, utc_now())))
    else:
        outstanding.show(listed, utc_now(), Console())


def _tell_renamed(names: list[str]) -> None:
    sentences = renamed(names)
    for sentence in sentences[:MOST_RENAMED]:
        typer.echo(sentence, err=True)
    if (more := len(sentences) - MOST_RENAMED) > 0:
        typer.echo(f"and {more} more names become ids in the same way", err=True)


def _listens_here_only(folder: "FederationFolder") -> bool:
    from fleet.identities.folder import read
    from fleet.identities.mosquitto import listens_here_only

    with suppress(StateError):  # there may be another broker, with another configuration
        return listens_here_only(read(folder.mosquitto_conf).decode(errors="replace"))
    return False


def _unreached(folder: "FederationFolder") -> str:
    """What is left to do before devices elsewhere reach a broker that was founded for this machine alone."""
    return (
        "the broker listens on this machine only: for devices elsewhere take the address out of the lines "
        f"`listener` of {folder.mosquitto_conf} and start it again"
    )


def _enroll_all(folder: "FederationFolder", devices: list[str], listed: Path | None) -> None:
    from fleet.identities.enrolling import enroll_all
    from fleet.identities.names import check_names, read_list

    with _told("enroll"):
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
        typer.echo(f"enrolled already, and left as they are: {known}", err=True)
    elif batch.known:
        typer.echo("all of them were enrolled already, and are left as they are", err=True)
    until = f", until {batch.enrolled[0].issued.not_after:%Y-%m-%d}" if batch.enrolled else ""
    number = len(batch.enrolled)
    typer.echo(
        f"{number} device{'' if number == 1 else 's'} enrolled{until}; {batch.signalled.value}", err=True
    )


def _promise(folder: "FederationFolder", uses: int, valid: str) -> None:
    from fleet.identities.tokens import promise, read_duration

    with _told("enroll --token"):
        promised = promise(folder, uses, read_duration(valid))
    typer.echo(promised.token.text())
    typer.echo(
        f"{promised.token.claim}: good for {uses} device{'s' if uses > 1 else ''} until "
        f"{promised.expires_at:%Y-%m-%d %H:%M} UTC; whoever has this line may join; "
        f"{promised.signalled.value}",
        err=True,
    )


def _withdraw(folder: "FederationFolder", claim: str) -> None:
    from fleet.identities.tokens import withdraw

    enrolled, signalled = withdraw(folder, claim)
    typer.echo(f"{claim} is withdrawn; {signalled.value}")
    if enrolled:
        typer.echo(f"it enrolled {', '.join(enrolled)}: `fedge revoke` shuts them out too", err=True)


def _request(csr: Path | None) -> bytes | None:
    return None if csr is None else _given("--csr", csr, 65_536)


def _text(listed: Path) -> str:
    from fedge.errors import ConfigError

    try:
        return _given("--from", listed, LONGEST_LIST).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"--from {listed}: is no text in UTF-8") from None


def _given(option: str, path: Path, most: int) -> bytes:
    """What a file of the user's holds, or standard input; more than so many bytes is not read."""
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


@contextmanager
def _told(command: str) -> Iterator[None]:
    """Say what is wrong in one line, and exit with its code."""
    try:
        yield
    except FedgeError as error:
        typer.echo(f"fedge {command}: {error}", err=True)
        sys.exit(error.exit_code)
    except PermissionError as error:
        typer.echo(f"fedge {command}: {error.filename}: {error.strerror}", err=True)
        sys.exit(StateError.exit_code)
