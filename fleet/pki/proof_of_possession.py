"""Check that the sender of a certificate has its key (ECDSA with SHA-256, FIPS 186-5)."""

import ssl
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from fedge.errors import ProtocolError


@dataclass(frozen=True)
class ShownCertificate:
    """A certificate as it arrived; another authority may have issued it."""

    serial: str
    """In hexadecimal digits, as in the register."""
    _der: bytes
    _key: ec.EllipticCurvePublicKey

    @classmethod
    def read(cls, der: bytes) -> "ShownCertificate":
        """Read the bytes.

        Raises:
            ProtocolError: they are no certificate with an elliptic-curve key.
        """
        try:
            certificate = x509.load_der_x509_certificate(der)
            key = certificate.public_key()
            serial = certificate.serial_number
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
            raise ProtocolError("the bytes shown are not a certificate") from None
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ProtocolError("the certificate shown has no elliptic-curve key")
        return cls(f"{serial:x}", der, key)

    def is_same(self, pem: bytes) -> bool:
        """Whether this is, byte for byte, the certificate in `pem`."""
        return self._der == ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))

    def signed(self, statement: bytes, signature: bytes) -> bool:
        """Whether its key signed the statement."""
        try:
            self._key.verify(signature, statement, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return True
