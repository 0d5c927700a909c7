"""`fedge devices`: list a federation's members, when their certificates end, and when they were last seen."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aggregator.aggregation.told_classes import Classes, classes_told
from aggregator.config import FederationSettings
from aggregator.core.patience import MISSES
from aggregator.ledger.layout import FILE as LEDGER
from aggregator.ledger.views import DeviceRow, read_devices
from fedge.errors import ConfigError, StateError
from fedge.storage.locks import is_locked
from fleet.pki.folder import FederationFolder
from fleet.pki.quarantine import in_quarantine
from fleet.pki.register import Member, Register

SERVICES = Path("/var/lib/fedge-aggregator")
"""The folder of services' state, with a folder for each federation (fedge-aggregator@.service)."""
SOON = 30
"""Certificates that end within this many days are marked."""
CLASSES_SHOWN, NAME_WIDTH = 3, 16
"""The largest number of classes of a device in the table, and of characters of a name."""


@dataclass(frozen=True)
class Listed:
    """One identity, as shown to people."""

    member: Member
    ledger: DeviceRow | None
    """The aggregator's ledger's data on it, if that can be read."""
    at_work: bool | None = None
    """Whether an aggregator works with that ledger; None: unknown."""
    quarantined: str | None = None
    """Since when it is in quarantine (ISO 8601, empty if unknown); None: it is not."""
    classes: Classes | None = None
    """The classes that it reported in the survey; None: none, or unknown."""

    def state(self, now: datetime) -> str:
        """`revoked`, `expired`, `ends soon`, or `good`."""
        if self.member.revoked_at is not None:
            return "revoked"
        end = self.member.not_after
        if end is None or end <= now:
            return "expired"
        return "ends soon" if (end - now).days < SOON else "good"


def listing(folder: FederationFolder, ledger: Path | None = None) -> list[Listed]:
    """All identities ever enrolled in the folder's federation, services first.

    Args:
        folder: the federation's.
        ledger: the aggregator's; without it the one that its settings name, if that can be read.

    Raises:
        ConfigError: this is no federation's folder.
        StateError: the register, the list of those in quarantine, or a ledger that was named, cannot be read.
    """
    federation = folder.federation()
    with Register(folder.register) as register:
        members = register.members(federation)
    seen, at_work, told = _seen(folder, ledger)
    members.sort(key=lambda member: (member.identity.device is not None, member.identity.name))
    aside = in_quarantine(folder)
    return [
        Listed(
            member,
            seen.get(member.identity.device or ""),
            at_work,
            aside.get(member.identity.device or ""),
            told.get(member.identity.device or ""),
        )
        for member in members
    ]


Seen = tuple[Mapping[str, DeviceRow], bool | None, Mapping[str, Classes]]
"""The ledger's devices, whether an aggregator works with it, and the classes that devices reported."""


def _seen(folder: FederationFolder, ledger: Path | None) -> Seen:
    if ledger is not None:
        return _seen_in(ledger)
    for place in _places(folder):
        with suppress(
            StateError
        ):  # the aggregator has not run, keeps its state elsewhere, or does not let this user read it
            return _seen_in(place)
    return {}, None, {}


def _seen_in(ledger: Path) -> Seen:
    at_work = is_locked(ledger.parent)
    return {row.device: row for row in read_devices(ledger)}, at_work, classes_told(ledger)


def _places(folder: FederationFolder) -> Iterator[Path]:
    """The path of the ledger: from the settings, or in the state folder of the service."""
    with suppress(ConfigError):
        yield FederationSettings.load(folder.settings).state.folder / LEDGER
    yield SERVICES / folder.federation() / LEDGER


def as_json(listed: Sequence[Listed], now: datetime) -> list[dict[str, Any]]:
    """One object for each identity; times in ISO 8601.

    `online` is null if no aggregator is at work, because the ledger may be out of date.
    """
    return [
        {
            "name": entry.member.identity.name,
            "role": entry.member.identity.role.value,
            "device": entry.member.identity.device,
            "state": entry.state(now),
            "enrolled": _iso(entry.member.enrolled_at),
            "expires": _iso(entry.member.not_after),
            "revoked": _iso(entry.member.revoked_at),
            "quarantined": entry.quarantined,
            "online": _online(entry),
            "last_seen": _iso(_last_seen(entry)),
            "missed": entry.ledger.missed if entry.ledger else None,
            "declined": _declined(entry),
            "aggregator_at_work": entry.at_work,
            "keeps_older_model": entry.ledger.uses is not None if entry.ledger else None,
            "classes": None if entry.classes is None else dict(entry.classes),
        }
        for entry in listed
    ]


def show(listed: Sequence[Listed], now: datetime, console: Console) -> None:
    """Print the table."""
    table = Table(box=None, pad_edge=False)
    told = any(entry.classes for entry in listed)
    for column in ("identity", "certificate", "until", "last seen", *(["classes"] if told else [])):
        # So that it can be copied, and found by other programs.
        table.add_column(column, no_wrap=column == "identity")
    for entry in listed:
        end = entry.member.not_after
        table.add_row(
            entry.member.identity.name,
            entry.state(now) + (", in quarantine" if entry.quarantined is not None else ""),
            f"{end:%Y-%m-%d}" if end else "",
            _presence(entry) + _older(entry),
            *([escape(classes_shown(entry.classes or ()))] if told else []),
        )
    console.print(table, highlight=False)
    for entry in listed:
        declined = entry.ledger.declined if entry.ledger is not None else None
        if declined is not None:
            since = "" if declined.since is None else f" since {_minute(_moment(declined.since))}"
            why = f"({declined.reason}): {declined.detail}"
            console.print(
                f"{entry.member.identity.name} declines{since} {why}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )


def classes_shown(classes: Classes) -> str:
    """A few classes in a few columns; `--json` has all of them.

    >>> classes_shown((("walk", 60), ("run", 25)))
    'walk 60, run 25'
    >>> len(classes_shown((("x" * 60, 10**15),) * 100)) <= 110
    True
    """
    shown = [
        f"{name if len(name) <= NAME_WIDTH else name[: NAME_WIDTH - 1] + '…'} {rows}"
        for name, rows in classes[:CLASSES_SHOWN]
    ]
    more = [f"and {len(classes) - CLASSES_SHOWN} more"] if len(classes) > CLASSES_SHOWN else []
    return ", ".join([*shown, *more])


def _presence(entry: Listed) -> str:
    """The text that says whether a member is online, or when it was last seen."""
    seen = _last_seen(entry)
    moment = _minute(seen) if seen else ""
    if entry.ledger is None or not entry.ledger.online:
        return moment
    awaited = "" if entry.ledger.missed < MISSES else ", not awaited"
    if entry.at_work is False:
        return f"online {f'at {moment}' if seen else 'once'}{awaited} (the aggregator is not running)"
    return f"online{awaited}"


def _older(entry: Listed) -> str:
    return ", keeps an older model" if entry.ledger is not None and entry.ledger.uses else ""


def _online(entry: Listed) -> bool | None:
    if entry.ledger is None or (entry.ledger.online and entry.at_work is False):
        return None
    return entry.ledger.online


def _declined(entry: Listed) -> dict[str, Any] | None:
    declined = entry.ledger.declined if entry.ledger is not None else None
    if declined is None:
        return None
    since = None if declined.since is None else _moment(declined.since)
    return {"reason": declined.reason, "detail": declined.detail, "since": _iso(since)}


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _last_seen(entry: Listed) -> datetime | None:
    if entry.ledger is None or entry.ledger.seen_at is None:
        return None
    return _moment(entry.ledger.seen_at)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")
