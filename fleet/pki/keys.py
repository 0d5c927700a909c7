"""Private keys: ECDSA P-256, in PEM. Nothing here touches a file."""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fedge.errors import ConfigError
from fleet.pki.certificates import brief


def make_key() -> bytes:
    """A new private key, ECDSA P-256, in PEM (PKCS #8), not encrypted."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_key(key_pem: bytes) -> ec.EllipticCurvePublicKey:
    """The public half of a private key.

    Raises:
        ConfigError: the bytes are not an ECDSA P-256 key.
    """
    return private_key(key_pem).public_key()


def private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Read a private key, ECDSA P-256, from PEM.

    Raises:
        ConfigError: the bytes are no such key.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"no private key in PEM: {brief(error)}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError("the private key is not ECDSA P-256")
    return key
