"""Production's agent on a virtual network, which trains at once."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent.config import AgentSettings
from agent.core.events import Done, Failed
from agent.shell import memory_layout, model_file
from agent.shell.memory import Memory
from agent.shell.runtime import Runtime
from agent.shell.startup import open_device
from agent.sources import Source
from agent.trainers.assignment import Assignment
from agent.trainers.worker import Worker
from fleet.library.programs import Program, Stage
from fleet.simulator.link import VirtualLink


class _InlineWorker(Worker):
    """A worker without a thread: an assignment is the clock's next action."""

    def __init__(
        self, program: Program, settings: AgentSettings, sources: Mapping[str, Source], seconds: float
    ) -> None:
        super().__init__(settings, sources, program.post)
        self._seconds = seconds
        self.failed: Failed | None = None
        self._program = program

    def start(self, assignment: Assignment) -> None:
        """As `Worker.start`."""
        self._current = assignment
        seconds = self._seconds if assignment.manifest.kind == "train" else 0.0
        self._program.stage.clock.after(seconds, lambda: self._finish(assignment))

    def _finish(self, assignment: Assignment) -> None:
        outcome = None if assignment.cancelled.is_set() else self.work(assignment)
        if isinstance(outcome, Failed):
            self.failed = outcome
        if isinstance(outcome, Done):
            outcome = replace(outcome, now_s=self._program.now_s())
        if outcome is not None:
            self._program.post(outcome)


class Device(Program):
    """A device with production's agent.

    Args:
        stage: what it shares with the other programs.
        settings: the device's settings.
        sources: the sources of its samples, by name.
        seconds: how long it trains in a round, in virtual seconds.
    """

    def __init__(
        self, stage: Stage, settings: AgentSettings, sources: Mapping[str, Source], seconds: float = 0.0
    ) -> None:
        super().__init__(stage)
        folder = settings.state.folder
        folder.mkdir(parents=True)
        self.name = settings.device
        self._memory = Memory(folder / memory_layout.FILE)
        self._worker = _InlineWorker(self, settings, sources, seconds)
        self._link = VirtualLink(
            self.place(),
            f"{settings.federation}_{settings.device}",
            self.post,
            will=lambda connection: self._runtime.offline_status(connection),
        )
        file = folder / model_file.FILE
        opened = open_device(settings, self._memory, file, stage.rng.randbytes(16), self.now_s())
        self._runtime = Runtime(
            settings, opened, self._memory, file, self._link, self._worker, now_s=self.now_s
        )

    @property
    def failure(self) -> Failed | None:
        """The last assignment that failed."""
        return self._worker.failed

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
