"""The aggregator's machine: it watches the federation first, then serves it."""

from collections.abc import Callable
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from aggregator.aggregation.job import ClosingJob
from aggregator.aggregation.rollback import Rollback
from aggregator.config import FederationSettings
from aggregator.core import events as on
from aggregator.core.takeover import TakeUp
from aggregator.export.job import Job
from aggregator.shell.leader_check import Watching, understood
from aggregator.shell.runtime import Runtime as Aggregator
from aggregator.shell.saved_state import known
from aggregator.shell.startup import take_up
from fedge.errors import ConfigError
from fedge.identity.trust import Signer
from fedge.transport import LinkDown, LinkUp, MessageArrived, Publication
from fedge.wire.freshness import RoundId
from fleet.simulator.disks import WatchedLedger
from fleet.simulator.hosts.jobs import Jobs
from fleet.simulator.hosts.machine import Host
from fleet.simulator.hosts.orders import Orders
from fleet.simulator.hosts.scene import Scene
from fleet.simulator.link import VirtualLink
from fleet.simulator.signing import signer

LEARNT = "learning is done"
"""Why a machine ends its program, in the trace: it was asked to exit when learning is done."""
SESSION_S = 86_400


class AggregatorHost(Host):
    """The machine of the aggregator: it watches the federation first, then serves it."""

    def __init__(
        self, scene: Scene, settings: FederationSettings, path: Path | None, name: str = "aggregator"
    ) -> None:
        super().__init__(name, scene, path)
        self.settings = settings
        self.ledger: WatchedLedger | None = None
        self.runtime: Aggregator | None = None
        self.done = False
        self.serves_since_s = inf
        """When it began to serve, by the clock of the world; infinite while it does not serve."""
        self.orders = Orders()
        self.key_number = 1
        """The number of its signing key, which changes after each run in which it served."""
        self.must_decide: Callable[[AggregatorHost, ConfigError], None] | None = None
        """Called when a human has to decide."""
        self._watching: Watching | None = None
        self._roused = False

    def begin(self) -> None:
        """As `aggregator.shell.loop`: watch."""
        if self.runtime is not None:
            self.key_number += 1
        self.runtime, self._watching, self._roused = None, None, False
        self.serves_since_s = inf
        book, segments = self.disk.book, self.disk.segments
        self.ledger = self.disk.mount(
            lambda path, connect: WatchedLedger(path, connect, self.power, self.scene.oracle, book, segments)
        )
        if self.orders.new_generation:
            newest, _ = self.known()
            self.orders.still_hold_in(newest.generation if newest is not None else 0)
        name = f"{self.settings.federation.name}__watch-{self.name}-{self.boots}"
        self.link = VirtualLink(self.place(), name, self.poster())
        memory = known(self.settings, self.ledger)
        self._watching = Watching(
            self.settings,
            self.link,
            memory,
            self.now_s,
            self._signer,
            new_generation=self.orders.new_generation,
            quarantined=frozenset(self.scene.oracle.record.aside),
        )
        self.link.open()

    def set_aside(self) -> None:
        """Tell the program that the quarantine list has changed."""
        if self.alive and self.runtime is not None:
            self.post(on.Quarantined(self.now_s(), frozenset(self.scene.oracle.record.aside)))

    def tell_new_generation(self, back: Rollback | None, far: int = 0) -> None:
        """Let it begin a generation at its next start: once, however often it dies before it serves."""
        self.orders = Orders(new_generation=True, back=back, far=far)
        self.done = False

    def offline_status(self) -> Publication | None:
        """As `aggregator.shell.loop`."""
        return self.runtime.offline_status() if self.runtime is not None else None

    def gives_up(self, error: ConfigError) -> None:
        """Ask the operator."""
        if self.must_decide is None:
            super().gives_up(error)
        else:
            self.must_decide(self, error)

    def rouse(self) -> None:
        """Handle all events of a few milliseconds in one turn, as a busy program does."""
        if not self._roused:
            self._roused = True
            boot = self.boots
            self.scene.clock.after(0.005 * self.scene.rng.random(), lambda: self._wake(boot))

    def _wake(self, boot: int) -> None:
        if boot == self.boots and self.alive:
            self._roused = False
            self.work()

    def turn(self, events: list[Any]) -> None:
        """As `aggregator.shell.loop`: one turn of watching or serving."""
        if self.runtime is None:
            assert self._watching is not None
            self._watching.turn(events)
            if self._watching.seen is not None:
                self._serve(self._watching.seen)
            return
        for event in events:
            if isinstance(event, LinkUp | LinkDown):
                self.scene.oracle.waits.linked(self.name, up=isinstance(event, LinkUp))
            elif isinstance(event, MessageArrived):
                self.scene.oracle.waits.hears(self.disk.book, event)
        self.runtime.turn(events)
        if self.runtime.has_nothing_left_to_say:
            self.done = True

    def die(self, *, silently: bool) -> None:
        """As `Host.die`; ends the watching, if it still watched."""
        if self.alive:
            self._watched()
            self.scene.oracle.waits.linked(self.name, up=False)
        super().die(silently=silently)

    def end(self, why: str, offline_status: Publication | None = None) -> None:
        """As `Host.end`."""
        self.scene.oracle.waits.linked(self.name, up=False)
        super().end(why, offline_status)

    def stop(self) -> None:
        """Exit, as an aggregator does that was asked to exit when learning is done."""
        if self.alive and self.runtime is not None:
            self.end(LEARNT, self.runtime.offline_status())

    def due_s(self) -> float | None:
        """The end of the watching, or the runtime's next deadline."""
        if self.runtime is not None:
            return self.runtime.due_s()
        return self._watching.due_s() if self._watching is not None else None

    def says(self, piece: Publication) -> None:
        """Tell the oracle."""
        assert self.ledger is not None
        self.scene.oracle.aggregator_says(self.ledger, self.disk.book, piece)

    def handed(self, piece: Publication) -> None:
        """Tell the oracle."""
        self.scene.oracle.receipts.answers(self.disk.book, piece)

    def acknowledging(self, message: MessageArrived) -> None:
        """Tell the oracle."""
        if self.runtime is not None:
            self.scene.oracle.receipts.acknowledges(self.disk.book, message)

    def _serve(self, seen: TakeUp) -> None:
        """As `aggregator.shell.loop`."""
        self._watched()
        assert self.link is not None
        assert self.ledger is not None
        self.link.close()
        self._inbox.clear()
        instance = self.scene.rng.randbytes(16)
        before, has_model = self.known()
        back = self._wish() if has_model else None
        if seen.generation is not None:
            self.disk.book.wishes[seen.generation] = back
            self.scene.oracle.takeovers.generation_begins(seen.generation, before)
        state = take_up(self.settings, self.ledger, instance, seen, back=back)
        aside = frozenset(self.scene.oracle.record.aside)
        state = replace(state, quarantined=aside)
        said = self.scene.broker.retained.get(self.scene.topics.round)
        told = said and MessageArrived(said.topic, said.payload, True, None, 0, 0)
        if not self.orders.new_generation and told and understood(self.scene.topics, told, 0.0, self._signer):
            self.scene.oracle.takeovers.begins(self.scene.broker.retained, before)
        self.orders = Orders()
        self.disk.book.over_s = inf  # nothing is announced yet in this life
        self.disk.book.heard.clear()
        post = self.poster()
        self.link = VirtualLink(
            self.place(),
            f"{self.settings.federation.name}__aggregator",
            post,
            will=lambda _: runtime.offline_status(),
            keep_session_s=SESSION_S,
            manual_ack=True,
        )
        jobs = Jobs(self, self.ledger, self.disk.book, post)
        runtime = self.aggregator(state, jobs.close, jobs.export)
        self.runtime, self.serves_since_s = runtime, self.scene.clock.now_s
        runtime.begin()
        runtime.turn([on.Quarantined(self.now_s(), aside)])
        self.link.open()

    def _wish(self) -> Rollback | None:
        """The model in its ledger that its orders ask for."""
        ledger, aside = self.ledger, frozenset(self.scene.oracle.record.aside)
        assert ledger is not None
        return self.power.spare(lambda: self.orders.wish(ledger, aside))

    def known(self) -> tuple[RoundId | None, bool]:
        """The newest round that its ledger knows, and whether its generation has a model."""
        assert self.ledger is not None
        newest = self.power.spare(self.ledger.newest_round)
        return newest, newest is not None and newest.round > 0

    def _watched(self) -> None:
        """Tell the oracle until when it watched."""
        since_s = self._watching.subscribed_s if self._watching is not None else None
        if self._watching is not None and self.runtime is None and since_s is not None:
            since_s += self._watching.patience_s
            self.scene.oracle.takeovers.watched(since_s + self._zero_s)

    def aggregator(
        self, state: Any, close: Callable[[ClosingJob], None], export: Callable[[Job], None]
    ) -> Aggregator:
        """Production's runtime on this host's parts."""
        assert self.ledger is not None
        assert self.link is not None
        return Aggregator(
            self.settings, state, self.ledger, self.link, close, export, self.now_s, signer=self._signer
        )

    @property
    def _signer(self) -> Signer | None:
        """The signer with its present key."""
        return signer(self.scene.topics, self.key_number) if self.settings.signing.key is not None else None
