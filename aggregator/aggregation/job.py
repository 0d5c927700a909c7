"""The job of closing one round, off the loop's thread, and its possible outcomes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation.aggregate import Unmade, Unusable
from aggregator.aggregation.downlink import Coding
from aggregator.aggregation.survey import Unmeasured
from aggregator.core.mixes import Mix
from aggregator.core.participation import Participation
from aggregator.core.parts import Parts
from aggregator.core.verdicts import Verdict, Weighed
from aggregator.ledger.records import MaskedSum
from fedge.algorithms.protocols import State
from fedge.algorithms.rules.bounds import Factors
from fedge.masking.noise import NoisyLevels
from fedge.nn.probes import Samples
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.task import Task

if TYPE_CHECKING:
    from aggregator.core.exchange import Exchange

Remark = tuple[int, str]
"""A level and a line of the log."""


@dataclass(frozen=True)
class ClosingJob:
    """One round to close: what its model is computed from, besides the updates in the ledger."""

    round: RoundId
    kind: str
    """The name of its phase."""
    task: Task
    task_blob: Blob
    model: Blob | None
    """The base of the round's updates; None before the survey is closed."""
    seed: int
    chosen: float
    """The share of the fleet that the round's last attempt chose."""
    factors: Factors = field(default_factory=Factors)
    """The bounds on one update's influence."""
    parts: Parts = field(default_factory=Parts)
    """The rule, server optimizer, codec and local algorithm."""
    listed: int | None = None
    """The number of devices that `[federation] devices` lists; None: there is no list."""
    clip: float | None = None
    """Of a survey: the bound on standardized inputs, in standard deviations; None: they are not clipped."""
    unclipped: tuple[str, ...] = ()
    """The devices because of which inputs are not clipped."""
    narrowing: tuple[str, ...] = ()
    """Of a survey: the devices because of which inputs are float32, whatever the columns are."""
    participation: Participation = field(default_factory=lambda: Participation(0, 0), compare=False)
    """The participation when closing began, for the log and the summary."""
    model_codec: str = "float32"
    """How the next model is coded (`[plan] model_codec`)."""
    key_every: int = 16
    """The most rounds for which a key frame is used (`[plan] key_every`)."""
    answers: Mapping[str, Verdict] = field(default_factory=dict, compare=False, repr=False)
    """The verdicts when closing began, with what admission measured; the other updates are measured."""
    attempt: int = 0
    """The round's attempt."""
    noise: bytes | None = field(default=None, compare=False, repr=False)
    """The secret seed of the noise, for this computation alone; None: the rule adds none."""
    shares: NoisyLevels | None = None
    """Of a masked round: the noise of which each device has added its share; None: there is none."""
    behind: int = 0
    """How many rounds before this one the base of an update may lie further back than the model."""
    exchange: "Exchange | None" = field(default=None, compare=False, repr=False)
    """Of a masked round: the attempt whose masks are taken off; None: the ledger says how it ended."""
    samples: Samples | None = field(default=None, compare=False, repr=False)
    """Raw samples (n, d) on which the model must compute finite outputs, besides those drawn."""


@dataclass(frozen=True)
class Computed:
    """A round's new model as it is stored and announced, and the round's figures."""

    task: Task
    task_blob: Blob
    task_data: bytes | None
    """The task, if this round has changed it."""
    model: Blob
    model_data: bytes | None
    """The model, unless the round has only measured it."""
    devices: int
    samples: int
    summary: dict[str, float]
    vector: NDArray[np.float32] = field(compare=False, repr=False)
    """The model's weights, of shape (p,)."""
    clusters: tuple[NDArray[np.float32], ...] = field(default=(), compare=False, repr=False)
    """The further shared models, from number 1 on."""
    rule: str | None = None
    """Name and version of the rule that made the model; None: it made none."""
    fleet: int | None = None
    """N, the number of devices of the fleet, of a training round."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """Entries of the ledger's summary that are not numbers."""
    before: tuple[Remark, ...] = ()
    """Log lines before the line on the closed round, on updates that were bounded."""
    after: tuple[Remark, ...] = ()
    """Log lines after it."""
    mix: Mix | None = None
    """For a survey: the classes that devices told; None: no device told any."""
    state: State = field(default_factory=dict, compare=False, repr=False)
    """The states of server optimizer and rule, to be saved with the round (`server_state.joined`)."""
    weighed: Mapping[str, Weighed] = field(default_factory=dict, compare=False, repr=False)
    """How much updates counted, by device (`aggregator.aggregation.weighed`)."""
    coding: Coding | None = field(default=None, compare=False, repr=False)
    """The coded form of the model; None: it is sent as it is."""
    masked: MaskedSum | None = field(default=None, compare=False, repr=False)
    """Of a masked round: what the job found, to be saved; None: the ledger has it."""
    inputs: str | None = None
    """With noise: the digest of what the model was computed from (`aggregator.aggregation.noise`)."""


Outcome = Computed | Unmeasured | Unusable | Unmade
"""The outcomes of closing a round."""
