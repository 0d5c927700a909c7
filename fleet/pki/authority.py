"""The federation's certificate authority: X.509 certificates and the list of revoked ones (RFC 5280).

Certificates begin a day in the past, because a Raspberry Pi has no clock and may be some hours behind until
it gets the time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedge.errors import ConfigError
from fleet.pki.certificates import UNREADABLE, Issued, brief, describe, general_name
from fleet.pki.identity import check_common_name
from fleet.pki.keys import private_key

BACKDATED = timedelta(days=1)
"""How far before now a certificate begins."""


@dataclass(frozen=True)
class Revoked:
    """A revoked certificate, and since when."""

    serial: str
    at: datetime


class Authority:
    """The authority's certificate and key; nobody else may read the key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def found(cls, name: str, key_pem: bytes, days: int, now: datetime) -> Self:
        """A new authority that certifies its own key, for a number of days.

        Raises:
            ConfigError: the name is too long for a certificate, or the bytes are not an ECDSA P-256 key.
        """
        check_common_name(name)
        key = private_key(key_pem)
        subject = _subject(name)
        builder = _builder(subject, subject, key.public_key(), now, days)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def open(cls, certificate_pem: bytes, key_pem: bytes) -> Self:
        """The authority with this certificate and key.

        Raises:
            ConfigError: they cannot be read, or do not belong together.
        """
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            public = certificate.public_key()
        except UNREADABLE as error:
            raise ConfigError(f"the authority's certificate is no PEM: {brief(error)}") from None
        key = private_key(key_pem)
        if public != key.public_key():
            raise ConfigError("the authority's certificate and its key do not belong together")
        return cls(certificate, key)

    @property
    def pem(self) -> bytes:
        """The authority's certificate, which everybody trusts."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def not_after(self) -> datetime:
        """When the authority's own certificate ends, and with it every other one."""
        return self._certificate.not_valid_after_utc

    def issue_client(
        self, common_name: str, key: ec.EllipticCurvePublicKey, days: float, now: datetime
    ) -> Issued:
        """A certificate for a client.

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
        """A certificate for a server with these host names and addresses; it is not valid for a client.

        Raises:
            ConfigError: the name is too long, or a host is neither a name nor an address.
        """
        return self._issue(common_name, key, days, now, ExtendedKeyUsageOID.SERVER_AUTH, hosts)

    def revocation_list(self, revoked: Iterable[Revoked], now: datetime) -> bytes:
        """The CRL in PEM. Its end is the authority's own: an expired list makes a broker refuse everybody.

        See RFC 5280, section 6.3. Brokers read the list from their own disk, where a newer one replaces it,
        so an earlier end would protect nothing.
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
            names = x509.SubjectAlternativeName([general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        return describe(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


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
