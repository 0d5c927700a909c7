"""The device's contribution to a round: the round's phase does the work, with the device's data and
trainer."""

import hashlib
import time

from agent.config import AgentSettings
from agent.core.events import Done
from agent.data.snapshot import Snapshot
from agent.phases.phase import PHASES, Cancelled, Contribution, Equipment, phase_of
from agent.trainers.assignment import Assignment
from agent.trainers.data import Data
from fedge.algorithms.registry import CODECS, PERSONAL
from fedge.algorithms.trainer import Trainer
from fedge.masking.round_messages import Promise
from fedge.nn import Network
from fedge.nn.network import CHAINS
from fedge.wire.freshness import round_of
from fedge.wire.messages.message import pack


class Networks:
    """Makes the network of a task; it is built anew only when the task changes.

    Args:
        chains: as in `Network`.
    """

    def __init__(self, chains: int = CHAINS) -> None:
        self._chains = chains
        self._newest: tuple[bytes, Network] | None = None

    def of(self, assignment: Assignment) -> Network:
        """The network of an assignment's task."""
        digest = assignment.manifest.task.digest
        if self._newest is None or self._newest[0] != digest:
            self._newest = (digest, Network(assignment.task.network, chains=self._chains))
        return self._newest[1]


class Contributor:
    """Does the work that a round asks for.

    Args:
        settings: the configuration.
        data: the device's data.
        trainer: the trainer to use.
        networks: makes the networks; several devices of one process may share it.
    """

    def __init__(
        self, settings: AgentSettings, data: Data, trainer: Trainer, networks: Networks | None = None
    ) -> None:
        self._settings = settings
        self._data = data
        self._trainer = trainer
        for registry in (CODECS, PERSONAL, PHASES):
            registry.entries()  # load all entries now: a message must never make a device import code
        self._networks = networks or Networks()

    def contribute(self, assignment: Assignment, cancelled: Cancelled) -> Done:
        """Do the work of the round's phase; call `cancelled` before each step of training.

        Raises:
            Exception: any error, which `agent.trainers.declines.declined` turns into a reason; or
                `Cancelled`.
        """
        found, snapshot = self.work(assignment, cancelled)
        payload = pack(found.message)
        return Done(
            now_s=time.monotonic(),
            round=round_of(assignment.manifest),
            digest=hashlib.sha256(payload).digest(),
            payload=payload,
            samples=found.samples if isinstance(found.message, Promise) else found.message.samples,
            snapshot=(assignment.source, snapshot) if snapshot is not None else None,
            pending=found.pending,
            personal=found.personal,
            masked=found.masked,
        )

    def work(self, assignment: Assignment, cancelled: Cancelled) -> tuple[Contribution, Snapshot | None]:
        """As `contribute`; returns the message itself, and the snapshot that a survey reports."""
        started_s = time.monotonic()
        phase, data = phase_of(assignment.manifest.kind), self._data
        dataset = data.of(assignment, tells_data=phase.tells_data)
        equipment = Equipment(
            settings=self._settings,
            trainer=self._trainer,
            dataset=dataset,
            snapshot=data.snapshot(assignment.source) if phase.tells_data else None,
            extremes=data.extremes,
            network=lambda: self._networks.of(assignment),
            seconds=lambda: time.monotonic() - started_s,
        )
        return phase.contribute(assignment, equipment, cancelled), equipment.snapshot
