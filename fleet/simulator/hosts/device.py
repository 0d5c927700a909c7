"""A device's machine, which runs production's agent."""

from pathlib import Path
from typing import Any

from agent.config import AgentSettings
from agent.core.state import AlgorithmState, PersonalState
from agent.shell.runtime import Runtime as Agent
from agent.shell.startup import open_device
from agent.trainers.assignment import Assignment
from fedge.transport import MessageArrived, Publication
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.update import Update
from fleet.simulator.compositions import FEDAVG
from fleet.simulator.crash import PowerCut
from fleet.simulator.disks import WatchedMemory
from fleet.simulator.fastpaths import decode
from fleet.simulator.hosts.machine import Host
from fleet.simulator.hosts.scene import Scene
from fleet.simulator.learners import Learner
from fleet.simulator.link import VirtualLink
from fleet.simulator.local_twins import Work
from fleet.simulator.trainers import Bench, Odd, RealTrainer, StandIn, lineage_of


class DeviceHost(Host):
    """A device with its agent."""

    def __init__(
        self, name: str, number: int, scene: Scene, settings: AgentSettings, folder: Path, *, real: bool
    ) -> None:
        super().__init__(name, scene, folder / "agent.db" if real else None)
        self.device = settings.device
        self.number = number
        self.honest = True
        """Whether no other client ever had its identity."""
        self.willing = True
        self.training_s = 1.0
        self.odd: Odd = ""
        self.composition = FEDAVG
        """What it learns with."""
        self.stateful = False
        """Whether its algorithm has a state."""
        self.loses_verdicts = False
        """Whether it sometimes dies just before it learns the verdict on its update."""
        self._lost: set[bytes] = set()
        """The updates whose verdict it has missed in this way."""
        self.tries = 0
        self.folder = folder
        self.runtime: Agent | None = None
        self._settings = settings
        self._real = real

    def begin(self) -> None:
        """As `agent.shell.loop`."""
        post = self.poster()
        memory = self.disk.mount(
            lambda path, connect: WatchedMemory(path, connect, self.device, self.disk, self.scene.oracle)
        )
        self.scene.oracle.devices.starts(self.device, self.disk, memory.seen().round)
        file = self.folder / "model.held"
        boot = self.scene.rng.randbytes(16)
        opened = open_device(self._settings, memory, file, boot, self.now_s())
        self.link = VirtualLink(
            self.place(),
            f"{self._settings.federation}_{self.device}",
            post,
            will=lambda connection: runtime.offline_status(connection),
        )
        bench = Bench(
            device=self.device,
            now_s=self.now_s,
            later=lambda action: self.scene.clock.after(self.training_s, action),
            post=post,
            begun=self._begins,
            made=self.scene.oracle.record.made.__setitem__,
            willing=lambda: self.willing,
            tries=self._try,
            learnt=self._learns,
        )
        trainer: Any
        if self._real:
            trainer = RealTrainer(bench, self.number, self._settings)
        elif self.composition.drawn:
            trainer = Learner(bench, self.number, self.odd, self._settings)
        else:
            trainer = StandIn(bench, self.number, self.odd, stateful=self.stateful)
        runtime = self.agent(opened, memory, file, trainer)
        self.runtime = runtime
        self.link.open()

    def agent(self, opened: Any, memory: Any, file: Path, trainer: Any) -> Agent:
        """Production's runtime on this host's parts."""
        assert self.link is not None
        return Agent(self._settings, opened, memory, file, self.link, trainer, now_s=self.now_s)

    def gather(self) -> list[Any]:
        """As `agent.shell.loop`: one event a turn."""
        return [self._inbox.popleft()]

    def turn(self, events: list[Any]) -> None:
        """As `agent.shell.loop`."""
        assert self.runtime is not None
        event = events[0] if events else None
        if isinstance(event, MessageArrived) and event.topic == self.scene.topics.round and event.payload:
            self.scene.oracle.devices.hears(self.device, event.payload)
        if self.loses_verdicts and isinstance(event, MessageArrived):
            self._perhaps_die_of(event)
        self.runtime.turn(event)

    def due_s(self) -> float | None:
        """As `agent.shell.loop`."""
        return self.runtime.due_s() if self.runtime is not None else None

    def says(self, piece: Publication) -> None:
        """Tell the oracle."""
        self.scene.oracle.devices.says(self.device, self.disk, piece, honest=self.honest)

    def _perhaps_die_of(self, message: MessageArrived) -> None:
        """Die at one in three first verdicts, and start again when another round may be open."""
        if message.topic != self.scene.topics.receipt(self.device):
            return
        receipt = decode(message.payload, Receipt)
        if receipt.verdict == "retry" or receipt.update[0] % 3 or receipt.update in self._lost:
            return
        self._lost.add(receipt.update)
        self.restarts_after_s = 20.0 + receipt.update[1] / 4
        raise PowerCut

    def _begins(self, job: Assignment) -> None:
        """Let the oracle check the start of the work; the state of a cloned device is not checked."""
        self.scene.oracle.devices.work_begins(self.device, job.manifest)
        if self.stateful and self.honest and job.manifest.kind == "train":
            lineage = lineage_of(job.manifest)
            self.scene.oracle.states.work_begins(self.device, job.manifest, job.state, lineage)
        if self.composition.ditto and self.honest and not self._real and job.manifest.kind == "train":
            self.scene.oracle.own_models.work_begins(self.device, job)

    def _learns(
        self,
        job: Assignment,
        update: Update,
        pending: AlgorithmState | None,
        work: Work,
        personal: PersonalState | None,
    ) -> None:
        """Let the oracle check what the local algorithm has made, and the device's own model."""
        lineage = lineage_of(job.manifest)
        self.scene.oracle.learning.learns(self.device, job, lineage, update, pending, work)
        if self.composition.ditto and self.honest:
            self.scene.oracle.own_models.makes(self.device, job, personal, work)

    def _try(self) -> int:
        self.tries += 1
        return self.tries
