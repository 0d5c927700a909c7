"""`fedge quarantine`: devices stay members, but nothing from them counts until the quarantine is lifted."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from aggregator.backup.state_dir import load
from aggregator.config import FederationSettings
from aggregator.ledger.layout import FILE as LEDGER
from aggregator.ledger.views import read_devices
from aggregator.shell import quarantine as lists
from fedge.errors import ConfigError, StateError
from fedge.identity.provisioning import identity
from fedge.storage.atomic_files import exists
from fedge.storage.locks import alone
from fedge.wire.topics import DEVICE_ID
from fleet.pki.folder import FederationFolder
from fleet.pki.register import Register


@dataclass(frozen=True)
class Listed:
    """The result."""

    changed: tuple[str, ...]
    """Devices that were added or removed."""
    as_before: tuple[str, ...]
    """Those that were there already, or were not there."""


def quarantine(folder: FederationFolder, devices: Sequence[str], *, lift: bool = False) -> Listed:
    """Put devices into quarantine, or lift it; a second call does no harm.

    Raises:
        ConfigError: this is no federation's folder, or a device is unknown here.
        StateError: the list cannot be read or written.
    """
    path = load(folder.settings).federation.quarantine
    wanted = tuple(dict.fromkeys(devices))
    for device in wanted:
        if re.fullmatch(DEVICE_ID, device) is None:
            raise ConfigError(f"{device!r} is no device's id: expected 1 to 36 of a-z, 0-9 and '-'")
    if not lift:
        _require_known(folder, wanted)
    with alone(path.parent):
        listed = lists.read(path)
        changed = tuple(device for device in wanted if (device in listed) is lift)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for device in changed:
            if lift:
                del listed[device]
            else:
                listed[device] = now
        if changed:
            lists.write(path, listed)
    return Listed(changed, tuple(device for device in wanted if device not in changed))


def in_quarantine(folder: FederationFolder) -> dict[str, str]:
    """The devices in quarantine, and since when.

    Raises:
        StateError: the list cannot be read.
    """
    try:
        return lists.read(FederationSettings.load(folder.settings).federation.quarantine)
    except ConfigError:  # other commands report what is wrong with it
        return {}


def _require_known(folder: FederationFolder, devices: Sequence[str]) -> None:
    """Refuse a name that was neither enrolled nor has sent a status, because it may be mistyped."""
    known: set[str] = set()
    asked = False
    if exists(folder.register):
        asked = True
        with Register(folder.register) as register:
            members = register.members(folder.federation())
            known |= {str(member.identity.device) for member in members if member.identity.device}
    with suppress(StateError):  # the aggregator has not run, or does not let this user read its ledger
        known |= {row.device for row in read_devices(load(folder.settings).state.folder / LEDGER)}
        asked = True
    for device in devices:
        if asked and device not in known:
            name = identity(folder.federation(), device)
            raise ConfigError(
                f"{name} was never enrolled and has never sent a status: `fedge devices` lists all devices"
            )
