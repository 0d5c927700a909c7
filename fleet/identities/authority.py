"""The federation's certificate authority: X.509 certificates and the list of revoked ones (RFC 5280).

Keys are ECDSA P-256. Everything is PEM; nothing here touches a file. Certificates begin a day in the past,
because a Raspberry Pi has no clock and may live some hours behind until it hears the time.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedge.errors import ConfigError
from fedge.settings import is_host
from fleet.identities.identity import check_common_name

BACKDATED = timedelta(days=1)
"""How far before now a certificate begins."""
UNREADABLE = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip
"""What `cryptography` raises for bytes that were changed."""
MAX_REQUEST = 16_384
"""The longest certificate request that is read, in bytes; ours have some 500."""


@dataclass(frozen=True)
class Issued:
    """A certificate, as the register keeps it."""

    pem: bytes
    common_name: str
    serial: str
    """In hexadecimal digits."""
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True)
class Revoked:
    """A certificate that no longer counts, and since when."""

    serial: str
    at: datetime


@dataclass(frozen=True)
class Request:
    """A certificate request whose signature is good: whoever sent it has the key."""

    common_name: str
    key: ec.EllipticCurvePublicKey
    der: bytes
    """The request itself: the same is signed once."""

    @property
    def key_pem(self) -> bytes:
        """The public key, for comparing."""
        return self.key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


class Authority:
    """The one who signs: its certificate, and the key that nobody else may read."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def found(cls, name: str, key_pem: bytes, days: int, now: datetime) -> Self:
        """A new authority that certifies its own key, for so many days.

        Raises:
            ConfigError: the name is too long for a certificate, or the bytes are no key of ours.
        """
        check_common_name(name)
        key = _private_key(key_pem)
        subject = _subject(name)
        builder = _builder(subject, subject, key.public_key(), now, days)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def open(cls, certificate_pem: bytes, key_pem: bytes) -> Self:
        """The authority of a certificate and its key.

        Raises:
            ConfigError: they cannot be read, or do not belong together.
        """
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            public = certificate.public_key()
        except UNREADABLE as error:
            raise ConfigError(f"the authority's certificate is no PEM: {_brief(error)}") from None
        key = _private_key(key_pem)
        if public != key.public_key():
            raise ConfigError("the authority's certificate and its key do not belong together")
        return cls(certificate, key)

    @property
    def pem(self) -> bytes:
        """The authority's certificate, which everybody trusts."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def not_after(self) -> datetime:
        """When the authority itself ends, and with it every certificate."""
        return self._certificate.not_valid_after_utc

    def issue_client(
        self, common_name: str, key: ec.EllipticCurvePublicKey, days: float, now: datetime
    ) -> Issued:
        """A certificate to connect with.

        Raises:
            ConfigError: the name is too long for a certificate.
        """
        return self._issue(common_name, key, days, now, ExtendedKeyUsageOID.CLIENT_AUTH, ())

    def issue_server(
        self,
        common_name: str,
        key: ec.EllipticCurvePublicKey,
        hosts: Sequence[str],
        days: float,
        now: datetime,
    ) -> Issued:
        """A certificate to be connected to under these host names and addresses; nobody connects with it.

        Raises:
            ConfigError: the name is too long, or a host is neither a name nor an address.
        """
        return self._issue(common_name, key, days, now, ExtendedKeyUsageOID.SERVER_AUTH, hosts)

    def revocation_list(self, revoked: Iterable[Revoked], now: datetime) -> bytes:
        """The CRL in PEM. It ends with the authority: a list past its date refuses everybody (RFC 5280, 6.3).

        Brokers read it from their own disk, where a newer one replaces it, so its date protects nothing.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - BACKDATED)
            .next_update(self.not_after)
            .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
        )
        for entry in sorted(revoked, key=lambda entry: entry.serial):
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(int(entry.serial, 16))
                .revocation_date(entry.at)
                .build()
            )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _issue(
        self,
        common_name: str,
        key: ec.EllipticCurvePublicKey,
        days: float,
        now: datetime,
        purpose: x509.ObjectIdentifier,
        hosts: Sequence[str],
    ) -> Issued:
        check_common_name(common_name)
        builder = _builder(_subject(common_name), self._certificate.subject, key, now, days, self.not_after)
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        return describe(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def make_key() -> bytes:
    """A new private key, ECDSA P-256, in PEM (PKCS #8), not encrypted."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_key(key_pem: bytes) -> ec.EllipticCurvePublicKey:
    """The public half of a private key.

    Raises:
        ConfigError: the bytes are no key of ours.
    """
    return _private_key(key_pem).public_key()


def describe(certificate_pem: bytes) -> Issued:
    """What a certificate says.

    Raises:
        ConfigError: the bytes are no certificate in PEM, or it names nobody.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        return Issued(
            pem=certificate_pem,
            common_name=_common_name(certificate.subject),
            serial=f"{certificate.serial_number:x}",
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )
    except UNREADABLE as error:
        raise ConfigError(f"no certificate in PEM: {_brief(error)}") from None


def unnamed(wanted: Iterable[str], certificate_pem: bytes) -> list[str]:
    """Those of some names and addresses that a server's certificate is not for.

    Raises:
        ConfigError: the bytes are no certificate in PEM, or a host is neither a name nor an address.
    """
    named = hosts(certificate_pem)
    return [host for host in wanted if str(_general_name(host).value) not in named]


def hosts(certificate_pem: bytes) -> list[str]:
    """The names and addresses that a server's certificate is for; none if it is no server's.

    Raises:
        ConfigError: the bytes are no certificate in PEM.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    except UNREADABLE as error:
        raise ConfigError(f"no certificate in PEM: {_brief(error)}") from None
    return [str(name.value) for name in names]


def _brief(error: Exception) -> str:
    """What a parser complains of, in one line."""
    return " ".join(str(error).split())


def read_request(data: bytes) -> Request:
    """Read a certificate request (CSR, RFC 2986; PEM or DER), of which only name and key are looked at.

    Raises:
        ConfigError: it is too long, cannot be read, was not signed with its own key, or the key is no P-256.
    """
    if len(data) > MAX_REQUEST:
        raise ConfigError(f"a request of {len(data)} bytes; at most {MAX_REQUEST} are read")
    is_pem = data.lstrip().startswith(b"-----BEGIN")
    try:
        request = x509.load_pem_x509_csr(data) if is_pem else x509.load_der_x509_csr(data)
        key = request.public_key()
        signed = request.is_signature_valid
        common_name = _common_name(request.subject)
    except UNREADABLE as error:
        raise ConfigError(f"no certificate request: {_brief(error)}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(
            "the request's key is not ECDSA P-256 (openssl: -newkey ec:<(openssl ecparam -name P-256))"
        )
    if not signed:
        raise ConfigError("the request was not signed with the key it is for")
    return Request(common_name, key, request.public_bytes(serialization.Encoding.DER))


def _private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"no private key in PEM: {_brief(error)}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError("the private key is not ECDSA P-256")
    return key


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    days: float,
    latest: datetime | None = None,
) -> x509.CertificateBuilder:
    end = now + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(end if latest is None else min(end, latest))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(found) != 1:
        raise ConfigError("the subject must have exactly one common name (CN)")
    return str(found[0].value)


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.partition("%")[0]))  # a zone means nothing elsewhere
    except ValueError:
        pass
    if not is_host(host):
        raise ConfigError(f"host {host!r}: neither an address nor a name")
    return x509.DNSName(host)


def utc_now() -> datetime:
    """The time now, in whole seconds, as certificates have it."""
    return datetime.now(UTC).replace(microsecond=0)
