"""The verdict on what a device sent, and the record of one that did not."""

from dataclasses import dataclass, field
from typing import Literal

from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.fields import Metrics
from fedge.wire.reasons import Reason


@dataclass(frozen=True)
class Verdict:
    """The verdict on a device's one update in a round."""

    digest: bytes
    verdict: Literal["admitted", "refused"]
    reason: Reason | None = None
    detail: str = ""
    samples: int = 0
    metrics: Metrics = field(default_factory=dict)


@dataclass(frozen=True)
class Missed:
    """How a device has let a round wait in vain."""

    times: int
    """In a row, without an admitted update between; no more are counted than matter."""
    last: Attempt
    """Where that was the last time."""


@dataclass(frozen=True)
class KeptVerdict:
    """A verdict that the ledger holds, and the round in which it was given."""

    round: RoundId
    answer: Verdict
