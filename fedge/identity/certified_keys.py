"""Signatures with the keys of certificates: ECDSA on P-256 with SHA-256 (FIPS 186-5), as 64 bytes r, s.

`cryptography` is imported only when used.
"""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from fedge.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.x509 import Certificate

HALF = 32
"""The bytes of r, and of s."""
MAX_CERTIFICATE = 4_096
"""The most bytes of a certificate that is read; those of `fedge enroll` have some 500."""
REMEMBERED = 1_024
"""So many certificates that an authority has signed, and keys, are remembered: more than a cohort has. One of
`fedge enroll` takes 1 KB. When it is valid is looked at each time."""
_PRIVATE = re.compile(rb"-----BEGIN (EC )?PRIVATE KEY-----.*?-----END (EC )?PRIVATE KEY-----", re.DOTALL)
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)


class OwnKey:
    """The key of our own certificate."""

    def __init__(self, certificate: bytes, key: "EllipticCurvePrivateKey") -> None:
        self.certificate = certificate
        """In DER."""
        self._key = key

    @property
    def public(self) -> bytes:
        """Its public half, a compressed point of 33 bytes."""
        return _compressed(self._key.public_key())

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`, 64 bytes."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        r, s = decode_dss_signature(self._key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(HALF, "big") + s.to_bytes(HALF, "big")


def read_own(certificate: Path, key: Path) -> OwnKey:
    """Read our own certificate and its key, both PEM, perhaps in one file.

    Raises:
        ConfigError: a file cannot be read, or holds something else.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    found = _PRIVATE.search(_read(key))
    try:
        private = serialization.load_pem_private_key(found[0] if found else b"", password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{key}: holds no private key in PEM without a password") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
        raise ConfigError(
            f"{key}: secure aggregation signs with ECDSA P-256, and this key is of another kind"
        )
    return OwnKey(_der(certificate), private)


class Authority:
    """The authority that has signed the certificates of all devices.

    Args:
        path: its certificate, PEM.

    Raises:
        ConfigError: the file cannot be read, or holds no certificate.
    """

    def __init__(self, path: Path) -> None:
        self._der = _der(path)
        found = _certificate_of(self._der)
        if found is None:
            raise ConfigError(f"{path}: holds no certificate that can be read")
        self._certificate = found

    def key_of(self, certificate: bytes, name: str, now: datetime | None) -> bytes | str:
        """The public key of a client's certificate, as a compressed point of 33 bytes; a text: why not.

        Whether it was revoked is not looked up here (`revoked`).

        Args:
            certificate: in DER.
            name: the common name that it must have.
            now: when it must be valid, with a zone; None: whenever.
        """
        try:
            found = _client(self._der, certificate)
        except ValueError as error:
            return str(error)
        if found.names != (name,) or not found.is_client:
            return f"the certificate is not that of the client {name}"
        if now is not None and not found.begins <= now <= found.ends:
            return f"the certificate is valid until {found.ends:%Y-%m-%d}, and not now"
        return found.key

    def revoked(self, path: Path) -> frozenset[int]:
        """The serial numbers of a revocation list of this authority (RFC 5280, section 5).

        Args:
            path: PEM, as `fedge init` and `fedge revoke` write `broker/crl.pem`.

        Raises:
            ConfigError: the file cannot be read, or holds no list that this authority has signed.
        """
        from cryptography import x509
        from cryptography.exceptions import UnsupportedAlgorithm

        try:
            found = x509.load_pem_x509_crl(_read(path))
            signed = found.is_signature_valid(self._certificate.public_key())  # type: ignore[arg-type] # raises a TypeError for keys that sign no lists
            numbers = frozenset(each.serial_number for each in found)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ConfigError(f"{path}: holds no revocation list in PEM") from None
        if not signed:
            raise ConfigError(f"{path}: another authority has signed this revocation list")
        return numbers


def serial_of(certificate: bytes) -> int | None:
    """The serial number of a certificate in DER; None: the bytes are no certificate."""
    found = _certificate_of(certificate)
    return None if found is None else found.serial_number


def fingerprint(public: bytes) -> str:
    """SHA-256 of a key's SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7) in hexadecimal digits.

    `openssl x509 -in identity.pem -pubkey -noout | openssl pkey -pubin -outform der | sha256sum` prints it.

    Args:
        public: a compressed point of P-256.
    """
    from cryptography.hazmat.primitives import serialization

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return sha256(_point(public).public_bytes(serialization.Encoding.DER, form)).hexdigest()


def verify(public: bytes, data: bytes, signature: bytes) -> bool:
    """Whether the key with this public half, a compressed point, has signed `data`."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    if len(signature) != 2 * HALF:
        return False
    r, s = int.from_bytes(signature[:HALF], "big"), int.from_bytes(signature[HALF:], "big")
    try:
        _point(public).verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def verifier(keys: "dict[str, bytes]") -> Callable[[str, bytes, bytes], bool]:
    """A function that verifies a device's signature: device, data, signature."""
    return lambda device, data, signature: device in keys and verify(keys[device], data, signature)


def forget() -> None:
    """Forget what was remembered of certificates and keys: the next check of each takes its whole time."""
    _client.cache_clear()
    _point.cache_clear()


@dataclass(frozen=True)
class _Client:
    """What a certificate says that an authority has signed."""

    names: tuple[str, ...]
    is_client: bool
    begins: datetime
    ends: datetime
    key: bytes


@lru_cache(maxsize=REMEMBERED)
def _client(authority: bytes, certificate: bytes) -> _Client:
    """Read a certificate, both in DER. What is refused is not remembered, and so takes no memory.

    Raises:
        ValueError: this authority has not signed it, or it is of another kind; says which.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    issuer, found = _certificate_of(authority), _certificate_of(certificate)
    if found is None or issuer is None:
        raise ValueError("the bytes are no certificate")
    try:
        found.verify_directly_issued_by(issuer)
        usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        names = [each.value for each in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        key = found.public_key()
    except (
        *(InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError),
        *(x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType),
    ):
        raise ValueError("our authority has not signed this certificate for a client") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("the certificate's key is not ECDSA P-256")  # noqa: TRY004 # refused like the others
    return _Client(
        names=tuple(str(name) for name in names),
        is_client=ExtendedKeyUsageOID.CLIENT_AUTH in usage,
        begins=found.not_valid_before_utc,
        ends=found.not_valid_after_utc,
        key=_compressed(key),
    )


def _compressed(key: "EllipticCurvePublicKey") -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)


@lru_cache(maxsize=REMEMBERED)
def _point(public: bytes) -> "EllipticCurvePublicKey":
    """The key of a compressed point: to find the point takes a third of the time of a signature's check.

    Raises:
        ValueError: there is no such point.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)


def _certificate_of(der: bytes) -> "Certificate | None":
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    if len(der) > MAX_CERTIFICATE:
        return None
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        return None


def _der(path: Path) -> bytes:
    found = _CERTIFICATE.search(_read(path))
    try:
        return base64.b64decode(b"".join(found[1].split()), validate=True) if found else b""
    except ValueError:
        return b""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
