"""The verdict on a device's update, and the record of a device that sent none."""

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
    began: int | None = None
    """The number of the older round that the update was made for, so that its base is the model before that
    round; None: it was made for the round in which it is answered."""


@dataclass(frozen=True)
class Missed:
    """A device's misses (`aggregator.core.patience`)."""

    times: int
    """Misses in a row, since its last admitted update; counted up to `patience.MISSES`."""
    last: Attempt
    """The attempt of the last one."""


@dataclass(frozen=True)
class KeptVerdict:
    """A verdict that the ledger holds, and the round in which it was given."""

    round: RoundId
    answer: Verdict
