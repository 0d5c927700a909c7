"""An enrolment token: everything that a device needs to join, in one line.

Two keys are derived from its secret (HMAC-SHA256): the password, which the broker sees, and the key of the
proof, which it does not see. So an attacker in the broker cannot get certificates with the claims it saw.
"""

import base64
import hmac
import secrets
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedge.errors import ConfigError
from fedge.identity.provisioning import PORT, ClaimName, claim_user
from fedge.wire.topics import FEDERATION

PREFIX = "fedge1."
"""The beginning of a token. The digit is the version of the rest."""


def new_secret() -> str:
    """Return 32 random bytes in base64url."""
    return secrets.token_urlsafe(32)


class Token(BaseModel):
    """What a device needs to join: where to ask, whom to trust, and the secret of a claim."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    federation: str = Field(pattern=FEDERATION)
    host: str = Field(min_length=1, max_length=253)
    port: int = Field(ge=1, le=65_535)
    """The listener for clients with a certificate."""
    provisioning_port: int = Field(default=PORT, ge=1, le=65_535)
    """The listener for requests."""
    claim: ClaimName
    secret: str = Field(pattern=r"^[A-Za-z0-9_-]{43}$")
    """32 random bytes in base64url."""
    ca: str = Field(max_length=16_384)
    """The authority's certificate, PEM."""
    signing: str = Field(max_length=4_096)
    """The public key of the aggregator's signatures, as in `signing.pub`."""
    settings: str = Field(default="", max_length=16_384)
    """The TOML that the `agent.toml` of every device has besides its identity: `[data]` and so on."""

    @property
    def user(self) -> str:
        """The user name of the claim."""
        return claim_user(self.federation, self.claim)

    @property
    def password(self) -> str:
        """The password of the claim's user."""
        return base64.urlsafe_b64encode(self._key(b"password")).decode().rstrip("=")

    @property
    def proof_key(self) -> bytes:
        """The key of `enrolment_proof`; the registrar keeps this hash, not the secret."""
        return self._key(b"proof")

    def _key(self, purpose: bytes) -> bytes:
        return hmac.digest(base64.urlsafe_b64decode(self.secret + "="), b"fedge claim " + purpose, "sha256")

    def text(self) -> str:
        """Write the token as one line. It is secret: bring it to the device where others cannot read it."""
        content = self.model_dump_json(exclude_none=True).encode()
        return PREFIX + base64.urlsafe_b64encode(content).decode().rstrip("=")

    @classmethod
    def read(cls, text: str) -> Self:
        """Read a token: the inverse of `text`.

        Raises:
            ConfigError: the text is not a token, was cut short, or is of a later version. The error does not
                quote the secret.
        """
        text = "".join(text.split())  # a mail program may have folded the line
        if not text.startswith(PREFIX):
            raise ConfigError(
                f"this is not a token: it must begin with {PREFIX!r}, as `fedge enroll --token` prints it"
            )
        body = text[len(PREFIX) :]
        try:
            content = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
            return cls.model_validate_json(content)
        except ValidationError as error:
            wrong = {str(part) for detail in error.errors(include_url=False) for part in detail["loc"]}
            if wrong:
                raise ConfigError(
                    f"this token cannot be read: {', '.join(sorted(wrong))}: missing or wrong; copy the "
                    "whole line, and install the version of Fedge that the server has"
                ) from None
        except ValueError:
            pass
        raise ConfigError("this token was changed or cut short; copy the whole line that was printed")
