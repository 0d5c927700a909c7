"""The device's contribution to a round: the round's phase does the work, with the device's data and
trainer."""

import hashlib
import time

from agent.config import AgentSettings
from agent.core.events import Done
from agent.phases.phase import PHASES, Cancelled, Equipment, phase_of
from agent.trainers.assignment import Assignment
from agent.trainers.data import Data
from fedge.algorithms.registry import CODECS, PERSONAL
from fedge.algorithms.trainer import Trainer
from fedge.nn import Network
from fedge.wire.freshness import round_of
from fedge.wire.messages.message import pack


class Contributor:
    """Does the work that a round asks for.

    Args:
        settings: the configuration.
        data: the device's data.
        trainer: the trainer to use.
    """

    def __init__(self, settings: AgentSettings, data: Data, trainer: Trainer) -> None:
        self._settings = settings
        self._data = data
        self._trainer = trainer
        for registry in (CODECS, PERSONAL, PHASES):
            registry.entries()  # load all entries now: a message must never make a device import code
        self._network: tuple[bytes, Network] | None = None

    def contribute(self, assignment: Assignment, cancelled: Cancelled) -> Done:
        """Do the work of the round's phase; call `cancelled` before each step of training.

        Raises:
            Exception: any error, which `agent.trainers.declines.declined` turns into a reason; or
                `Cancelled`.
        """
        started_s = time.monotonic()
        phase, data = phase_of(assignment.manifest.kind), self._data
        dataset = data.of(assignment, tells_data=phase.tells_data)
        equipment = Equipment(
            settings=self._settings,
            trainer=self._trainer,
            dataset=dataset,
            snapshot=data.snapshot(assignment.source) if phase.tells_data else None,
            extremes=data.extremes,
            network=lambda: self._network_of(assignment),
            seconds=lambda: time.monotonic() - started_s,
        )
        found = phase.contribute(assignment, equipment, cancelled)
        payload = pack(found.message)
        return Done(
            now_s=time.monotonic(),
            round=round_of(assignment.manifest),
            digest=hashlib.sha256(payload).digest(),
            payload=payload,
            samples=found.message.samples,
            snapshot=(assignment.source, equipment.snapshot) if equipment.snapshot is not None else None,
            pending=found.pending,
            personal=found.personal,
        )

    def _network_of(self, assignment: Assignment) -> Network:
        """Return the task's network; it is built anew only when the task changes."""
        digest = assignment.manifest.task.digest
        if self._network is None or self._network[0] != digest:
            self._network = (digest, Network(assignment.task.network))
        return self._network[1]
