"""The verdict on a device's update, and the record of a device that sent none."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple

from fedge.algorithms.protocols import WEIGHTS
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.fields import Metrics
from fedge.wire.reasons import Reason


class Measured(NamedTuple):
    """What admission measures of an update, so that closing need not read it once more for that."""

    steps: int
    """As the device says."""
    norm: float | None
    """‖w - start‖ of the weights; None: they have no start."""
    further: Mapping[str, float] = MappingProxyType({})
    """The length of each further vector."""

    def length(self, name: str) -> float | None:
        """The length of one vector, of the weights from their start; None: it was not measured."""
        return self.norm if name == WEIGHTS else self.further.get(name)


NO_FIGURES: Metrics = {}
"""What a verdict has in place of its figures where nobody reads them; do not change it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a device's one update in a round.

    A round has one for each device, so it has slots: its fields take 100 bytes and not 150.
    """

    digest: bytes
    verdict: Literal["admitted", "refused"]
    reason: Reason | None = None
    detail: str = ""
    samples: int = 0
    metrics: Metrics = field(default_factory=dict)
    began: int | None = None
    """The number of the older round that the update was made for, so that its base is the model before that
    round; None: it was made for the round in which it is answered."""
    measured: Measured | None = field(default=None, compare=False, repr=False)
    """Of an admitted update; None: it was admitted before this program started, because no ledger stores
    it."""

    def without_figures(self) -> "Verdict":
        """The same without its metrics."""
        return Verdict(  # each update needs it, and `dataclasses.replace` takes three times as long
            self.digest,
            self.verdict,
            self.reason,
            self.detail,
            self.samples,
            NO_FIGURES,
            self.began,
            self.measured,
        )

    def refused(self, reason: Reason, detail: str) -> "Verdict":
        """The verdict on the same update that does not count after all."""
        return dataclasses.replace(self, verdict="refused", reason=reason, detail=detail, measured=None)


@dataclass(frozen=True, slots=True)
class Weighed:
    """How much an admitted update counted in the round that closed with it."""

    counted: float
    """The part of it that counted, in [0, 1], after bounds and rule."""
    far: float
    """Its distance from the others, in median distances of the round (`aggregator.aggregation.weighed`)."""
    running: int
    """In how many of its updates in a row the device was far, with this one; 0: it is not far."""


@dataclass(frozen=True, slots=True)
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
