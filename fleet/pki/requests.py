"""Certificate requests: the name and the key of the requester."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fedge.errors import ConfigError
from fleet.pki.certificates import UNREADABLE, brief, name_of

MAX_REQUEST = 16_384
"""The longest certificate request that is read, in bytes; ours have some 500."""


@dataclass(frozen=True)
class Request:
    """A certificate request with a valid signature, so that its sender has the key."""

    common_name: str
    key: ec.EllipticCurvePublicKey
    der: bytes
    """The bytes of the request; the same request is signed once."""

    @property
    def key_pem(self) -> bytes:
        """The public key, for comparing."""
        return self.key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


def read_request(data: bytes) -> Request:
    """Read a certificate request (CSR, RFC 2986; PEM or DER); only its name and key are used.

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
        common_name = name_of(request.subject)
    except UNREADABLE as error:
        raise ConfigError(f"no certificate request: {brief(error)}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(
            "the request's key is not ECDSA P-256 (openssl: -newkey ec:<(openssl ecparam -name P-256))"
        )
    if not signed:
        raise ConfigError("the request was not signed with the key it is for")
    return Request(common_name, key, request.public_bytes(serialization.Encoding.DER))
