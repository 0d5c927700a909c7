"""Production's aggregator on a virtual network, which closes a round at once."""

from contextlib import nullcontext
from typing import Any

from aggregator.aggregation.job import ClosingJob
from aggregator.config import FederationSettings
from aggregator.core.federation import Federation
from aggregator.core.takeover import TakeUp
from aggregator.export.job import Exported, Job
from aggregator.ledger.layout import FILE as LEDGER
from aggregator.ledger.writing import Ledger
from aggregator.shell.closer import close
from aggregator.shell.leader_check import Watching
from aggregator.shell.runtime import Runtime
from aggregator.shell.saved_state import known
from aggregator.shell.startup import take_up
from fedge.algorithms.contribution import order
from fedge.wire.freshness import RoundId
from fedge.wire.reasons import Reason
from fleet.library.programs import Program, Stage
from fleet.simulator.link import VirtualLink

SESSION_S = 86_400


class Aggregator(Program):
    """Production's aggregator: it first watches for another aggregator, then serves.

    Args:
        stage: what it shares with the other programs.
        settings: the federation's settings.
    """

    def __init__(self, stage: Stage, settings: FederationSettings) -> None:
        super().__init__(stage)
        self._settings = settings
        settings.state.folder.mkdir(parents=True)
        self.path = settings.state.folder / LEDGER
        """The ledger's file."""
        self.ledger = Ledger(self.path)
        self._link = VirtualLink(self.place(), f"{settings.federation.name}__watch", self.post)
        self._watching = Watching(settings, self._link, known(settings, self.ledger), self.now_s)
        self._runtime: Runtime | None = None

    @property
    def done(self) -> bool:
        """Whether learning has ended and its end is published."""
        return self._runtime is not None and self._runtime.has_nothing_left_to_say

    @property
    def round(self) -> RoundId | None:
        """The round that it serves; None: it still watches."""
        return self._runtime.now().state.round if self._runtime is not None else None

    @property
    def weights(self) -> int:
        """p, the number of the model's weights."""
        return self._state().weights

    @property
    def insufficient(self) -> bool:
        """Whether the updates of the open round make no model."""
        return bool(self._state().insufficient)

    @property
    def refused(self) -> dict[str, Reason]:
        """The devices whose answers to the open round were refused, in the order of the sum, and why."""
        answers = {} if self._runtime is None else self._state().answers
        refused = {device: one.reason for device, one in answers.items() if one.reason is not None}
        return {device: refused[device] for device in sorted(refused, key=order)}

    @property
    def gives_up(self) -> bool:
        """Whether the open round asks all devices, and most of them cannot train from its model.

        A further attempt would find the same.
        """
        if self._runtime is None:
            return False
        state = self._state()
        return state.blamed == state.round and state.cohorts[-1].fraction == 1

    def _state(self) -> Federation:
        assert self._runtime is not None
        return self._runtime.now().state

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
        """The end of the watching, or the runtime's next deadline."""
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
        runtime = Runtime(
            self._settings, state, self.ledger, self._link, self._close, self._export, self.now_s
        )
        self._runtime = runtime
        runtime.begin()
        self._link.open()

    def _close(self, job: ClosingJob) -> None:
        ledger = self.ledger
        self.stage.clock.after(0.0, lambda: self.post(close(lambda: nullcontext(ledger), job)))

    def _export(self, job: Job) -> None:
        """Export no file: the models of a simulation are in its ledger."""
        self.stage.clock.after(0.0, lambda: self.post(Exported(job, b"no file", "")))
