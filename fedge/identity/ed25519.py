"""Ed25519 keys and signatures. `cryptography` is imported only when used.

RFC 8032 defines the signatures, RFC 8410 the form of the keys in PEM files.
"""

import base64
import binascii
import re
from pathlib import Path
from typing import TYPE_CHECKING

from fedge.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64

_PUBLIC_PREFIX = bytes.fromhex("302a300506032b6570032100")
"""The DER bytes before the 32 bytes of a key: an algorithm without parameters, a bit string."""
_PRIVATE_PEM = re.compile(rb"-----BEGIN PRIVATE KEY-----.*?-----END PRIVATE KEY-----\n?", re.DOTALL)
_PUBLIC_PEM = re.compile(r"\s*-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*")


class SigningKey:
    """A private key."""

    def __init__(self, key: "Ed25519PrivateKey") -> None:
        self._key = key

    @property
    def public(self) -> bytes:
        """The 32 bytes of the public key."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of the signature of `data`."""
        return self._key.sign(data)

    def to_pem(self) -> bytes:
        """The key as a PEM file, not encrypted (PKCS #8)."""
        from cryptography.hazmat.primitives import serialization

        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def generate() -> SigningKey:
    """Make a new private key, from the system's randomness."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return SigningKey(Ed25519PrivateKey.generate())


def read_signing_key(path: Path) -> SigningKey:
    """Read a private key from its PEM file. Other content of the file is ignored.

    Raises:
        ConfigError: the file cannot be read or holds no Ed25519 key, or `cryptography` is not installed.
    """
    require(f"the signing key {path}", "aggregator")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        found = _PRIVATE_PEM.search(path.read_bytes())
        key = serialization.load_pem_private_key(found[0] if found else b"", password=None)
    except OSError as error:
        raise ConfigError(f"{path}: the signing key cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(
            f"{path}: holds no private key in PEM without a password; `fedge init` makes one"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: the key is of another kind; models are signed with Ed25519")
    return SigningKey(key)


def read_public_key(path: Path) -> bytes:
    """Return the 32 bytes of the public key in a PEM file. This does not need `cryptography`.

    Raises:
        ConfigError: the file cannot be read, or holds no Ed25519 public key.
    """
    try:
        text = path.read_text(encoding="ascii")
    except OSError as error:
        raise ConfigError(f"{path}: the public key cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    found = _PUBLIC_PEM.fullmatch(text)
    try:
        der = base64.b64decode("".join(found[1].split()), validate=True) if found else b""
    except binascii.Error:
        der = b""
    if len(der) != len(_PUBLIC_PREFIX) + PUBLIC_BYTES or not der.startswith(_PUBLIC_PREFIX):
        raise ConfigError(
            f"{path}: holds no Ed25519 public key in PEM; use signing.pub of the federation's folder"
        )
    return der.removeprefix(_PUBLIC_PREFIX)


def public_pem(public: bytes) -> bytes:
    """Return the PEM file of a public key of 32 bytes: the inverse of `read_public_key`."""
    text = base64.b64encode(_PUBLIC_PREFIX + public).decode("ascii")
    return f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n".encode("ascii")


def verify(public: bytes, signature: bytes, data: bytes) -> bool:
    """Whether `signature` is a signature of `data` by the key with the public half `public`."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if len(public) != PUBLIC_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def require(what_for: str, extra: str) -> None:
    """Check that `cryptography` is installed, which makes and checks signatures.

    Args:
        what_for: what needs it, for the message.
        extra: the extra of Fedge that installs it.

    Raises:
        ConfigError: it is not installed; the text names the extra.
    """
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401
    except ImportError:
        raise ConfigError(
            f"{what_for} needs the extra {extra!r} (no module 'cryptography'): pip install 'fedge[{extra}]'"
        ) from None
