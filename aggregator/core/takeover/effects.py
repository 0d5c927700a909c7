"""What a takeover does: the machine lists these, `aggregator.shell.leader_check` performs them."""

from dataclasses import dataclass

from aggregator.core.presence import LeaderCheck


@dataclass(frozen=True)
class Subscribe:
    """Subscribe to the service, the announcement and the statuses of the federation."""


@dataclass(frozen=True)
class GiveWay:
    """End: another aggregator serves this federation."""

    text: str


@dataclass(frozen=True)
class Abort:
    """End: the ledger does not fit what was seen; `later`: statuses that come later may change that."""

    text: str
    later: bool = False


@dataclass(frozen=True)
class TakeUp:
    """Enough has been seen, and the ledger fits: serve."""

    watch: LeaderCheck
    generation: int | None = None
    """The generation to begin; None: go on with the ledger's."""
    incredible: frozenset[str] = frozenset()
    """Devices with claims that cannot be true, which were logged."""


@dataclass(frozen=True)
class Log:
    """Write one line into the log."""

    level: str
    text: str


Effect = Subscribe | GiveWay | Abort | TakeUp | Log
