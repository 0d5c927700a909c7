"""Generations and rounds in the ledger, as values."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
    """How long the open attempt has lasted, in seconds with a connection."""
    quorum: int | None = None
    """The number of updates that close it; None: `[rounds] quorum` is that number."""
    parts: str | None = None
    """The parts of its algorithm, as `aggregator.core.parts` reads them; None: unknown."""


class SavedCoding(NamedTuple):
    """The coding of a round's model (`aggregator.aggregation.codings`)."""

    codec: str
    coded: bytes
    """The digest of the message of its coded form."""
    key: bytes | None
    """The digest of the key frame; None: it needs none."""
    errors: bytes
    """What the announced vectors lack of the master's, as named arrays."""
    digest: bytes
    """Of all this."""


@dataclass(frozen=True)
class Beginning:
    """How round 0 of a generation without a survey was made."""

    source: RoundId
    """The round whose model it began with."""
    last: int
    """The number of the last round that was computed again after it; the source's own number if none was."""
    without: tuple[str, ...] = ()
    """Devices that were left out of the rounds after the source's, up to `last`."""
    survey: int | None = None
    """The generation whose survey made the frozen layers; None: unknown, after a program before layout 7."""
    survey_without: tuple[str, ...] = ()
    """Devices that were left out of that survey, in this generation or in one before it."""


@dataclass(frozen=True, eq=False)
class GroupSum:
    """The sum of one group of a masked round."""

    weight: int
    devices: tuple[str, ...]
    levels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MaskedSum:
    """The sum of a masked round, and how it becomes a mean."""

    weight: int
    """Σ weight."""
    value_bits: int
    clip: float
    devices: tuple[str, ...]
    """The survivors, whose updates are in it."""
    levels: NDArray[np.int64] | None
    """Σ weight · level, of shape (p,); None: there is no sum, and will be none."""
    groups: tuple[GroupSum, ...] = ()
    """What the sum is the sum of, if the round had groups."""
