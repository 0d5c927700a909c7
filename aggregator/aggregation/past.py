"""What a training round is closed with besides its updates: what the rounds before it left.

In production the ledger has it (`LedgerPast`). A simulation without a ledger has its own.
"""

from collections.abc import Collection, Mapping, Sized
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation import codings, server_state
from aggregator.aggregation.downlink import Before
from aggregator.aggregation.fleet_size import fleet_of
from aggregator.aggregation.job import ClosingJob
from aggregator.aggregation.models import vectors_of
from aggregator.aggregation.noise import seeded
from aggregator.ledger.reading import LedgerReader
from fedge.algorithms.protocols import Rule, ServerOptimizer, State
from fedge.wire.models import Key


class Past(Protocol):
    """What the rounds before the one that closes left."""

    def fleet(self, admitted: Sized) -> int:
        """N, the number of devices of the fleet, given the updates that count."""

    def vectors(self, names: tuple[str, ...], size: int) -> Mapping[str, NDArray[np.float32]]:
        """The vectors of these names that the round was announced with, of shape (size,) each."""

    def state(self, server: ServerOptimizer, size: int) -> State:
        """The state of the server optimizer that the round begins with."""

    def rule_state(self, rule: Rule, size: int) -> State:
        """The state of the rule that the round begins with."""

    def far_running(self, devices: Collection[str]) -> Mapping[str, int]:
        """In how many of its last updates in a row each of these devices was far."""

    def coding(self) -> Before:
        """What the announcement that the round began with has left."""

    def base(self) -> Key:
        """The model that the round was announced with, with all its vectors."""


class LedgerPast:
    """As `Past`, from a ledger.

    Args:
        ledger: knows the rounds before.
        job: the round that closes.

    Raises:
        DamagedState: from any method, if the ledger lacks what is asked for.
    """

    def __init__(self, ledger: LedgerReader, job: ClosingJob) -> None:
        self._ledger, self._job = ledger, job

    def fleet(self, admitted: Sized) -> int:
        """As `fleet_of`."""
        return fleet_of(self._ledger, self._job.round, self._job.listed, admitted)

    def vectors(self, names: tuple[str, ...], size: int) -> Mapping[str, NDArray[np.float32]]:
        """As `vectors_of`."""
        assert self._job.model is not None
        return vectors_of(self._ledger, self._job.model.digest, names, size)

    def state(self, server: ServerOptimizer, size: int) -> State:
        """As `server_state.before`; raises PartError if the optimizer fails."""
        return server_state.before(self._ledger, self._job.round, self._job.parts.server, server, size)

    def rule_state(self, rule: Rule, size: int) -> State:
        """As `server_state.rule_before`; raises PartError if the rule fails."""
        part = self._job.parts.rule
        found = server_state.rule_before(self._ledger, self._job.round, part, rule, size)
        return seeded(part, found, self._job.noise)

    def far_running(self, devices: Collection[str]) -> Mapping[str, int]:
        """As the ledger stores it."""
        return {device: self._ledger.far_running(device, self._job.round) for device in devices}

    def coding(self) -> Before:
        """As `codings.before`."""
        return codings.before(self._ledger, self._job.round)

    def base(self) -> Key:
        """As `codings.key_of`."""
        assert self._job.model is not None
        return codings.key_of(self._ledger, self._job.model.digest)
