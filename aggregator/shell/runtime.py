"""The aggregator's shell: it runs the core, with one transaction a turn.

A turn takes the events of the inbox, steps the core for each, and performs the durable effects inside one
transaction (a group commit). Only after its commit is anything visible outside: acknowledgements, receipts,
announcements (law 4).
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from aggregator.aggregation.job import ClosingJob
from aggregator.config import FederationSettings
from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.announcement import blobs_of, service
from aggregator.core.effects import Effect
from aggregator.core.events import Event
from aggregator.core.federation import Federation, Stage
from aggregator.export.job import Exported, Job
from aggregator.ledger.writing import Ledger
from aggregator.schedules.schedule import SCHEDULES
from aggregator.shell.announcements import Announcements, BlobsSent, ExportSent, ManifestSent
from aggregator.shell.certificates import certificates_of
from aggregator.shell.closer import Closed
from aggregator.shell.counters import Counters, Snapshot
from aggregator.shell.durable_effects import DurableEffects
from aggregator.shell.intake import Intake
from aggregator.shell.privacy_budget import PrivacyBudget
from aggregator.shell.reception import Reception
from aggregator.shell.reports import Reports
from aggregator.shell.round_job import RoundJob
from aggregator.shell.together import Together
from aggregator.shell.visible_effects import VisibleEffects
from fedge.identity.trust import Signer
from fedge.nn.probes import Samples
from fedge.service.failpoints import after, before
from fedge.transport import (
    Answered,
    LinkDown,
    LinkEvent,
    LinkUp,
    MessageArrived,
    Publication,
    Sent,
    Transport,
)
from fedge.transport.diagnosis import Losses
from fedge.wire.topics import Topics

log = logging.getLogger("fedge.aggregator")

_STORED = frozenset(do.STORED)

InboxEvent = Event | LinkEvent | Exported | Closed
"""The events of the inbox."""


class Runtime:
    """Runs the core on a ledger, a link, a closer and an exporter. It has no thread and never waits.

    Args:
        settings: the configuration.
        state: from `aggregator.shell.startup`.
        ledger: where the durable effects are written.
        link: to the broker.
        close: begins to compute a round's model; its `Closed` comes back as an event.
        export: begins an export; its `Exported` comes back as an event.
        now_s: monotonic seconds.
        counters: where to count what is decided.
        signer: signs what is announced; without one it goes out unsigned.
        samples: raw samples (n, d) on which each model must compute finite outputs, if there are some.
        entropy: makes secret random bytes, for the seeds of noise.
    """

    def __init__(
        self,
        settings: FederationSettings,
        state: Federation,
        ledger: Ledger,
        link: Transport,
        close: Callable[[ClosingJob], None],
        export: Callable[[Job], None],
        now_s: Callable[[], float] = time.monotonic,
        counters: Counters | None = None,
        signer: Signer | None = None,
        samples: Samples | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        counters = counters or Counters()
        topics = Topics(settings.federation.name)
        self._broker = settings.broker.url
        self._state = replace(state, signers=signer.keys if signer is not None else ())
        self._ledger = ledger
        self._link = link
        self._now_s = now_s
        self._counters = counters
        self._schedule = SCHEDULES.make(settings.rounds.schedule)
        self._announcements = Announcements(topics, link, ledger, signer)
        self._intake, self._reports = Intake(), Reports()
        self._losses, self._unsent = Losses(), Losses()
        self._reception = Reception(
            topics, ledger, self._intake, self._reports, now_s, certificates_of(settings)
        )
        self._durable = DurableEffects(ledger, self._intake, self._reports)
        began_s = now_s() - state.elapsed_s
        self._job = RoundJob(
            ledger,
            close,
            settings.state,
            counters,
            samples,
            began_s,
            PrivacyBudget(declared) if (declared := settings.declared()) is not None else None,
            entropy,
        )
        self._visible = VisibleEffects(
            topics,
            link,
            ledger,
            self._announcements,
            self._reception,
            self._job,
            export,
            settings.choose,
        )
        self._together = Together()
        self.has_nothing_left_to_say = False
        """Learning is done, and the broker holds the final model and its export."""

    def due_s(self) -> float:
        """When `turn` wants to be called next, even if nothing happens."""
        return self._schedule.due_s(self._state)

    def now(self) -> Snapshot:
        """A snapshot of the present, for readers on any thread."""
        return Snapshot(self._state, self._link.traffic.received, self._link.traffic.sent)

    def offline_status(self) -> Publication:
        """The message that stays at the broker when the program ends; also the last will."""
        return self._announcements.publication_of(service(self._state, online=False))

    def begin(self) -> None:
        """Continue from the ledger."""
        with self._ledger.transaction():
            self._state, effects = self._schedule.start(self._state, self._now_s())
            if self._state.stage is not Stage.DONE:
                self._ledger.save_parts(self._state.round, self._state.parts.text())
            self._counters.surveyed(self._ledger.summary(self._state.round._replace(round=0)))
            self._counters.brought = {}
            for _, summary in self._ledger.history(self._state.round.generation)[-2:]:
                self._counters.bring(summary)
            visible = list(self._performed(effects))
            before("Commit")
        after("Commit")
        self._show(visible)

    def end(self) -> None:
        """Save how long the round has lasted: a stop does not extend its deadline."""
        with self._ledger.transaction():
            self._durable.write_gathered()
            if self._state.stage in (Stage.COLLECTING, Stage.CLOSING):
                self._ledger.save_elapsed(self._state.round, self._state.elapsed(self._now_s()))

    def turn(self, events: Sequence[InboxEvent]) -> None:
        """Handle events in order, then the passing of time.

        Raises:
            StateError: the ledger cannot be written, or a round's updates cannot be read; nothing of this
                turn has been seen outside.
            Conflict, Undecided, ConfigError: the core has given up.
        """
        visible: list[Effect | MessageArrived] = []
        beat = self._state.beat
        with self._ledger.transaction():
            messages = (event for event in events if isinstance(event, MessageArrived))
            self._reception.look_ahead(self._state, messages)
            self._together = Together()
            for event in events:
                visible += self._take(event)
            visible += self._take_together()
            # In each turn: otherwise a device that sends without pause could stop the deadline and the beat.
            visible += self._step(on.Tick(self._now_s()))
            if self._state.beat != beat:
                visible += self._catch_up()
            before("Commit")
        after("Commit")
        self._show(visible)

    def _catch_up(self) -> Iterator[Effect]:
        """With each beat: process the waiting statuses, and write what has gathered."""
        for message in self._intake.waiting():
            if (event := self._reception.status(self._state, message)) is not None:
                yield from self._step(event)
        self._durable.write_gathered()
        self._reports.sum_up(self._now_s())

    def _take(self, event: InboxEvent) -> Iterator[Effect | MessageArrived]:
        """Step for one event, perform its durable effects, and yield the others."""
        if isinstance(event, MessageArrived):
            yield from self._take_message(event)
            return
        yield from self._take_together()
        match event:
            case LinkUp():
                self._link.handle(event)
                self._announcements.begin_anew()
                if self._losses.tells_return(self._now_s()):
                    log.info("connected to %s", self._broker)
                finer = self._announcements.finer(blobs_of(self._state))
                yield from self._step(on.LinkUp(self._now_s(), finer, event.session_present))
            case LinkDown():
                if (text := self._losses.text(event.reason, self._now_s())) is not None:
                    log.warning("not connected: %s", text)
                self._link.handle(event)
                yield from self._step(on.LinkDown(self._now_s(), event.reason, event.taken_over))
            case Answered():
                self._link.handle(event)
            case Sent(token=BlobsSent() as blobs):
                if event.refusal is None:
                    self._announcements.hold(blobs)
                yield from self._step(on.BlobsPublished(self._now_s(), blobs.round, event.refusal))
            case Sent(token=ManifestSent() as manifest) if event.refusal is None:
                yield from self._step(on.Announced(manifest.slots))
            case Sent(token=ExportSent() as export):
                self._announcements.end_export(export, event.refusal)
                self.has_nothing_left_to_say = export.last
                yield from self._step(on.ExportPublished(export.round))
            case Sent():
                if event.refusal is not None and (text := self._unsent.text(event.refusal, self._now_s())):
                    log.error("not published: %s", text)
            case Closed():
                if (closed := self._job.end(self._state, event, self._now_s())) is not None:
                    yield from self._step(closed)
            case Exported():
                before("PublishExport")
                self._announcements.export(event)
                after("PublishExport")
            case _:
                yield from self._step(event)

    def _take_message(self, message: MessageArrived) -> Iterator[Effect | MessageArrived]:
        """As `_take`; an update that comes whole waits for others of the turn."""
        if message.topic.rpartition("/")[2] in self._together:
            yield from self._take_together()
        read = self._reception.read(self._state, message)
        if isinstance(read, on.WholeUpdate):
            self._together.add(message, read)
            if not self._together.full:
                return
        yield from self._take_together()
        if not isinstance(read, on.WholeUpdate):
            if read is not None:
                yield from self._step(read)
            yield message  # acknowledged in the order of arrival, after the commit

    def _take_together(self) -> Iterator[Effect | MessageArrived]:
        """Step for the updates that wait."""
        if self._together:
            updates, messages = self._together.take()
            yield from self._step(on.UpdatesArrived(self._now_s(), updates))
            yield from messages

    def _step(self, event: Event) -> Iterator[Effect]:
        before, (self._state, effects) = self._state, self._schedule.step(self._state, event)
        self._counters.step(before, event, effects)
        yield from self._performed(effects)

    def _performed(self, effects: list[Effect]) -> Iterator[Effect]:
        """Perform what must be durable, inside the turn's transaction, and yield what is seen outside."""
        for effect in effects:
            if isinstance(effect, do.ReadUpdate):
                before(effect)
                read = self._reception.read_update(self._state, effect.device, effect.digest)
                after(effect)
                yield from self._step(read)
            elif isinstance(effect, do.ReadMasking):
                before(effect)
                message = self._reception.read_masking(effect.device, effect.digest)
                after(effect)
                yield from self._step(message)
            elif type(effect) in _STORED:
                before(effect)
                self._durable.perform(effect, self._state)
                after(effect)
            else:
                yield effect

    def _show(self, visible: Sequence[Effect | MessageArrived]) -> None:
        """Perform what is seen outside, after the commit."""
        for effect in visible:
            if isinstance(effect, MessageArrived):
                before("Acknowledge")
                self._link.acknowledge(effect)
                after("Acknowledge")
            else:
                before(effect)
                self._visible.perform(effect, self._state)
                after(effect)
