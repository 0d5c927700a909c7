"""Certificates of devices: requests to the registrar, and its answers.

A device makes its key itself and asks for a certificate with a PKCS #10 request (RFC 2986, here "CSR"). For
the first certificate it uses a claim, which it got as a token; to renew, it uses its present certificate. It
connects to a listener that asks for a password instead of a certificate. The password gives access to one
pair of topics.

The device also makes the password for renewals. The registrar learns only what it needs to check the
password.
"""

import hashlib
import hmac
import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from fedge.wire.messages.fields import Detail, DeviceId, Digest
from fedge.wire.messages.message import Message, Part
from fedge.wire.topics import DEVICE_ID

PORT = 8884
"""The port for clients without a certificate, and for renewals."""
CLAIM = r"^claim-[0-9a-f]{8}$"
"""The pattern of the names of claims."""
SALT_BYTES, HASH_BYTES = 12, 64
ITERATIONS = 101
"""The number that `mosquitto_passwd` uses. More would only slow the broker: passwords are 256 random bits."""
MAX_COMMON_NAME = 64
"""The longest common name of a certificate (RFC 5280, ub-common-name)."""
MAX_CSR = 4_096
MAX_CERTIFICATE = 8_192

ClaimName = Annotated[str, Field(pattern=CLAIM)]
Refused = Literal[
    "unknown_claim",
    "claim_expired",
    "claim_used_up",
    "wrong_proof",
    "bad_request",
    "name_taken",
    "revoked",
    "unknown_certificate",
    "certificate_expired",
    "too_often",
]
"""Reasons of the registrar for a refusal."""


def identity(federation: str, device: str) -> str:
    """Return a device's common name in its certificate, which is also its user name and its client id.

    >>> identity("greenhouse", "pi-1")
    'greenhouse_pi-1'
    """
    return f"{federation}_{device}"


def claim_user(federation: str, claim: str) -> str:
    """Return the user name for joining with a claim.

    >>> claim_user("greenhouse", "claim-0a1b2c3d")
    'greenhouse__claim-0a1b2c3d'
    """
    return f"{federation}__{claim}"


def renewal_user(federation: str, device: str) -> str:
    """Return the user name with which a device renews its certificate.

    >>> renewal_user("greenhouse", "pi-1")
    'greenhouse_pi-1__renew'
    """
    return f"{federation}_{device}__renew"


def may_name_a_device(name: str) -> bool:
    """Whether this may be the id of a device. Topics must allow it, and it must not look like the name of a
    claim, whose topics it would share."""
    return re.fullmatch(DEVICE_ID.strip("^$"), name) is not None and re.match(CLAIM, name) is None


def fits_a_certificate(federation: str, device: str) -> bool:
    """Whether a certificate can hold the name of this device of this federation.

    >>> fits_a_certificate("f" * 27, "d" * 36), fits_a_certificate("f" * 28, "d" * 36)
    (True, False)
    """
    return len(identity(federation, device)) <= MAX_COMMON_NAME


class Verifier(Part):
    """The hash that is stored to check a password: PBKDF2-HMAC-SHA512 (RFC 8018), `ITERATIONS` times."""

    salt: bytes = Field(min_length=SALT_BYTES, max_length=SALT_BYTES)
    hash: bytes = Field(min_length=HASH_BYTES, max_length=HASH_BYTES)

    @classmethod
    def of(cls, password: str, salt: bytes) -> Self:
        """Make the verifier of a password; `salt` must be random."""
        return cls(salt=salt, hash=hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS))


class Enrol(Message):
    """A device that has a claim asks for its first certificate."""

    TYPE: ClassVar[str] = "enrol"

    device: DeviceId
    csr: bytes = Field(min_length=1, max_length=MAX_CSR)
    """The request, in DER. Only its public key is used."""
    renewal: Verifier
    """The hash of the password with which the device will renew."""
    proof: Digest
    """`enrolment_proof`, which proves that the sender has the token, and that nobody changed the request."""


class Renew(Message):
    """A device asks for its next certificate."""

    TYPE: ClassVar[str] = "renew"

    csr: bytes = Field(min_length=1, max_length=MAX_CSR)
    """The request, in DER."""
    certificate: bytes = Field(min_length=1, max_length=MAX_CERTIFICATE)
    """The present certificate, in DER."""
    signature: bytes = Field(min_length=1, max_length=256)
    """ECDSA with SHA-256 by the present key over `renewal_statement`. So a password alone renews nothing."""


class Issued(Message):
    """The registrar's answer: a certificate, or the reason why there is none."""

    TYPE: ClassVar[str] = "issued"

    csr: Digest
    """SHA-256 of the answered request, because devices that share a claim share its topics."""
    certificate: bytes | None = Field(default=None, max_length=MAX_CERTIFICATE)
    """The certificate, in DER. The same request always gets the same certificate."""
    refused: Refused | None = None
    """The reason for a refusal, for programs."""
    detail: Detail = ""
    """The reason for a refusal, for people."""

    @model_validator(mode="after")
    def _check(self) -> "Issued":
        if (self.certificate is None) == (self.refused is None):
            raise ValueError("an answer holds either a certificate or the reason why there is none")
        return self


def enrolment_proof(key: bytes, federation: str, device: str, csr: bytes, renewal: Verifier) -> bytes:
    """Compute the HMAC-SHA256 of a whole request with a claim; `key` is the token's `proof_key`."""
    statement = b"\0".join(
        (f"fedge/v1/{federation}/enrol/{device}".encode(), digest(csr) + renewal.salt + renewal.hash)
    )
    return hmac.digest(key, statement, "sha256")


def renewal_statement(federation: str, device: str, csr: bytes) -> bytes:
    """Return the bytes that the present key signs to renew its certificate."""
    return f"fedge/v1/{federation}/renew/{device}".encode() + b"\0" + digest(csr)


def digest(csr: bytes) -> bytes:
    """Compute the SHA-256 of a request, by which the registrar recognises the same request."""
    return hashlib.sha256(csr).digest()
