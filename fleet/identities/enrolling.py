"""`fedge enroll` and `fedge revoke`: a device belongs to the federation, or does no longer."""

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path

from fedge.errors import ConfigError
from fedge.files import create
from fedge.provisioning import SALT_BYTES, Verifier, may_name_a_device
from fedge.store import atomic_write, remove
from fleet.identities.authority import Authority, Issued, make_key, public_key, read_request, utc_now
from fleet.identities.bundle import make_bundle
from fleet.identities.dismissing import dismiss
from fleet.identities.folder import SECRET, FederationFolder, read
from fleet.identities.identity import Identity, Role
from fleet.identities.publishing import Signalled, publish
from fleet.identities.register import Register
from fleet.identities.settings import RegistrarSettings


@dataclass(frozen=True)
class Enrolled:
    """What became of it."""

    identity: Identity
    bundle: Path
    issued: Issued
    signalled: Signalled


def enroll(
    folder: FederationFolder, device: str | None, *, request: bytes | None = None, again: bool = False
) -> Enrolled:
    """Give a device an identity and write its bundle.

    Args:
        folder: the federation's.
        device: its id; may be left out where the request names it.
        request: a certificate request (PEM) of a key that the device made itself; only its key is taken over.
        again: the device has lost what it had: give it a new certificate, and let the old ones count no more.

    Raises:
        ConfigError: the id is not allowed, the device is enrolled already, or the request cannot be signed.
        StateError: something cannot be read or written.
    """
    federation = folder.federation()
    settings = RegistrarSettings.load(folder.registrar_settings)
    authority = Authority.open(read(folder.ca), read(folder.ca_key))
    wanted = read_request(request) if request is not None else None
    if wanted is not None:
        device = _named(wanted.common_name, federation, device)
    assert device is not None
    if not may_name_a_device(device):
        raise ConfigError(
            f"device {device!r}: expected 1 to 31 of a-z, 0-9 and '-', not beginning with '-', and not "
            "like a claim (claim-xxxxxxxx)"
        )
    identity, days = Identity(federation, device), settings.certificates.device_days
    key = None if wanted is not None else make_key()
    public = public_key(key) if key is not None else wanted.key if wanted is not None else None
    assert public is not None
    password = secrets.token_urlsafe(32)
    with Register(folder.register) as register:
        member = register.member(identity)
        if member is not None and not again:
            publish(folder, register)  # as the run before may have been cut short of it
            raise ConfigError(_known(folder, identity, revoked=member.revoked_at is not None))
        with register.transaction():
            register.revoke_certificates(identity)
            issued = authority.issue_client(identity.name, public, days, utc_now())
            register.enrol(identity, renewal=Verifier.of(password, secrets.token_bytes(SALT_BYTES)))
            register.add_certificate(
                identity, issued, hashlib.sha256(wanted.der).digest() if wanted is not None else None
            )
            data = make_bundle(
                folder,
                settings,
                device,
                password=password,
                identity=key + issued.pem if key is not None else None,
                certificate=issued.pem if key is None else None,
            )
            atomic_write(folder.bundle(device), data, mode=SECRET)
        signalled = publish(folder, register)
        if member is not None and signalled is Signalled.YES:
            dismiss(folder, register, authority, settings.broker.port, identity)
    return Enrolled(identity, folder.bundle(device), issued, signalled)


def admit_observer(folder: FederationFolder) -> Signalled:
    """Make the identity that dashboards connect with, if there is none yet: it may read, and say nothing.

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


def revoke(folder: FederationFolder, device: str) -> Signalled:
    """Let a device belong no longer, at once, and end its connection; doing it again does no harm.

    Raises:
        ConfigError: it was never enrolled.
        StateError: something cannot be read or written.
    """
    identity = Identity(folder.federation(), device)
    settings = RegistrarSettings.load(folder.registrar_settings)
    authority = Authority.open(read(folder.ca), read(folder.ca_key))
    with Register(folder.register) as register:
        with register.transaction():
            register.revoke(identity)
        signalled = publish(folder, register)
        if signalled is Signalled.YES:
            dismiss(folder, register, authority, settings.broker.port, identity)
    remove(folder.bundle(device))
    return signalled


def _named(common_name: str, federation: str, device: str | None) -> str:
    """Whom a request is for: it names the identity, or only the device."""
    asked = Identity.parse(common_name)
    if asked is not None and asked.federation != federation:
        raise ConfigError(
            f"the request is of {common_name!r}, and this is the federation {federation!r}: "
            f"expected {federation}_DEVICE"
        )
    named = asked.device if asked is not None else common_name
    if named is None or (device is not None and named != device):
        raise ConfigError(
            f"the request is of {common_name!r}: expected {federation}_{device or 'DEVICE'}; "
            "only a device may ask"
        )
    return named


def _known(folder: FederationFolder, identity: Identity, *, revoked: bool) -> str:
    if revoked:
        return f"{identity.name} was revoked; --again takes it back, with a new certificate"
    bundle = folder.bundle(str(identity.device))
    where = f"its bundle is {bundle}" if bundle.exists() else "its bundle was taken away"
    return (
        f"{identity.name} is enrolled already ({where}); --again makes a new one, and the certificate it has "
        "counts no more"
    )
