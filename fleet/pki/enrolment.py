"""`fedge enroll`: add devices and observers to the federation.

Slow steps come before the transaction (keys, signatures, bundles) or after it (the broker). The order is:
stage the bundles, write the register, move the bundles to their places, tell the broker. So a run may be
killed at any point.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedge.errors import ConfigError, Conflict
from fedge.storage.files import create
from fleet.pki.authority import Authority
from fleet.pki.certificates import Issued, utc_now
from fleet.pki.folder import SECRET, FederationFolder, read
from fleet.pki.identity import Identity, Role
from fleet.pki.keys import make_key, public_key
from fleet.pki.kick import dismiss
from fleet.pki.names import check_name
from fleet.pki.new_device import Maker
from fleet.pki.publication import Signalled, publish
from fleet.pki.register import Register
from fleet.pki.requests import read_request
from fleet.pki.settings import RegistrarSettings
from fleet.pki.staged_bundles import finish, staged

_SHOWN = 20
"""The largest number of names in a message."""


@dataclass(frozen=True)
class Enrolled:
    """What became of it."""

    identity: Identity
    bundle: Path
    issued: Issued
    signalled: Signalled
    unseen: str = ""
    """A warning if a connection with the earlier certificate may still be open, else empty."""


def enroll(
    folder: FederationFolder, device: str | None, *, request: bytes | None = None, again: bool = False
) -> Enrolled:
    """Give a device an identity and write its bundle.

    Args:
        folder: the federation's.
        device: its id; may be left out where the request names it.
        request: a certificate request (PEM) for a key that the device made itself; only its key is used.
        again: the device has lost its files: give it a new certificate, and revoke the old ones.

    Raises:
        ConfigError: the id is not allowed, the device is enrolled already, or the request cannot be signed.
        Conflict: the device is enrolled, and another process keeps this one from telling the broker.
        StateError: something cannot be read or written.
    """
    federation = folder.federation()
    wanted = read_request(request) if request is not None else None
    if wanted is not None:
        device = _named(wanted.common_name, federation, device)
    assert device is not None
    identity, maker = check_name(federation, device), Maker(folder)
    with Register(folder.register) as register:
        finish(folder, register)
        told = None
        if not again and register.member(identity) is not None:
            with _saying(f"{identity.name} is in the register already", folder):
                # Because an earlier run may have been interrupted before this step.
                told = publish(folder, register)
        _refuse_known(folder, register, identity, again=again, told=told)
        made = maker.make(identity, wanted)
        with staged(folder, register, [made]), register.transaction():
            # Another process may have enrolled it meanwhile.
            known = _refuse_known(folder, register, identity, again=again)
            made.note(register)
        unseen = ""
        with _saying(f"{identity.name} is enrolled, and its bundle is {folder.bundle(device)}", folder):
            signalled = publish(folder, register)
            if known and signalled is Signalled.YES:
                unseen = dismiss(folder, register, maker.authority, maker.port, identity).unseen(device)
    return Enrolled(identity, folder.bundle(device), made.issued, signalled, unseen)


@dataclass(frozen=True)
class Batch:
    """The result for many devices."""

    enrolled: list[Enrolled]
    known: list[Identity]
    """The devices that were enrolled already and were not changed."""
    signalled: Signalled


def enroll_all(folder: FederationFolder, identities: Sequence[Identity]) -> Batch:
    """Give many devices identities, in one transaction and one publication.

    Those that are enrolled already stay as they are. So an interrupted run can be repeated.

    Args:
        folder: the federation's.
        identities: devices of it, each once.

    Raises:
        ConfigError: one of them was revoked; nothing was done.
        Conflict: they are enrolled, and another process keeps this one from telling the broker.
        StateError: something cannot be read or written.
    """
    maker = Maker(folder)
    with Register(folder.register) as register:
        finish(folder, register)
        made = [maker.make(identity) for identity in _unknown(register, identities)]
        if made:
            with staged(folder, register, made), register.transaction():
                # Another process may have enrolled some meanwhile.
                still = set(_unknown(register, identities))
                made = [each for each in made if each.identity in still]
                for each in made:
                    each.note(register)
        with _saying(f"{len(made)} devices are enrolled, and their bundles are in {folder.devices}", folder):
            # Also if nothing is new: an earlier run may have been interrupted.
            signalled = publish(folder, register)
    new = {each.identity for each in made}
    return Batch(
        [Enrolled(each.identity, folder.bundle(each.device), each.issued, signalled) for each in made],
        [identity for identity in identities if identity not in new],
        signalled,
    )


def _unknown(register: Register, identities: Sequence[Identity]) -> list[Identity]:
    """Those of these devices that were never enrolled.

    Raises:
        ConfigError: one was revoked.
    """
    federations = {identity.federation for identity in identities}
    members = {
        member.identity: member for federation in federations for member in register.members(federation)
    }
    revoked = [
        str(identity.device)
        for identity in identities
        if (member := members.get(identity)) is not None and member.revoked_at is not None
    ]
    if revoked:
        raise ConfigError(
            f"{_some(revoked)}: was revoked; nothing was enrolled: remove it from the list, or take it back "
            "by itself with `fedge enroll --again`"
        )
    return [identity for identity in identities if identity not in members]


def _some(names: Sequence[str]) -> str:
    """Some names for a message, however many there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _refuse_known(
    folder: FederationFolder,
    register: Register,
    identity: Identity,
    *,
    again: bool,
    told: Signalled | None = None,
) -> bool:
    """Whether a device is in the register; that is an error unless it is enrolled again on purpose."""
    member = register.member(identity)
    if member is not None and not again:
        raise ConfigError(_known(folder, identity, told, revoked=member.revoked_at is not None))
    return member is not None


def admit_observer(folder: FederationFolder) -> Signalled:
    """Make the identity for dashboards, which may read but not publish, if there is none yet.

    Raises:
        ConfigError: this is no federation's folder.
        StateError: something cannot be read or written.
    """
    identity, key = Identity(folder.federation(), role=Role.OBSERVER), make_key()
    settings = RegistrarSettings.load(folder.registrar_settings)
    authority = Authority.open(read(folder.ca), read(folder.ca_key))
    with Register(folder.register) as register:
        if not folder.observer_identity.exists():
            days = settings.certificates.server_days
            issued = authority.issue_client(identity.name, public_key(key), days, utc_now())
            with register.transaction():
                register.revoke_certificates(identity)
                register.enrol(identity)
                register.add_certificate(identity, issued)
            create(folder.observer_identity, key + issued.pem, mode=SECRET)
        return publish(folder, register)


@contextmanager
def _saying(done: str, folder: FederationFolder) -> Iterator[None]:
    """Say what is done, and what remains to do, if the broker cannot be told now."""
    try:
        yield
    except Conflict as error:
        raise Conflict(
            f"{done}: {error}; the next `fedge enroll`, `revoke` or `renew` tells it, and so does "
            f"`fedge init {folder.federation()} --folder {folder.root}`, which changes nothing else"
        ) from None


def _named(common_name: str, federation: str, device: str | None) -> str:
    """The identity that a request is for: it names the identity, or only the device."""
    asked = Identity.parse(common_name)
    if asked is not None and asked.federation != federation:
        raise ConfigError(
            f"the request names {common_name!r}, but this is the federation {federation!r}: "
            f"expected {federation}_DEVICE"
        )
    named = asked.device if asked is not None else common_name
    if named is None or (device is not None and named != device):
        raise ConfigError(
            f"the request names {common_name!r}: expected {federation}_{device or 'DEVICE'}; "
            "only a device may ask"
        )
    return named


def _known(folder: FederationFolder, identity: Identity, told: Signalled | None, *, revoked: bool) -> str:
    if revoked:
        return f"{identity.name} was revoked; --again takes it back, with a new certificate"
    bundle = folder.bundle(str(identity.device))
    where = f"its bundle is {bundle}" if bundle.exists() else "its bundle was removed"
    published = f". The broker was told again: {told.value}" if told is not None else ""
    return (
        f"{identity.name} is enrolled already ({where}); --again makes a new bundle and revokes the "
        f"present certificate{published}"
    )
