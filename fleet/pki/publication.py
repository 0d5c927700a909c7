"""Tell the broker its members: write `acl`, `passwords` and `crl.pem` from the register, and signal it.

The access list comes first: a removed block stops even a live connection, while the list of revoked
certificates only refuses new ones. No transaction waits for this: changes are durable before, and one process
at a time publishes for all that wait (`fleet.pki.turn`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedge.identity.provisioning import claim_user, renewal_user
from fedge.storage.atomic_files import atomic_write
from fleet.pki.acl import Petitioner, acl_text
from fleet.pki.authority import Authority
from fleet.pki.broker_signal import Signalled, signal_broker
from fleet.pki.certificates import utc_now
from fleet.pki.claims import Claims
from fleet.pki.folder import SHARED, FederationFolder, read
from fleet.pki.identity import Identity
from fleet.pki.passwords import password_file
from fleet.pki.register import Register
from fleet.pki.turn import Moment, turn

__all__ = ["Signalled", "farewell", "publish", "signal_broker"]


def publish(folder: FederationFolder, register: Register) -> Signalled:
    """Bring the broker up to date with the register; call it after the transaction.

    If another process begins to publish meanwhile, it does so for this one too.

    Raises:
        Conflict: another process publishes during the whole wait; the change itself is durable.
        StateError: a file cannot be written or read.
    """
    changed = Moment.now()
    with turn(folder.publishing) as ours:
        if (signalled := ours.serves(changed)) is not None:
            return signalled
        began = Moment.now()
        signalled = _tell(folder, register)
        ours.note(began, signalled)
        return signalled


@contextmanager
def farewell(folder: FederationFolder, register: Register, identity: Identity) -> Iterator[None]:
    """Let an excluded device replace its status within the block; no other process publishes meanwhile.

    Raises:
        Conflict: as `publish`.
        StateError: as `publish`.
    """
    with turn(folder.publishing) as ours:
        try:
            _tell(folder, register, identity)
            yield
        finally:
            began = Moment.now()
            ours.note(began, _tell(folder, register))


def _tell(folder: FederationFolder, register: Register, leaving: Identity | None = None) -> Signalled:
    """Write the lists from the register, signal the broker, write the CRL, signal again."""
    authority = Authority.open(read(folder.broker_ca), read(folder.ca_key))
    with register.reading():
        members = [member for member in register.members() if member.revoked_at is None]
        claims = Claims(register).open(utc_now().timestamp())
        revoked = register.revoked()
    users = {
        renewal_user(identity.federation, str(identity.device)): (identity, member.renewal)
        for member in members
        if (identity := member.identity).device and member.renewal is not None
    }
    petitioners = [
        Petitioner(identity.federation, username, str(identity.device))
        for username, (identity, _) in users.items()
    ]
    verifiers = {username: verifier for username, (_, verifier) in users.items()}
    for kept in claims:
        claim = kept.claim
        username = claim_user(claim.federation, claim.name)
        petitioners.append(Petitioner(claim.federation, username, claim.name))
        verifiers[username] = kept.password
    _write(folder.acl, acl_text([member.identity for member in members], petitioners, leaving).encode())
    _write(folder.passwords, password_file(verifiers).encode())
    signal_broker(folder.broker_pid, len(members))
    _write(folder.crl, authority.revocation_list(revoked, utc_now()))
    return signal_broker(folder.broker_pid, len(members))


def _write(path: Path, data: bytes) -> None:
    """Replace a file that the broker's group reads (a new file gets the group of its folder)."""
    atomic_write(path, data, mode=SHARED, exact=True)
