"""What the aggregator's side keeps in memory where production has a ledger."""

from collections.abc import Collection, Iterator, Mapping, Set, Sized
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation import server_state
from aggregator.aggregation.downlink import Before
from aggregator.aggregation.job import ClosingJob
from aggregator.aggregation.updates import RoundUpdates, Sent
from aggregator.core.parts import unchanged
from aggregator.core.shared_entries import completed, sent_entries
from aggregator.core.verdicts import Verdict
from fedge.algorithms.protocols import WEIGHTS, Codec, Rule, ServerOptimizer, State
from fedge.wire.freshness import RoundId
from fedge.wire.models import Key
from fleet.library.fast.orders import Outcome

Vector = NDArray[np.float32]


@dataclass
class KeptPast:
    """As `aggregator.aggregation.past.Past`: what the rounds before left."""

    further: Mapping[str, Vector] = field(default_factory=dict)
    """The announced model's vectors besides its weights."""
    weights: Vector = field(default_factory=lambda: np.zeros(0, np.float32))
    """Its weights."""
    before: Before = field(default_factory=Before)
    """What its coded form has left."""
    states: bytes = b""
    """The states of server optimizer and rule, as a ledger keeps them; empty: they have none, or no training
    round has closed."""
    devices: int | None = None
    """N of the last training round; None: there was none."""
    known: set[str] = field(default_factory=set)
    """The devices that have been admitted in any round."""
    running: dict[str, int] = field(default_factory=dict)
    """In how many of its last updates in a row each device was far, if in any."""
    job: ClosingJob | None = None
    """The round that closes."""

    def fleet(self, admitted: Sized) -> int:
        """As `aggregator.aggregation.fleet_size.fleet_of`."""
        assert self.job is not None
        listed, before = self.job.listed, self.devices
        return max(len(admitted), listed if listed is not None else before or len(self.known))

    def vectors(self, names: tuple[str, ...], size: int) -> Mapping[str, Vector]:
        """The announced vectors of these names, of shape (size,) each."""
        return {name: self.further[name] for name in names}

    def far_running(self, devices: Collection[str]) -> Mapping[str, int]:
        """In how many of its last updates in a row each of these devices was far."""
        return {device: self.running.get(device, 0) for device in devices}

    def coding(self) -> Before:
        """What the announcement that the round began with has left."""
        return self.before

    def base(self) -> Key:
        """The announced model."""
        assert self.job is not None
        assert self.job.model is not None
        made_by = self.job.round._replace(round=self.job.round.round - 1)
        return Key(self.job.model.digest, made_by, {WEIGHTS: self.weights, **self.further})

    def state(self, server: ServerOptimizer, size: int) -> State:
        """The state that the round begins with; as from a ledger, its arrays are read-only."""
        assert self.job is not None
        if not self.states:
            return server_state.first(self.job.round, self.job.parts.server, server, size)
        return server_state.of_server(server_state.unpack(self.states))

    def rule_state(self, rule: Rule, size: int) -> State:
        """As `state`, of the rule."""
        assert self.job is not None
        if not self.states:
            return server_state.rule_first(self.job.round, rule, size)
        return server_state.of_rule(server_state.unpack(self.states))


class KeptUpdates(RoundUpdates):
    """The admitted updates of a round, decoded.

    Args:
        round_id: the round.
        answers: by device, in the order of the sum.
        outcomes: of each device.
        rows: of each device: which row of `vectors` is its own.
        names: the names of the vectors in a row.
        vectors: of shape (rows, len(names), p).
        codec: says whether `weights` are a change of the base.
        base: the weights that the updates began from, of shape (p,).
        shared: which entries of the weights an update has, of shape (p,); None: all.
    """

    def __init__(
        self,
        round_id: RoundId,
        answers: Mapping[str, Verdict],
        outcomes: Mapping[str, Outcome],
        rows: Mapping[str, int],
        names: tuple[str, ...],
        vectors: Vector,
        codec: Codec,
        base: Vector,
        shared: NDArray[np.bool_] | None = None,
    ) -> None:
        self.round, self.answers, self.size = round_id, answers, len(base)
        self._outcomes, self._rows, self._names = outcomes, rows, names
        self._vectors, self._codec, self._base = vectors, codec, base
        self._shared, self._entries = shared, sent_entries(shared, len(base))

    def sent(self, without: Set[str] = frozenset(), name: str = WEIGHTS) -> Iterator[Sent]:
        """As `RoundUpdates.sent`."""
        number = self._names.index(name)
        for device in self.answers:
            if device not in without:
                vector = unchanged(self._vectors[self._rows[device], number])
                found: NDArray[np.floating[Any]] = vector
                if name == WEIGHTS:
                    found = completed(self._shared, self._codec, vector[: self._entries], self._base)
                outcome = self._outcomes[device]
                yield Sent(device, outcome.steps, found, outcome.lengths.get(name))
