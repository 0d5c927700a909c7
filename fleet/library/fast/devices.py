"""Some devices in one process: production's work of a round, and the admission of what comes out."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.config import AgentSettings
from agent.core.state import AlgorithmState, PersonalState
from agent.data.dataset import Dataset
from agent.phases.phase import phase_of
from agent.settings.data import DataSettings
from agent.settings.sources import DEFAULT_SOURCE
from agent.shell.data_log import Logbook
from agent.sources import Source
from agent.sources.samples import Samples
from agent.trainers.assignment import Assignment
from agent.trainers.built_in import BuiltIn
from agent.trainers.contribution import Contributor, Networks
from agent.trainers.data import Data
from agent.trainers.declines import declined
from aggregator.core.admission import Terms, admit
from aggregator.core.shared_entries import sent_entries
from fedge.algorithms.codecs.seeds import vector_seed
from fedge.algorithms.protocols import WEIGHTS
from fedge.algorithms.registry import CODECS
from fedge.algorithms.trainer import never
from fedge.errors import FedgeError
from fedge.masking.round_messages import Promise
from fedge.wire.freshness import round_of
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task
from fedge.wire.reasons import Rejection
from fleet.library.fast.orders import Order, Outcome

Vectors = NDArray[np.float32]

CHAINS = 16
"""For how many different numbers of rows the network keeps its buffers: devices have different ones."""


class Devices:
    """Devices that work one after the other.

    Args:
        given: settings and source of each, by name.
    """

    def __init__(self, given: Mapping[str, tuple[AgentSettings, Source]]) -> None:
        self._given = given
        self._ready: dict[str, tuple[Contributor, Data]] = {}
        self._networks, self._trainer = Networks(CHAINS), BuiltIn()
        self._uncancelled = threading.Event()
        self._states: dict[str, AlgorithmState] = {}
        """Of each device that has one: that of its last admitted update."""
        self._personal: dict[str, PersonalState] = {}
        """What each device keeps of its own models."""

    def work(
        self, order: Order, asked: Mapping[str, int], model: Vectors, updates: NDArray[Any]
    ) -> list[Outcome]:
        """Do the work of an attempt.

        Args:
            order: the attempt.
            asked: the devices to ask, and the row of `updates` for each one's vectors.
            model: the announced vectors, of shape (len(order.received), p).
            updates: receives the vectors of those that are admitted.

        Raises:
            FedgeError: the work of a device fails in a way that it does not in production; the text names
                the device.
        """
        received = dict(zip(order.received, _frozen(model), strict=True))
        start = received.pop(WEIGHTS, None)
        terms = replace(order.terms, start=start)
        outcomes: list[Outcome] = []
        for device, row in asked.items():
            up = updates[row] if order.sends else None
            try:
                outcomes.append(self._worked(order, terms, device, start, received, up))
            except FedgeError:
                raise
            except Exception as error:
                raise FedgeError(f"simulate: round {terms.round}: {device}: {error!r}") from error
        return outcomes

    def _worked(
        self,
        order: Order,
        terms: Terms,
        device: str,
        weights: Vectors | None,
        more: Mapping[str, Vectors],
        row: NDArray[Any] | None,
    ) -> Outcome:
        contributor, data = self._of(device)
        manifest = order.manifest
        state = self._states.get(device) if phase_of(manifest.kind).needs_state else None
        personal = self._personal.get(device)
        assignment = Assignment(manifest, order.task, weights, {}, more, state, personal, self._uncancelled)
        try:
            found, _ = contributor.work(assignment, never)
        except Exception as error:
            return Outcome(device, failed=declined(round_of(manifest), error, data.extremes))
        if found.personal is not None:
            self._personal[device] = found.personal
        message = found.message
        assert not isinstance(message, Promise), "a simulation sees all updates, so nothing is masked"
        verdict = admit(terms, device, message)
        if isinstance(verdict, Rejection):
            keeps = device in self._states or device in self._personal
            return Outcome(device, message.samples, refused=verdict, stateful=keeps)
        if found.pending is not None:
            self._states[device] = found.pending
        stateful = device in self._states or device in self._personal
        if isinstance(message, Survey):
            return Outcome(
                device, verdict.samples, metrics=verdict.figures, survey=message, stateful=stateful
            )
        bodies = {WEIGHTS: message.body, **(message.vectors or {})}
        if row is not None:
            codec = CODECS.make(terms.codec, terms.codec_options)
            for number, name in enumerate(order.sends):
                entries = sent_entries(terms.shared, row.shape[1]) if name == WEIGHTS else row.shape[1]
                seed = vector_seed(terms.seed, *round_of(message), device, name)
                row[number, :entries] = codec.decode(bodies[name], entries, seed)
        sent = sum(map(len, bodies.values()))
        return Outcome(
            device,
            verdict.samples,
            message.steps,
            verdict.figures,
            verdict.lengths,
            sent,
            stateful=stateful,
        )

    def _of(self, device: str) -> tuple[Contributor, Data]:
        found = self._ready.get(device)
        if found is None:
            settings, source = self._given[device]
            data = Data(settings, {DEFAULT_SOURCE: source}, {}, _NoLog())
            contributor = Contributor(settings, data, self._trainer, self._networks)
            found = self._ready[device] = contributor, data
        return found


class _NoLog(Logbook):
    """Looks for no warnings about data, which would take longer than many rounds of training."""

    def tell(self, source: str, samples: Samples, settings: DataSettings, task: Task, digest: bytes) -> None:
        """Log nothing."""

    def tell_cap(self, source: str, cap: int | None, dataset: Dataset) -> None:
        """Log nothing."""


def _frozen(model: Vectors) -> list[Vectors]:
    """A copy of each vector, which nobody may change."""
    found = [np.array(vector) for vector in model]
    for vector in found:
        vector.flags.writeable = False
    return found
