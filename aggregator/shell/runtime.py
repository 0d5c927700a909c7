"""The aggregator's shell: the core at work, one transaction a turn.

A turn takes what the inbox held, steps the core for each event, and performs what must be durable inside
one transaction (a group commit). Only after its commit is anything seen outside: acknowledgements, receipts,
announcements (law 4).
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from aggregator.aggregation.aggregate import Unmade, Unusable
from aggregator.aggregation.job import ClosingJob, Computed
from aggregator.aggregation.outcome import job_of, save
from aggregator.aggregation.probes import Samples
from aggregator.aggregation.survey import Unmeasured
from aggregator.aggregation.updates import read_update
from aggregator.config import FederationSettings
from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import participation
from aggregator.core.advice import Sizes, propose
from aggregator.core.effects import Effect
from aggregator.core.events import Event
from aggregator.core.federation import Federation, Stage, service
from aggregator.core.verdicts import KeptVerdict
from aggregator.export import writer
from aggregator.export.writer import Exported, Job
from aggregator.ledger.writing import Ledger
from aggregator.phases.phase import phase_of
from aggregator.schedules.schedule import SCHEDULES
from aggregator.shell.announcements import Announcements, BlobsSent, ExportSent
from aggregator.shell.closer import Closed
from aggregator.shell.counters import Now, Tally
from aggregator.shell.intake import Intake, allowance_of, counted_as
from aggregator.shell.pending import Pending
from aggregator.shell.reports import Reports
from fedge.errors import ConfigError, Conflict, ProtocolError, Undecided
from fedge.identity.trust import Signer
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
from fedge.wire.freshness import RECEIPT_EXPIRY_S, RoundId, round_of
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.service import Service
from fedge.wire.messages.status import Status
from fedge.wire.reasons import Rejection
from fedge.wire.topics import Address, Topics

log = logging.getLogger("fedge.aggregator")
MORE = (
    "it goes on if [stopping] is raised and the aggregator started again; "
    "`fedge-aggregator new-generation` begins anew"
)
"""Said once learning is done."""

InboxEvent = Event | LinkEvent | Exported | Closed
"""What the inbox brings."""


class Runtime:
    """The core at work on real things: ledger, link, closer, exporter. It has no thread and never waits.

    Args:
        settings: the configuration.
        state: from `aggregator.shell.startup`.
        ledger: what must survive.
        link: to the broker.
        close: begins to compute a round's model; its `Closed` comes back as an event.
        export: begins an export; its `Exported` comes back as an event.
        now_s: monotonic seconds.
        tally: where to count what is decided.
        signer: signs what is announced; without one it goes out unsigned.
        samples: raw samples (n, d) on which each model must compute finite outputs, if there are some.
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
        tally: Tally | None = None,
        signer: Signer | None = None,
        samples: Samples | None = None,
    ) -> None:
        self._settings = settings
        self._state = replace(state, signers=signer.keys if signer is not None else ())
        self._ledger = ledger
        self._link = link
        self._close = close
        self._export = export
        self._now_s = now_s
        self._tally = tally or Tally()
        self._samples = samples
        self._schedule = SCHEDULES.make(settings.rounds.schedule)
        self._topics = Topics(settings.federation.name)
        self._closing: ClosingJob | None = None
        """Whose result is waited for: that of any other job comes too late."""
        self._announcements = Announcements(self._topics, link, ledger, signer)
        self._intake, self._pending, self._reports = Intake(), Pending(), Reports()
        self._losses = Losses()
        self._round_began_s = now_s() - state.elapsed_s
        self.has_nothing_left_to_say = False
        """Learning is done, and the broker holds the final model and its export."""

    def due_s(self) -> float:
        """When `turn` wants to be called next, even if nothing happens."""
        return self._schedule.due_s(self._state)

    def now(self) -> Now:
        """The present, for those who only look on, from any thread."""
        return Now(self._state, self._link.traffic.received, self._link.traffic.sent)

    def offline_status(self) -> Publication:
        """What is to stand at the broker when we are gone; also the will."""
        return self._announcements.publication_of(service(self._state, online=False))

    def begin(self) -> None:
        """Take up where the ledger stands."""
        with self._ledger.transaction():
            self._state, effects = self._schedule.start(self._state, self._now_s())
            if self._state.stage is not Stage.DONE:
                self._ledger.save_parts(self._state.round, self._state.parts.text())
            self._tally.surveyed(self._ledger.summary(self._state.round._replace(round=0)))
            self._tally.brought = {}
            for _, summary in self._ledger.history(self._state.round.generation)[-2:]:
                self._tally.bring(summary)
            visible = list(self._durable(effects))
            before("Commit")
        after("Commit")
        self._show(visible)

    # ── one turn ───────────────────────────────────────────────────────────────────────────────────

    def end(self) -> None:
        """Keep how long the round has lasted: a stop is no gift of time."""
        with self._ledger.transaction():
            self._pending.write(self._ledger)
            if self._state.stage in (Stage.COLLECTING, Stage.CLOSING):
                self._ledger.save_elapsed(self._state.round, self._state.elapsed(self._now_s()))

    def turn(self, events: Sequence[InboxEvent]) -> None:
        """Handle what happened, in order, and then that time has passed.

        Raises:
            StateError: the ledger cannot be written, or what a round is closed of cannot be read; nothing of
                this turn has been seen outside.
            Conflict, Undecided, ConfigError: the core has given up.
        """
        visible: list[Effect | MessageArrived] = []
        beat = self._state.beat
        with self._ledger.transaction():
            for event in events:
                visible += self._take(event)
            # In each turn, for whoever sends without a pause could else stop the deadline and the beat.
            visible += self._step(on.Tick(self._now_s()))
            if self._state.beat != beat:
                visible += self._catch_up()
            before("Commit")
        after("Commit")
        self._show(visible)

    def _catch_up(self) -> Iterator[Effect]:
        """With each beat: look at the statuses that wait, and write what has gathered."""
        for message in self._intake.waiting():
            if (address := self._topics.parse(message.topic)) is not None:
                yield from self._understand(address, message)
        self._pending.write(self._ledger)
        self._reports.sum_up(self._now_s())

    def _take(self, event: InboxEvent) -> Iterator[Effect | MessageArrived]:
        """Step for one event, perform its durable effects, and yield the others."""
        match event:
            case LinkUp():
                self._link.handle(event)
                self._announcements.begin_anew()
                if self._losses.tells_return(self._now_s()):
                    log.info("connected to %s", self._settings.broker.url)
                yield from self._step(on.LinkUp(self._now_s()))
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
            case Sent(token=ExportSent() as export):
                self._announcements.end_export(export, event.refusal)
                self.has_nothing_left_to_say = export.last
                yield from self._step(on.ExportPublished(export.round))
            case Sent():
                log.error("the broker refuses: %s", event.refusal)
            case Closed():
                if (closed := self._closed(event)) is not None:
                    yield from self._step(closed)
            case Exported():
                before("PublishExport")
                self._announcements.export(event)
                after("PublishExport")
            case MessageArrived():
                yield from self._read(event)
                yield event  # acknowledged in the order of arrival, after the commit
            case _:
                yield from self._step(event)

    def _step(self, event: Event) -> Iterator[Effect]:
        before, (self._state, effects) = self._state, self._schedule.step(self._state, event)
        self._tally.step(before, event, effects)
        yield from self._durable(effects)

    def _read(self, message: MessageArrived) -> Iterator[Effect]:
        address = self._topics.parse(message.topic)
        if address is None or not message.payload:
            return
        if address.device is not None and not self._is_taken(address.kind, address.device, message):
            return
        yield from self._understand(address, message)

    def _is_taken(self, kind: str, device: str, message: MessageArrived) -> bool:
        """Whether what a device says is looked at now."""
        now_s = self._now_s()
        if kind == "status":
            return self._intake.takes_status(device, message, now_s)
        if kind != "update" or self._intake.takes_update(self._state, device, len(message.payload), now_s):
            return True
        text = f"{device} sends more than any update takes: what is too much is dropped, as if it were lost"
        self._report(logging.WARNING, device, "too much", text)
        return False

    def _report(self, level: int, device: str, cause: str, text: str) -> None:
        self._reports.tell(level, allowance_of(self._state, device), cause, text, self._now_s())

    def _understand(self, address: Address, message: MessageArrived) -> Iterator[Effect]:
        try:
            yield from self._step_message(address, message)
        except ProtocolError as error:
            if address.kind == "update" and address.device is not None:
                digest = hashlib.sha256(message.payload).digest()
                yield from self._step(on.GarbageArrived(address.device, digest, error.reason, str(error)))
            else:
                text = f"ignored a message on {message.topic}: {error}"
                self._report(logging.WARNING, address.device or "", f"{address.kind} {error.reason}", text)

    def _step_message(self, address: Address, message: MessageArrived) -> Iterator[Effect]:
        now_s = self._now_s()
        match address.kind:
            case "update" if address.device is not None:
                frame = unpack(message.payload, Frame)
                verdict = self._verdict(address.device, frame.id)
                kept = frame.asks is None or self._remembers(round_of(frame.asks))
                yield from self._step(on.FrameArrived(now_s, address.device, frame, verdict, kept))
            case "status" if address.device is not None:
                if address.version != "v1":
                    text = f"{address.device} speaks {address.version} of the protocol, this program v1"
                    self._report(logging.WARNING, address.device, "version", f"{text}: it cannot take part")
                    return
                status = unpack(message.payload, Status)
                yield from self._step(on.StatusSeen(now_s, address.device, status))
            case "service":
                yield from self._step(on.ServiceSeen(unpack(message.payload, Service)))
            case _:
                pass

    def _verdict(self, device: str, digest: bytes) -> KeptVerdict | None:
        """What the ledger holds of an update; of one that was begun, nothing: else it was not begun."""
        begun = self._state.partials.get(device)
        if begun is not None and begun.id == digest:
            return None
        return self._ledger.verdict(device, digest)

    # ── closing ────────────────────────────────────────────────────────────────────────────────────

    def _begin_to_close(self) -> None:
        """Hand out the job, after the commit: all that counts can be read over any connection."""
        self._closing = replace(job_of(self._state), samples=self._samples)
        self._close(self._closing)

    def _closed(self, closed: Closed) -> Event | None:
        """Save what was computed, inside the turn's transaction; None: it was of another round or life."""
        job = closed.job
        if job is not self._closing:
            return None
        self._closing = None
        now_s = self._now_s()
        match closed.outcome:
            case Computed() as computed:
                phase = phase_of(job.kind)
                progress = phase.progress(self._state.progress, computed.summary)
                seconds = now_s - self._round_began_s
                save(self._ledger, job, computed, seconds, self._settings.state, progress)
                summary = self._ledger.summary(job.round)
                self._round_began_s = now_s
                self._tally.closed(summary)
                if computed.task_data is not None:
                    log.info("round %s: %s", job.round, self._advice(computed))
                return on.RoundClosed(
                    now_s,
                    job.round,
                    computed.task_blob,
                    computed.task,
                    computed.model,
                    progress,
                    computed.vector,
                    phase.usual(self._state.usual, summary),
                )
            case Unmeasured() | Unmade() as nothing:
                return on.CloseFailed(now_s, job.round, str(nothing))
            case Unusable() as unusable:
                return on.MeanUnusable(now_s, job.round, unusable.devices, str(unusable))
            case error:
                raise error

    def _advice(self, computed: Computed) -> str:
        """What the survey told of sizes and classes says about the plan."""
        rows = [self._state.answers[device].samples for device in self._state.counted]
        sizes = Sizes.of(rows, computed.task.network.schema.size, computed.mix)
        return propose(sizes).against(self._state.plan)

    # ── effects that must be durable, inside the turn's transaction ────────────────────────────────

    def _durable(self, effects: list[Effect]) -> Iterator[Effect]:
        """Perform these and yield the others, which are seen outside."""
        for effect in effects:
            if isinstance(effect, do.ReadUpdate):
                before(effect)
                read = self._read_update(effect.device, effect.digest)
                after(effect)
                yield from self._step(read)
            elif isinstance(effect, do.DURABLE + do.GATHERED):
                before(effect)
                self._save(effect)
                after(effect)
            else:
                yield effect

    def _save(self, effect: Effect) -> None:
        match effect:
            case do.SpoolFrame(device, frame):
                self._ledger.spool(device, frame)
            case do.DropSpool(device, digest):
                self._ledger.drop_spool(device, digest)
            case do.SaveAnswer(round_id, device, answer):
                self._ledger.save_answer(round_id, device, answer)
                self._intake.answered(self._state, device)
                if answer.verdict == "admitted":
                    self._reports.renew(device)
            case do.SetAside(round_id, device, answer):
                self._ledger.set_aside(round_id, device, answer)
            case do.DropAnswer(round_id, device, digest):
                self._ledger.drop_answer(round_id, device, digest)
            case do.CountRefusal(device, reason):
                self._pending.count(counted_as(self._state, device), reason)
            case do.SaveStatus(device, status):
                self._pending.keep(self._ledger, device, status, time.time())
            case do.SaveMissed(device, missed):
                self._ledger.save_missed(device, missed)
            case do.SaveRound(round_id, kind, attempt, cohorts, quorum):
                self._ledger.save_round(round_id, kind, attempt, cohorts, time.time(), quorum)
                self._ledger.save_parts(round_id, self._state.parts.text())
            case do.SaveElapsed(round_id, elapsed_s):
                self._ledger.save_elapsed(round_id, elapsed_s)

    def _read_update(self, device: str, digest: bytes) -> Event:
        now_s = self._now_s()
        try:
            message = read_update(self._ledger, device, digest)
        except ProtocolError as error:
            message = Rejection(error.reason, str(error))
        remembered = isinstance(message, Rejection) or self._remembers(round_of(message))
        return on.UpdateRead(now_s, device, digest, message, remembered)

    def _remembers(self, round_id: RoundId) -> bool:
        return round_id >= self._state.round or self._ledger.remembers(round_id)

    # ── effects that are seen, after the commit ────────────────────────────────────────────────────

    def _show(self, visible: Sequence[Effect | MessageArrived]) -> None:
        for effect in visible:
            if isinstance(effect, MessageArrived):
                before("Acknowledge")
                self._link.acknowledge(effect)
                after("Acknowledge")
            else:
                before(effect)
                self._perform(effect)
                after(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case do.SendReceipt(device, receipt):
                self._link.reply(
                    Publication(self._topics.receipt(device), pack(receipt), expiry_s=RECEIPT_EXPIRY_S)
                )
            case do.Subscribe():
                self._link.subscribe(
                    self._topics.all_updates, self._topics.all_statuses, self._topics.service
                )
            case do.PublishService(message):
                self._link.send([self._announcements.publication_of(message)])
            case do.PublishBlobs():
                self._announcements.blobs(effect)
            case do.PublishManifest(manifest):
                self._announcements.manifest(manifest)
            case do.ClearSlots(task, model):
                self._announcements.clear("task", 1 - task)
                if model is not None:
                    self._announcements.clear("model", 1 - model)
            case do.CloseRound():
                self._begin_to_close()
            case do.ExportModel(round_id):
                self._begin_export(round_id)
            case do.Complete(why):
                took_part = participation.last_of(self._ledger.summaries(self._state.round.generation))
                log.info("learning is done: %s%s", why, took_part)
                log.info(MORE)
            case do.Abort(text, gave_way, later):
                raise (Conflict if gave_way else Undecided if later else ConfigError)(text)
            case do.Log(level, text, device, cause):
                number = logging.getLevelNamesMapping()[level.upper()]
                if device is None:
                    log.log(number, "%s", text)
                else:
                    self._report(number, device, cause, text)

    # ── export ─────────────────────────────────────────────────────────────────────────────────────

    def _begin_export(self, round_id: RoundId) -> None:
        how = self._settings.export.choose
        job = writer.job_of(self._ledger, self._state, round_id, how)
        if job is None or job.round.generation != round_id.generation:
            which = f"the model of round {job.round}" if job is not None else "what was exported before"
            until = f"a round of training closes in generation {round_id.generation}"
            log.info("%s stays exported until %s", which, until)
        if job is not None:
            self._export(job)
