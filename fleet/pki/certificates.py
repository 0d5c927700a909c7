"""The content of certificates. Everything is PEM; nothing here touches a file."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from fedge.errors import ConfigError
from fedge.service.settings import is_host

UNREADABLE = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip
"""The errors of `cryptography` for damaged bytes."""


@dataclass(frozen=True)
class Issued:
    """A certificate, as the register stores it."""

    pem: bytes
    common_name: str
    serial: str
    """In hexadecimal digits."""
    not_before: datetime
    not_after: datetime


def describe(certificate_pem: bytes) -> Issued:
    """Read a certificate.

    Raises:
        ConfigError: the bytes are no certificate in PEM, or it has no name.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        return Issued(
            pem=certificate_pem,
            common_name=name_of(certificate.subject),
            serial=f"{certificate.serial_number:x}",
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )
    except UNREADABLE as error:
        raise ConfigError(f"no certificate in PEM: {brief(error)}") from None


def unnamed(wanted: Iterable[str], certificate_pem: bytes) -> list[str]:
    """Those of these names and addresses for which a server's certificate is not valid.

    Raises:
        ConfigError: the bytes are no certificate in PEM, or a host is neither a name nor an address.
    """
    named = hosts(certificate_pem)
    return [host for host in wanted if str(general_name(host).value) not in named]


def hosts(certificate_pem: bytes) -> list[str]:
    """The names and addresses for which a server's certificate is valid; none if it is no server's.

    Raises:
        ConfigError: the bytes are no certificate in PEM.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    except UNREADABLE as error:
        raise ConfigError(f"no certificate in PEM: {brief(error)}") from None
    return [str(name.value) for name in names]


def brief(error: Exception) -> str:
    """A parser's error, in one line."""
    return " ".join(str(error).split())


def name_of(name: x509.Name) -> str:
    """The common name of a subject, which must have exactly one."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(found) != 1:
        raise ConfigError("the subject must have exactly one common name (CN)")
    return str(found[0].value)


def general_name(host: str) -> x509.GeneralName:
    """A host's name or address in the form of a certificate."""
    try:
        # An IPv6 zone has a meaning only on its own machine.
        return x509.IPAddress(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    if not is_host(host):
        raise ConfigError(f"host {host!r}: neither an address nor a name")
    return x509.DNSName(host)


def utc_now() -> datetime:
    """The time now, in whole seconds, as certificates have it."""
    return datetime.now(UTC).replace(microsecond=0)
