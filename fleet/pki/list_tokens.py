"""`fedge tokens`: list the tokens that were made, their remaining uses, and which devices used them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from fleet.pki.claims import Claims
from fleet.pki.decision import Claim
from fleet.pki.folder import FederationFolder
from fleet.pki.identity import Identity
from fleet.pki.register import Register


@dataclass(frozen=True)
class ListedToken:
    """One claim, as shown to people; only the holder of its token has the secret."""

    claim: Claim
    devices: tuple[str, ...]
    """The ids of the devices that joined with it."""

    @property
    def ends(self) -> datetime:
        """Until when devices may join with it."""
        return datetime.fromtimestamp(self.claim.expires_at_s, UTC)

    def state(self, now: datetime) -> str:
        """`withdrawn`, `ended`, `used up`, or `open`."""
        if self.claim.revoked:
            return "withdrawn"
        if self.ends <= now:
            return "ended"
        return "used up" if self.claim.used >= self.claim.uses else "open"


def tokens(folder: FederationFolder) -> list[ListedToken]:
    """All tokens of the folder's federation, in the order of their ends.

    Raises:
        ConfigError: this is no federation's folder.
        StateError: the register cannot be read.
    """
    federation = folder.federation()
    with Register(folder.register) as register:
        claims = Claims(register)
        listed = [
            ListedToken(kept.claim, tuple(map(_device, claims.enrolled(kept.claim.name))))
            for kept in claims.of(federation)
        ]
    return sorted(listed, key=lambda token: token.claim.expires_at_s)


def as_json(listed: Sequence[ListedToken], now: datetime) -> list[dict[str, Any]]:
    """One object for each token; times in ISO 8601."""
    return [
        {
            "claim": token.claim.name,
            "state": token.state(now),
            "uses": token.claim.uses,
            "uses_left": token.claim.uses - token.claim.used,
            "expires": token.ends.isoformat(timespec="seconds"),
            "devices": list(token.devices),
        }
        for token in listed
    ]


def show(listed: Sequence[ListedToken], now: datetime, console: Console) -> None:
    """Print the table."""
    table = Table(box=None, pad_edge=False)
    for column in ("claim", "token", "uses left", "until"):
        table.add_column(column, no_wrap=True)
    table.add_column("who joined with it")
    for token in listed:
        table.add_row(
            token.claim.name,
            token.state(now),
            f"{token.claim.uses - token.claim.used} of {token.claim.uses}",
            f"{token.ends:%Y-%m-%d %H:%M} UTC",
            ", ".join(token.devices),
        )
    console.print(table, highlight=False)


def _device(name: str) -> str:
    identity = Identity.parse(name)
    return name if identity is None else str(identity.device)
