"""Generations and rounds in the ledger, as values."""

from dataclasses import dataclass

from fedge.wire.freshness import RoundId
from fedge.wire.messages.manifest import Cohort


@dataclass(frozen=True)
class LedgerMeta:
    """The identity of a ledger, and what is learnt in it."""

    ledger: bytes
    generation: int
    model_fingerprint: str
    """What must not change within a generation: features, outputs, layers, as JSON."""


@dataclass(frozen=True)
class OpenRound:
    """An open round."""

    round: RoundId
    kind: str
    attempt: int
    cohorts: tuple[Cohort, ...]
    """By attempt; the last one is also that of all further attempts."""
    elapsed_s: float
    quorum: int | None = None
    """The updates that it takes, where the rule is a share of the devices."""
    parts: str | None = None
    """The parts of its algorithm, as `aggregator.core.parts` reads them; None: none are known."""


@dataclass(frozen=True)
class Beginning:
    """How round 0 of a generation without a survey was made."""

    source: RoundId
    """The round whose model it began with."""
    last: int
    """The last round that was computed again on top of that; the source's own number if none was."""
    without: tuple[str, ...] = ()
    """Devices that were left out of the rounds after the source's, up to `last`."""
    survey: int | None = None
    """The generation whose survey made the frozen layers; None: a program before layout 6 went on."""
    survey_without: tuple[str, ...] = ()
    """Devices that were left out of that survey, over all times that it was merged again."""
