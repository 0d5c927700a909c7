"""`fedge renew`: renew the server's own certificates before they end. Devices renew theirs themselves.

A timer runs it every day on an installed server (fedge-renew-server@.timer).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedge.errors import StateError
from fedge.storage.atomic_files import atomic_write
from fedge.storage.files import describe_file
from fleet.pki.authority import Authority
from fleet.pki.certificates import Issued, describe, hosts, unnamed, utc_now
from fleet.pki.folder import FederationFolder, read
from fleet.pki.identity import Identity, Role
from fleet.pki.keys import make_key, public_key
from fleet.pki.publication import Signalled, publish
from fleet.pki.register import Register
from fleet.pki.settings import RegistrarSettings


@dataclass(frozen=True)
class Renewal:
    """One certificate, and whether there is a new one."""

    path: Path
    issued: Issued
    done: bool


def renew(
    folder: FederationFolder, *, force: bool = False, more_hosts: Sequence[str] = ()
) -> tuple[list[Renewal], Signalled | None]:
    """Give the server's identities new keys and certificates if two thirds of the lifetime are over.

    Each file is replaced as a whole and keeps its owner. The earlier certificate stays valid until its own
    end, so no connection is lost. The broker is signalled; the others read theirs when they connect next.

    Args:
        folder: the federation's.
        force: renew all now.
        more_hosts: further names and addresses of the broker; its certificate is renewed for them.

    Returns:
        Each certificate, and the result of the signal to the broker; None: there was nothing to signal.

    Raises:
        ConfigError: this is no federation's folder, or a host is neither a name nor an address.
        StateError: something cannot be read or written.
    """
    federation = folder.federation()
    days = RegistrarSettings.load(folder.registrar_settings).certificates.server_days
    authority = Authority.open(read(folder.ca), read(folder.ca_key))
    now, renewals = utc_now(), []
    with Register(folder.register) as register:
        for identity, path in _of_the_server(folder, federation):
            present = _certificate(path)
            issued, named = describe(present), hosts(present)
            added = unnamed(more_hosts, present) if identity.role is Role.BROKER else []
            due = now >= issued.not_after - (issued.not_after - issued.not_before) / 3
            if not (due or force or added):
                renewals.append(Renewal(path, issued, done=False))
                continue
            key = make_key()
            if identity.role is Role.BROKER:
                issued = authority.issue_server(
                    issued.common_name, public_key(key), [*named, *added], days, now
                )
            else:
                issued = authority.issue_client(issued.common_name, public_key(key), days, now)
            with register.transaction():
                register.add_certificate(identity, issued)
            _replace(path, key + issued.pem)
            renewals.append(Renewal(path, issued, done=True))
        told = not any(renewal.done for renewal in renewals) and not _is_untold(folder)
        return renewals, None if told else publish(folder, register)


def ignored(folder: FederationFolder, wanted: Sequence[str]) -> list[str]:
    """Those hosts given to `fedge init` for which the broker's older certificate is not valid.

    Raises:
        ConfigError: a host is neither a name nor an address.
        StateError: the certificate cannot be read.
    """
    return unnamed(wanted, _certificate(folder.broker_identity))


def _is_untold(folder: FederationFolder) -> bool:
    """Whether a run was interrupted before it told the broker: the lists are written after the
    certificate."""
    try:
        return folder.broker_identity.stat().st_mtime_ns > folder.crl.stat().st_mtime_ns
    except FileNotFoundError:
        return True


def _of_the_server(folder: FederationFolder, federation: str) -> Iterator[tuple[Identity, Path]]:
    """The identities with a certificate here; broker and registrar may belong to a federation that shares
    them."""
    paths = (
        folder.broker_identity,
        folder.aggregator_identity,
        folder.watch_identity,
        folder.registrar_identity,
        folder.observer_identity,
    )
    for path in paths:
        if path.exists():
            name = describe(_certificate(path)).common_name
            identity = Identity.parse(name)
            if identity is None or (identity.federation != federation and not path.parent.is_symlink()):
                raise StateError(f"{path}: is the certificate of {name!r}, which does not belong here")
            yield identity, path


def _certificate(path: Path) -> bytes:
    """The certificate in a file with key and certificate."""
    content = read(path)
    at = content.find(b"-----BEGIN CERTIFICATE-----")
    if at < 0:
        raise StateError(f"{path}: holds no certificate; move it away, and `fedge init` makes a new one")
    return content[at:]


def _replace(path: Path, data: bytes) -> None:
    """Replace a file; owner and mode are set before the rename, so that its program can read it."""
    before = describe_file(path)
    owner = before.st_uid, before.st_gid
    atomic_write(path, data, mode=before.st_mode & 0o777, exact=True, owner=owner)
