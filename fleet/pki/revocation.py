"""`fedge revoke`: exclude a device from the federation."""

from dataclasses import dataclass

from fedge.errors import Conflict
from fedge.storage.atomic_files import remove
from fleet.pki.authority import Authority
from fleet.pki.folder import FederationFolder, read
from fleet.pki.identity import Identity
from fleet.pki.kick import dismiss
from fleet.pki.publication import Signalled, publish
from fleet.pki.register import Register
from fleet.pki.settings import RegistrarSettings
from fleet.pki.staged_bundles import finish


@dataclass(frozen=True)
class Revocation:
    """The result of excluding a device."""

    signalled: Signalled
    unseen: str = ""
    """A warning if its connection may still be open, or its status still say "online"; else empty."""


def revoke(folder: FederationFolder, device: str) -> Revocation:
    """Exclude a device at once, and end its connection; a second call does no harm.

    Raises:
        ConfigError: it was never enrolled.
        Conflict: it is revoked, and another process keeps this one from telling the broker.
        StateError: something cannot be read or written.
    """
    identity = Identity(folder.federation(), device)
    settings = RegistrarSettings.load(folder.registrar_settings)
    authority = Authority.open(read(folder.ca), read(folder.ca_key))
    with Register(folder.register) as register:
        with register.transaction():
            register.revoke(identity)
        unseen = ""
        try:
            signalled = publish(folder, register)
            if signalled is Signalled.YES:
                unseen = dismiss(folder, register, authority, settings.broker.port, identity).unseen(device)
        except Conflict as error:
            raise Conflict(f"{identity.name} is revoked in the register: {error}; run it again") from None
        finish(folder, register)
    remove(folder.bundle(device))
    return Revocation(signalled, unseen)
