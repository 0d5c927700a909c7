"""Production's two programs on a virtual network: their runtimes turn whenever something is in the inbox.

Nothing fails here and nothing waits: time is `fleet.simulator.clock`, the broker `fleet.simulator.broker`,
and what production leaves to threads (training, closing a round) is done at once, in no virtual time.
"""

import random
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.config import AgentSettings
from agent.core.events import Done, Failed
from agent.shell import memory as memories
from agent.shell import model_file
from agent.shell.memory import Memory
from agent.shell.runtime import Runtime as AgentRuntime
from agent.shell.startup import open_device
from agent.sources import Source
from agent.trainers.assignment import Assignment
from agent.trainers.worker import Worker
from aggregator.aggregation.job import ClosingJob
from aggregator.config import FederationSettings
from aggregator.core.takeover import TakeUp
from aggregator.export.writer import Exported, Job
from aggregator.ledger.layout import FILE as LEDGER
from aggregator.ledger.writing import Ledger
from aggregator.shell.closer import close
from aggregator.shell.leader_check import Watching
from aggregator.shell.runtime import Runtime as AggregatorRuntime
from aggregator.shell.startup import known, take_up
from fedge.wire.freshness import RoundId
from fleet.simulator.broker import Broker
from fleet.simulator.clock import Clock
from fleet.simulator.crash import Power
from fleet.simulator.link import Place, VirtualLink, Weather

SESSION_S = 86_400
QUEUE_LIMIT = 1_000_000
"""Messages that wait for a client at the broker."""


@dataclass(frozen=True)
class Stage:
    """What all programs of a simulated federation share."""

    clock: Clock
    broker: Broker
    rng: random.Random
    """For the way of a packet alone: no model depends on it."""

    @classmethod
    def new(cls, seed: int) -> "Stage":
        """A network on which nothing has happened yet."""
        clock = Clock()
        broker = Broker(lambda: clock.now_s, clock.after, lambda _: None, QUEUE_LIMIT)
        return cls(clock, broker, random.Random(seed))  # nosec B311 # delays, not a secret


class Program:
    """A program with one inbox, whose turns begin when something is in it or is due."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._inbox: deque[Any] = deque()
        self._at_work = False
        self._tick_s: float | None = None

    def start(self) -> None:
        """Connect."""
        raise NotImplementedError

    def close(self) -> None:
        """Close its database."""
        raise NotImplementedError

    def turn(self, events: list[Any]) -> None:
        """Handle what happened; nothing means that time has passed."""
        raise NotImplementedError

    def due_s(self) -> float | None:
        """When the program wants a turn though nothing happens."""
        raise NotImplementedError

    def now_s(self) -> float:
        """Its monotonic clock."""
        return self.stage.clock.now_s

    def post(self, event: Any) -> None:
        """Put something into the inbox."""
        self._inbox.append(event)
        if not self._at_work:
            self._work()

    def place(self) -> Place:
        """Where its link is: on a network that loses nothing."""
        return Place(
            self.stage.clock,
            self.stage.broker,
            Weather(),
            Power(),
            self.stage.rng,
            lambda _: None,
            lambda _: None,
            lambda _: None,
        )

    def _work(self) -> None:
        self._at_work = True
        try:
            while self._inbox:
                events = list(self._inbox)
                self._inbox.clear()
                self.turn(events)
        finally:
            self._at_work = False
        self._arm()

    def _arm(self) -> None:
        due_s = self.due_s()
        if due_s is None:
            return
        when_s = max(self.now_s(), due_s) + 0.001
        if self._tick_s is None or when_s < self._tick_s:
            self._tick_s = when_s
            self.stage.clock.at(when_s, lambda: self._tick(when_s))

    def _tick(self, when_s: float) -> None:
        if when_s == self._tick_s:
            self._tick_s = None
            self.turn([])
            self._work()


class _InlineWorker(Worker):
    """A worker that has no thread: what it is asked for is done next."""

    def attach(self, program: Program, post: Callable[[Any], None]) -> None:
        """Say where it works."""
        self._program, self._told = program, post
        self.failed: Failed | None = None

    def start(self, assignment: Assignment) -> None:
        """As `Worker.start`."""
        self._current = assignment
        self._program.stage.clock.after(0.0, lambda: self._finish(assignment))

    def _finish(self, assignment: Assignment) -> None:
        outcome = None if assignment.cancelled.is_set() else self.work(assignment)
        if isinstance(outcome, Failed):
            self.failed = outcome
        if isinstance(outcome, Done):
            outcome = replace(outcome, now_s=self._program.now_s())
        if outcome is not None:
            self._told(outcome)


class Device(Program):
    """A device with production's agent.

    Args:
        stage: where it is.
        settings: its owner's.
        sources: of its samples, by name.
    """

    def __init__(self, stage: Stage, settings: AgentSettings, sources: Mapping[str, Source]) -> None:
        super().__init__(stage)
        folder = settings.state.folder
        folder.mkdir(parents=True)
        self.name = settings.device
        self._memory = Memory(folder / memories.FILE)
        self._worker = _InlineWorker(settings, sources, self.post)
        self._worker.attach(self, self.post)
        self._link = VirtualLink(
            self.place(),
            f"{settings.federation}_{settings.device}",
            self.post,
            will=lambda connection: self._runtime.offline_status(connection),
        )
        file = folder / model_file.FILE
        opened = open_device(settings, self._memory, file, stage.rng.randbytes(16), self.now_s())
        self._runtime = AgentRuntime(
            settings, opened, self._memory, file, self._link, self._worker, now_s=self.now_s
        )

    @property
    def failed(self) -> str | None:
        """Why it could not do what the last round that failed asked for."""
        return self._worker.failed.detail if self._worker.failed is not None else None

    def start(self) -> None:
        """Connect."""
        self._link.open()

    def turn(self, events: list[Any]) -> None:
        """As `agent.shell.loop`."""
        for event in events or [None]:
            self._runtime.turn(event)

    def due_s(self) -> float | None:
        """As `agent.shell.loop`."""
        return self._runtime.due_s()

    def close(self) -> None:
        """Close its database."""
        self._memory.close()


class Aggregator(Program):
    """Production's aggregator: it looks around first, then serves.

    Args:
        stage: where it is.
        settings: the federation's.
    """

    def __init__(self, stage: Stage, settings: FederationSettings) -> None:
        super().__init__(stage)
        self._settings = settings
        settings.state.folder.mkdir(parents=True)
        self.path = settings.state.folder / LEDGER
        """The file of the ledger."""
        self.ledger = Ledger(self.path)
        self._link = VirtualLink(self.place(), f"{settings.federation.name}__watch", self.post)
        self._watching = Watching(settings, self._link, known(settings, self.ledger), self.now_s)
        self._runtime: AggregatorRuntime | None = None

    @property
    def done(self) -> bool:
        """Whether learning has ended, and all that is to be told of it is told."""
        return self._runtime is not None and self._runtime.has_nothing_left_to_say

    @property
    def round(self) -> RoundId | None:
        """Which round it serves; None: it looks around."""
        return self._runtime.now().state.round if self._runtime is not None else None

    def start(self) -> None:
        """Connect."""
        self._link.open()

    def turn(self, events: list[Any]) -> None:
        """As `aggregator.shell.loop`: one turn of watching or serving."""
        if self._runtime is not None:
            self._runtime.turn(events)
            return
        self._watching.turn(events)
        if self._watching.seen is not None:
            self._serve(self._watching.seen)

    def due_s(self) -> float | None:
        """When the watching is over, or what the runtime says."""
        return self._watching.due_s() if self._runtime is None else self._runtime.due_s()

    def close(self) -> None:
        """Close the ledger."""
        self.ledger.close()

    def _serve(self, seen: TakeUp) -> None:
        """As `aggregator.shell.loop`."""
        self._link.close()
        self._inbox.clear()
        state = take_up(self._settings, self.ledger, self.stage.rng.randbytes(16), seen)
        self._link = VirtualLink(
            self.place(),
            f"{self._settings.federation.name}__aggregator",
            self.post,
            will=lambda _: runtime.offline_status(),
            keep_session_s=SESSION_S,
            manual_ack=True,
        )
        runtime = AggregatorRuntime(
            self._settings, state, self.ledger, self._link, self._close, self._export, self.now_s
        )
        self._runtime = runtime
        runtime.begin()
        self._link.open()

    def _close(self, job: ClosingJob) -> None:
        ledger = self.ledger
        self.stage.clock.after(0.0, lambda: self.post(close(lambda: nullcontext(ledger), job)))

    def _export(self, job: Job) -> None:
        """Nobody takes files from a simulation, whose models are in the ledger: bytes stand for one."""
        self.stage.clock.after(0.0, lambda: self.post(Exported(job, b"no file", "")))


def folder_for_devices(folder: Path, device: str) -> Path:
    """Where a device's state lies."""
    return folder / "devices" / device
