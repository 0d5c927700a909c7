"""A device's key, its request for a certificate, and its certificate. All imports of `cryptography` are here.

Keys are ECDSA P-256. A key is made on the device and never leaves it. Debian 12 has cryptography 38 for
boards without wheels. This module implements what that version lacks: comparing keys, and dates with a zone.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fedge.errors import ConfigError

_ENCODING = serialization.Encoding


@dataclass(frozen=True)
class KeyAndRequest:
    """A new key, and the request for its certificate (PKCS #10, RFC 2986)."""

    key: ec.EllipticCurvePrivateKey
    request: x509.CertificateSigningRequest

    @classmethod
    def make(cls, common_name: str) -> "KeyAndRequest":
        """Make a key, and the request for this common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        return cls(key, x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256()))

    @classmethod
    def read(cls, pem: bytes) -> "KeyAndRequest":
        """Read what `pem` wrote.

        Raises:
            ValueError: the text is something else, or the request is for another key.
        """
        key = serialization.load_pem_private_key(pem, password=None)
        request = x509.load_pem_x509_csr(pem)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not belong(key, request):
            raise ValueError("the request is for another key")
        return cls(key, request)

    @property
    def pem(self) -> bytes:
        """The key, followed by the request, in PEM."""
        return _key_pem(self.key) + self.csr_pem

    @property
    def csr(self) -> bytes:
        """The request alone, in DER."""
        return self.request.public_bytes(_ENCODING.DER)

    @property
    def csr_pem(self) -> bytes:
        """The request alone, in PEM."""
        return self.request.public_bytes(_ENCODING.PEM)

    @property
    def common_name(self) -> str:
        """The common name in the request."""
        return _common_name(self.request.subject)

    def identity(self, certificate: bytes, ca_pem: bytes, common_name: str) -> bytes:
        """Return the content of `identity.pem`: the key, followed by this certificate if it is the right one.

        Dates are not checked, because a device without a clock must be able to join.

        Args:
            certificate: the certificate, in DER or PEM.
            ca_pem: the certificate of the authority that this device trusts.
            common_name: the name that the certificate must have.

        Raises:
            ConfigError: this is not a certificate, or it is of another authority, name or key.
        """
        try:
            given = _load(certificate)
            _require_issued_by(x509.load_pem_x509_certificate(ca_pem), given)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            raise ConfigError(
                "the answer is not a certificate of the authority that this device trusts"
            ) from None
        if not belong(self.key, given):
            raise ConfigError("the certificate is for another key than the one made on this device")
        if _common_name(given.subject) != common_name:
            raise ConfigError(f"the certificate is for {_common_name(given.subject)!r}, not {common_name!r}")
        return _key_pem(self.key) + given.public_bytes(_ENCODING.PEM)


@dataclass(frozen=True)
class Present:
    """A device's present identity."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def read(cls, path: Path) -> "Present":
        """Read `identity.pem`.

        Raises:
            ConfigError: the file cannot be read, or does not hold a key followed by its certificate.
        """
        try:
            pem = path.read_bytes()
            key = serialization.load_pem_private_key(pem, password=None)
            certificate = x509.load_pem_x509_certificate(pem)
            ours = isinstance(key, ec.EllipticCurvePrivateKey) and belong(key, certificate)
            present = cls(cast(ec.EllipticCurvePrivateKey, key), certificate)
            _ = present.common_name, present.life  # `cryptography` parses them only now
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
            raise ConfigError(
                f"{path}: does not hold a private key followed by its certificate, in PEM"
            ) from None
        if not ours:
            raise ConfigError(f"{path}: the certificate is for another key")
        return present

    @property
    def der(self) -> bytes:
        """The certificate, in DER."""
        return self.certificate.public_bytes(_ENCODING.DER)

    @property
    def common_name(self) -> str:
        """The certificate's common name."""
        return _common_name(self.certificate.subject)

    @property
    def not_after(self) -> datetime:
        """The end of its validity."""
        return _date(self.certificate, "not_valid_after")

    @property
    def life(self) -> timedelta:
        """Its whole lifetime."""
        return self.not_after - _date(self.certificate, "not_valid_before")

    def sign(self, statement: bytes) -> bytes:
        """Sign a statement with ECDSA and SHA-256."""
        return self.key.sign(statement, ec.ECDSA(hashes.SHA256()))


def _load(certificate: bytes) -> x509.Certificate:
    if certificate.lstrip().startswith(b"-----BEGIN"):
        return x509.load_pem_x509_certificate(certificate)
    return x509.load_der_x509_certificate(certificate)


def belong(key: ec.EllipticCurvePrivateKey, given: x509.Certificate | x509.CertificateSigningRequest) -> bool:
    """Whether the certificate or request belongs to this key."""
    spki = (_ENCODING.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return given.public_key().public_bytes(*spki) == key.public_key().public_bytes(*spki)


def _require_issued_by(authority: x509.Certificate, given: x509.Certificate) -> None:
    """Raise an InvalidSignature or ValueError unless this authority has signed the certificate."""
    key, algorithm = authority.public_key(), given.signature_hash_algorithm
    if (
        given.issuer != authority.subject
        or not isinstance(key, ec.EllipticCurvePublicKey)
        or algorithm is None
    ):
        raise ValueError("the certificate is of another authority")
    key.verify(given.signature, given.tbs_certificate_bytes, ec.ECDSA(algorithm))


def _date(certificate: x509.Certificate, name: str) -> datetime:
    """Return `not_valid_before` or `not_valid_after`. A date without a zone is UTC."""
    if hasattr(certificate, f"{name}_utc"):
        found: datetime = getattr(certificate, f"{name}_utc")
        return found
    return getattr(certificate, name).replace(tzinfo=UTC)  # type: ignore[no-any-return]


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_ENCODING.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _common_name(name: x509.Name) -> str:
    return "".join(str(part.value) for part in name.get_attributes_for_oid(NameOID.COMMON_NAME))
