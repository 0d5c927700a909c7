"""`[renewal]` of `agent.toml`."""

from pathlib import Path

from pydantic import Field

from fedge.identity.provisioning import PORT
from fedge.service.settings import LocalPath, Section


class RenewalSettings(Section):
    """`[renewal]`: how `fedge-agent renew` renews the certificate."""

    port: int = Field(default=PORT, ge=1, le=65_535)
    """The broker's listener for clients that ask for a certificate."""
    password_file: LocalPath = Path("renewal.password")
    """A file whose first line is the password for that listener."""
