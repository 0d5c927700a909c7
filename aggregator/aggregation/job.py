"""One round to close, as a job off the loop's thread, and what can come of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation.aggregate import Unmade, Unusable
from aggregator.aggregation.probes import Samples
from aggregator.aggregation.survey import Unmeasured
from aggregator.core.mixes import Mix
from aggregator.core.participation import Participation
from aggregator.core.parts import Parts
from fedge.algorithms.protocols import State
from fedge.algorithms.rules.bounds import Factors
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.task import Task

Remark = tuple[int, str]
"""A line of the log, after its level."""


@dataclass(frozen=True)
class ClosingJob:
    """One round to close: what its model is computed of, besides the updates in the ledger."""

    round: RoundId
    kind: str
    """The name of its phase."""
    task: Task
    task_blob: Blob
    model: Blob | None
    """What the round's updates began from; none before the survey is closed."""
    seed: int
    chosen: float
    """Which share of the fleet the round's last attempt has chosen."""
    factors: Factors = field(default_factory=Factors)
    """How far one update may move the mean."""
    parts: Parts = field(default_factory=Parts)
    """By which rule, server optimizer, codec and local algorithm."""
    clip: float | None = None
    """Of a survey: the bound on standardized inputs, in standard deviations; None: they are not clipped."""
    unclipped: tuple[str, ...] = ()
    """The devices because of which inputs are not clipped."""
    narrowing: tuple[str, ...] = ()
    """Of a survey: the devices because of which inputs are float32, whatever the columns are."""
    participation: Participation = field(default_factory=lambda: Participation(0, 0), compare=False)
    """Who took part, when it began to close; for people."""
    samples: Samples | None = field(default=None, compare=False, repr=False)
    """Raw samples (n, d) on which the model must compute finite outputs, besides those drawn."""


@dataclass(frozen=True)
class Computed:
    """A round's new model as it is stored and announced, and what the round brought."""

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
    rule: str | None = None
    """Name and version of the rule that made the model; None: it made none."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """What the ledger's summary has besides numbers."""
    before: tuple[Remark, ...] = ()
    """What the log says before that the round is closed: who counts for less than it sent."""
    after: tuple[Remark, ...] = ()
    """What it says after that."""
    mix: Mix | None = None
    """Of a survey: what owners let their devices tell of their classes; None: nothing."""
    state: State = field(default_factory=dict, compare=False, repr=False)
    """Of the server optimizer, to be saved with the round."""


Outcome = Computed | Unmeasured | Unusable | Unmade
"""What closing a round comes to."""
