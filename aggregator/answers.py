"""The verdict on what a device sent."""

from dataclasses import dataclass, field
from typing import Literal

from fedge.freshness import RoundId
from fedge.messages import Metrics
from fedge.reasons import Reason


@dataclass(frozen=True)
class Answer:
    """The verdict on a device's one update in a round."""

    digest: bytes
    verdict: Literal["admitted", "refused"]
    reason: Reason | None = None
    detail: str = ""
    samples: int = 0
    metrics: Metrics = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """An answer that the ledger holds, and the round in which it was given."""

    round: RoundId
    answer: Answer
