"""The runtime of the agent: take an event, call `step`, perform the effects in order."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from agent.config import AgentSettings
from agent.core import effects as do
from agent.core import events as on
from agent.core import lifecycle
from agent.core.conditions import UNMEASURED, Readings
from agent.core.device import Fetching, Reporting
from agent.core.effects import Effect
from agent.core.events import Event
from agent.core.lifecycle.unsaved import give_up
from agent.phases.phase import phase_of
from agent.shell.downloads import Downloads
from agent.shell.measured_conditions import Conditions
from agent.shell.memory import Memory
from agent.shell.outbox import Outbox
from agent.shell.refusals import Refusals
from agent.shell.served_models import ServedModels
from agent.shell.startup import Opened
from agent.trainers.assignment import Assignment
from agent.trainers.worker import Worker
from fedge.algorithms.protocols import WEIGHTS
from fedge.errors import DamagedState, ProtocolError, StateError
from fedge.identity import ed25519
from fedge.identity.trust import authenticate
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
from fedge.wire.freshness import RoundId, seconds_left
from fedge.wire.messages.envelope import Signed
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.status import Status
from fedge.wire.topics import Address, Topics

log = logging.getLogger("fedge.agent")

InboxEvent = Event | LinkEvent
"""What the inbox brings."""


class Runtime:
    """Connects the core with a memory, a link and a worker. It has no thread and never waits.

    Args:
        settings: the configuration.
        opened: from `agent.shell.startup`.
        memory: what must survive.
        file: where the newest model followed is kept.
        link: to the broker.
        worker: does the work; its `Done` or `Failed` comes back as an event.
        conditions: measures what the owner's conditions ask for; None: nothing is measured.
        now_s: monotonic seconds.
    """

    def __init__(
        self,
        settings: AgentSettings,
        opened: Opened,
        memory: Memory,
        file: Path,
        link: Transport,
        worker: Worker,
        conditions: Conditions | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._state = opened.state
        self._memory = memory
        self._link = link
        self._worker = worker
        self._conditions = conditions
        self._now_s = now_s
        self._topics = Topics(settings.federation)
        self._downloads = Downloads(opened.held)
        self._models = ServedModels(file, self._downloads)
        self._outbox = Outbox(memory)
        if self._downloads.has_task:  # the whole fleet may start at once, after a power cut
            link.spread_s = self._downloads.task.reconnect_spread_s
        self._losses = Losses()
        self._return_s: float | None = None
        self._reported = (0, 0)
        self._refusals = Refusals()

    def due_s(self) -> float | None:
        """When `turn` must be called next, in monotonic seconds; None: only when an event arrives."""
        due = [due_s for due_s in (lifecycle.due_s(self._state), self._return_s) if due_s is not None]
        return min(due, default=None)

    def offline_status(self, connection: int | None = None) -> Publication:
        """The retained status for the time when this device is offline; the will of the n-th connection."""
        state = self._state if connection is None else replace(self._state, connection=connection)
        return self._status_publication(lifecycle.status(state, online=False))

    # ── events ─────────────────────────────────────────────────────────────────────────────────────

    def turn(self, event: InboxEvent | None) -> None:
        """Handle an event, if there is one, and what is due by now.

        Raises:
            DamagedState: the memory is damaged. A disk that is full or read-only raises nothing: the round is
                declined, and what could not be saved is not published.
        """
        returning = self._return_s is not None and self._now_s() >= self._return_s
        if returning:
            self._return_s = None
        if self._conditions is not None:
            self._conditions.count(self._link.traffic.sent + self._link.traffic.received)
            if self._conditions.used_up and self._return_s is None:
                self._step(on.ConditionsChanged(self._now_s(), self._readings()))
        if returning and self._return_s is None:  # no new pause has begun meanwhile
            self._link.open()
        if event is not None:
            self._take(event)
        due_s = self.due_s()
        # After each event too: otherwise a sender without pauses could keep this device from what is due.
        if event is None or (due_s is not None and self._now_s() >= due_s):
            self._step(on.ConditionsChanged(self._now_s(), self._readings()))
            self._step(on.Tick(self._now_s()))

    def _take(self, event: InboxEvent) -> None:
        match event:
            case LinkUp() | LinkDown() if self._return_s is not None:
                pass  # it was queued before this device disconnected
            case LinkUp():
                self._link.handle(event)
                if self._losses.tells_return(self._now_s()):
                    log.info("connected to %s", self._settings.broker.url)
                self._step(on.LinkUp(self._now_s(), event.connection))
            case LinkDown():
                if (self._link.up or not self._state.link_up) and (
                    text := self._losses.text(event.reason, self._now_s())
                ):
                    log.warning("not connected: %s", text)
                self._link.handle(event)
                self._step(on.LinkDown())
            case Answered():
                self._link.handle(event)
            case Sent():
                log.error("the broker refuses: %s", event.refusal)
            case MessageArrived():
                address = self._topics.parse(event.topic)
                if address is None or not event.payload:
                    return
                try:
                    self._read(event, address)
                except ProtocolError as error:
                    self._refusals.tell(event.topic, address.kind, error, self._now_s())
            case _:
                self._step(event)

    def _read(self, message: MessageArrived, address: Address) -> None:
        now_s = self._now_s()
        match address.kind:
            case "round":
                self._read_manifest(message)
            case "task" | "model":
                self._read_frame(address, unpack(message.payload, Frame))
            case "receipt":
                self._step(on.ReceiptArrived(now_s, unpack(message.payload, Receipt)))
            case "status":
                status = unpack(message.payload, Status)
                self._step(on.StatusSeen(now_s, status, live=not message.retained))
            case _:
                pass

    def _read_manifest(self, message: MessageArrived) -> None:
        """Take an announcement; if a key is pinned, only one signed with that key or its successor."""
        envelope, signers = unpack(message.payload, Signed), self._state.signers
        if signers:
            signers = authenticate(envelope, "round", self._topics, signers, ed25519.verify)
        manifest = unpack(envelope.body, Manifest)
        left_s = seconds_left(manifest.seconds_left, message.expiry_left_s)
        self._step(on.RoundAnnounced(self._now_s(), manifest, left_s, signers, self._readings()))
        if self._state.manifest is manifest:
            self._refusals.begin_anew(self._now_s())

    def _read_frame(self, address: Address, frame: Frame) -> None:
        """Take a frame of the task or model that is being fetched; others belong to earlier requests."""
        if not isinstance(self._state.work, Fetching):
            return
        event = self._downloads.offer(address.kind, frame, self._state.manifest, self._now_s())
        if event is None:
            return
        if self._downloads.has_task:
            self._link.spread_s = self._downloads.task.reconnect_spread_s
        self._step(event)

    def _readings(self) -> Readings:
        return UNMEASURED if self._conditions is None else self._conditions.read()

    # ── effects ────────────────────────────────────────────────────────────────────────────────────

    def _step(self, event: Event) -> None:
        former = self._state
        self._state, effects = lifecycle.step(former, event)
        for effect in effects:
            try:
                before(effect)
                self._perform(effect)
                after(effect)
            except DamagedState:
                raise  # the next start quarantines the file
            except StateError as error:
                log.error("%s", error)
                given = give_up(former, self._state, effect, str(error), self._now_s())
                if given is not None:
                    self._state, told = given
                    if told is not None:  # before anything else happens
                        self._step(told)
                    return

    def _perform(self, effect: Effect) -> None:
        match effect:
            case do.Subscribe():
                device = self._settings.device
                self._link.subscribe(
                    self._topics.round, self._topics.receipt(device), self._topics.status(device)
                )
            case do.PublishStatus(status):
                self._link.send([self._status_publication(status)])
            case do.Fetch(manifest, task, model):
                filters = [self._topics.task_frames(manifest.task.slot)] if task else []
                if model and manifest.model:
                    filters.append(self._topics.model_frames(manifest.model.slot))
                self._link.subscribe(*filters)
            case do.StopFetching():
                for slot in (0, 1):
                    self._link.unsubscribe(self._topics.task_frames(slot), self._topics.model_frames(slot))
                self._downloads.drop()
            case do.StartWork(manifest):
                self._start(manifest)
            case do.CancelWork():
                self._worker.cancel()
            case do.KeepModel():
                if self._memory.seen() != (seen := self._state.seen):
                    # The disk had not taken it, or it was to be saved with an update that never came to be. A
                    # restart would take part in rounds before this model's.
                    self._memory.save_seen(seen)
                self._models.keep(self._state.manifest, gated=self._state.gated)
            case do.JudgeModel(digest):
                tolerance = self._settings.predict.tolerance
                assert tolerance is not None
                self._worker.judge(self._models.judgement(digest, tolerance))
            case do.UseModel(digest):
                self._models.use(digest)
            case do.SaveSigners(signers, seen):
                self._memory.save_signers(signers, seen)
            case do.SaveSeen(attempt):
                self._memory.save_seen(attempt)
            case do.SaveUpdate(attempt, digest, payload, snapshot, pending):
                self._memory.save_update(attempt, digest, payload, snapshot, pending)
                self._outbox.put(payload)
            case do.PublishUpdate(digest, numbers, asks):
                self._publish_update(digest, numbers, asks)
            case do.SaveVerdict(digest, verdict, resets):
                self._memory.save_verdict(digest, verdict, resets=resets)
            case do.ResetState():
                self._memory.reset_state()
            case do.Disconnect(seconds, farewell):
                self._link.close(self.offline_status() if farewell else None)
                self._return_s = self._now_s() + seconds
            case do.Log(level, text):
                log.log(logging.getLevelNamesMapping()[level.upper()], "%s", text)

    def _start(self, manifest: Manifest) -> None:
        sent, received = self._link.traffic.sent, self._link.traffic.received
        traffic = {
            "sent_bytes": float(sent - self._reported[0]),
            "received_bytes": float(received - self._reported[1]),
        }
        self._reported = (sent, received)
        log.info("round %d.%d: %s begins", manifest.generation, manifest.round, manifest.kind)
        phase = phase_of(manifest.kind)
        vectors = self._downloads.vectors if phase.needs_model else {}
        weights = vectors.get(WEIGHTS)
        more = {name: vector for name, vector in vectors.items() if name != WEIGHTS}
        state = self._memory.state() if phase.needs_state else None
        self._worker.start(Assignment(manifest, self._downloads.task, weights, traffic, more, state))

    def _publish_update(
        self, digest: bytes, numbers: tuple[int, ...] | None, asks: RoundId | None = None
    ) -> None:
        frames = self._outbox.frames(digest, numbers, asks, lambda: self._is_reporting(digest))
        if frames is not None:
            topic = self._topics.update(self._settings.device)
            self._link.send(Publication(topic, frame) for frame in frames)

    def _is_reporting(self, digest: bytes) -> bool:
        saved = self._state.saved
        return isinstance(self._state.work, Reporting) and saved is not None and saved.digest == digest

    def _status_publication(self, status: Status) -> Publication:
        return Publication(self._topics.status(self._settings.device), pack(status), retain=True)
