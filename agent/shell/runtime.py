"""The agent's shell: the core at work. Take an event, `step`, perform the effects in order."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.config import AgentSettings
from agent.core import effects as do
from agent.core import events as on
from agent.core import lifecycle
from agent.core.conditions import UNMEASURED, Readings
from agent.core.device import Fetching, Reporting
from agent.core.effects import Effect
from agent.core.events import Event
from agent.phases.phase import phase_of
from agent.shell import model_file
from agent.shell.measured_conditions import Conditions
from agent.shell.memory import Memory
from agent.shell.refusals import Refusals
from agent.shell.startup import Opened
from agent.trainers.assignment import Assignment
from agent.trainers.comparison import Judgement
from agent.trainers.worker import Worker
from fedge.algorithms.protocols import WEIGHTS
from fedge.algorithms.registry import CODECS
from fedge.data.disclosure import public
from fedge.errors import DamagedState, ProtocolError, StateError
from fedge.identity import ed25519
from fedge.identity.trust import authenticate
from fedge.nn import first_weights
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
from fedge.wire.assembly import Assembler, Limits
from fedge.wire.capabilities import unknown_in_model, unknown_in_task
from fedge.wire.frames import Split, asking, split
from fedge.wire.freshness import RoundId, seconds_left
from fedge.wire.messages.envelope import Signed
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.status import Status
from fedge.wire.messages.task import Task
from fedge.wire.reasons import Reason, Rejection
from fedge.wire.topics import Address, Topics

log = logging.getLogger("fedge.agent")

LARGEST_DOWNLOAD = 512 * 2**20

InboxEvent = Event | LinkEvent
"""What the inbox brings."""


class Runtime:
    """The core at work on real things: a memory, a link, a worker. It has no thread and never waits.

    Args:
        settings: the configuration.
        opened: from `agent.shell.startup`.
        memory: what must survive.
        file: where the newest model followed is kept.
        link: to the broker.
        worker: does the work; its `Done` or `Failed` comes back as an event.
        conditions: measures what the owner's manners ask for; None: nothing is measured.
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
        self._file = file
        self._link = link
        self._worker = worker
        self._conditions = conditions
        self._now_s = now_s
        self._topics = Topics(settings.federation)
        self._assembler = Assembler(Limits(LARGEST_DOWNLOAD, LARGEST_DOWNLOAD))
        kept = opened.held
        self._task = (kept.task, kept.decoded_task) if kept else None
        self._model = (kept.model, _vectors(kept.decoded_model)) if kept else None
        self._candidate: tuple[bytes, bytes, bytes] | None = None
        """Digest, task and model of what is judged, which stay at hand whatever is fetched meanwhile."""
        if self._task is not None:  # the whole fleet may start at once, after a power cut
            link.spread_s = self._task[1].reconnect_spread_s
        self._outbox: Split | None = None
        self._losses = Losses()
        self._return_s: float | None = None
        self._reported = (0, 0)
        self._refusals = Refusals()

    def due_s(self) -> float | None:
        """When `turn` wants to be called next, even if nothing happens; None: not before something does."""
        due = [due_s for due_s in (lifecycle.due_s(self._state), self._return_s) if due_s is not None]
        return min(due, default=None)

    def offline_status(self, connection: int | None = None) -> Publication:
        """The status to stand at the broker when we are gone; the will of the n-th connection."""
        state = self._state if connection is None else replace(self._state, connection=connection)
        return self._status_publication(lifecycle.status(state, online=False))

    # ── events ─────────────────────────────────────────────────────────────────────────────────────

    def turn(self, event: InboxEvent | None) -> None:
        """Handle what happened, if anything, and what is due by now.

        Raises:
            DamagedState: the memory is not what was written. A disk that is full or read-only raises nothing:
                the round at hand is declined, and what could not be kept is not said.
        """
        returning = self._return_s is not None and self._now_s() >= self._return_s
        if returning:
            self._return_s = None
        if self._conditions is not None:
            self._conditions.count(self._link.traffic.sent + self._link.traffic.received)
            if self._conditions.used_up and self._return_s is None:
                self._step(on.ConditionsChanged(self._now_s(), self._readings()))
        if returning and self._return_s is None:  # it has not been told to stay away for longer
            self._link.open()
        if event is not None:
            self._take(event)
        due_s = self.due_s()
        # Whatever has happened: whoever sends without a pause could else keep us from all that is due.
        if event is None or (due_s is not None and self._now_s() >= due_s):
            self._step(on.ConditionsChanged(self._now_s(), self._readings()))
            self._step(on.Tick(self._now_s()))

    def _take(self, event: InboxEvent) -> None:
        match event:
            case LinkUp() | LinkDown() if self._return_s is not None:
                pass  # it was said before we left the broker
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
        """Take an announcement, where a key is pinned only if it is signed with that or its successor."""
        envelope, signers = unpack(message.payload, Signed), self._state.signers
        if signers:
            signers = authenticate(envelope, "round", self._topics, signers, ed25519.verify)
        manifest = unpack(envelope.body, Manifest)
        left_s = seconds_left(manifest.seconds_left, message.expiry_left_s)
        self._step(on.RoundAnnounced(self._now_s(), manifest, left_s, signers, self._readings()))
        if self._state.manifest is manifest:
            self._refusals.begin_anew(self._now_s())

    def _read_frame(self, address: Address, frame: Frame) -> None:
        """Take a frame of the task or model that is being fetched; others are left over from before."""
        if not isinstance(self._state.work, Fetching):
            return
        manifest = self._state.manifest
        wanted = manifest and (manifest.task if address.kind == "task" else manifest.model)
        if not wanted or (frame.id, frame.n, frame.size) != (wanted.digest, wanted.frames, wanted.size):
            return
        held = self._assembler.count(address.kind, frame.id)
        whole = self._assembler.offer(address.kind, frame)
        if isinstance(whole, Rejection):
            # One forged frame must not stand in the way of the genuine ones, which are asked for again.
            self._assembler.drop(address.kind)
            raise ProtocolError(whole.detail, whole.reason)
        if whole is not None:
            self._step(self._fetched(address.kind, frame.id, whole))
        elif self._assembler.count(address.kind, frame.id) > held:
            self._step(on.FrameArrived(self._now_s()))

    def _fetched(self, kind: str, digest: bytes, whole: bytes) -> on.Fetched:
        """Read a task or a model; of what this program does not know only the names are told."""
        try:
            return self._understood(self._now_s(), kind, digest, whole)
        except ProtocolError as error:
            # Its digest is the announced one: fetched again, it would be no other.
            log.warning("the %s that was announced cannot be read: %s", kind, error)
            return on.Fetched(self._now_s(), kind, digest, unknown=(f"{kind}:unreadable",))

    def _understood(self, now_s: float, kind: str, digest: bytes, whole: bytes) -> on.Fetched:
        if kind == "model":
            model = unpack(whole, Model, max_bytes=MAX_SIZE)
            unknown = unknown_in_model(model)
            if not unknown:
                self._model = (whole, _vectors(model))
            return on.Fetched(now_s, kind, digest, unknown=unknown)
        task = unpack(whole, Task, max_bytes=MAX_SIZE)
        self._task = (whole, task)
        self._link.spread_s = task.reconnect_spread_s
        return on.Fetched(now_s, kind, digest, task.source, unknown_in_task(task))

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
                raise  # the next start puts it aside
            except StateError as error:
                log.error("%s", error)
                # What is not durable must not be seen (law 4), so the effects after it are not performed;
                # and the core hears of it before anything else happens.
                # Only a round is not held to that: who could not even decline would keep its fleet waiting.
                if isinstance(effect, do.SaveSigners):
                    # A restart would believe the key before again, so this device never changed it.
                    self._state = former
                    self._step(on.SignersUnsaved())
                    return
                if isinstance(effect, do.SaveUpdate):
                    unsaved = public("what was learnt cannot be written to this device's disk")
                    self._step(on.Failed(effect.attempt.round, Reason.FAILED, str(error), unsaved))
                    return
                if isinstance(effect, do.SaveVerdict) and former.saved is not None and former.saved.pending:
                    # The next work would begin with the state before: the answer is asked for again.
                    self._state = former
                    return
                if isinstance(effect, do.ResetState | do.StartWork):
                    unread = public("what the algorithm remembers cannot be used on this device's disk")
                    self._step(on.Failed(self._state.seen.round, Reason.FAILED, str(error), unread))
                    return
                if isinstance(effect, do.UseModel):
                    self._step(on.UseFailed(former.used))
                    return
                if isinstance(effect, do.KeepModel):
                    self._step(on.KeepFailed(self._now_s()))
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
                self._assembler.drop("task")
                self._assembler.drop("model")
            case do.StartWork(manifest):
                self._start(manifest)
            case do.CancelWork():
                self._worker.cancel()
            case do.KeepModel():
                if self._memory.seen() != (seen := self._state.seen):
                    # The disk had not taken it, or it was to be saved with an update that never came to be. A
                    # restart would take part in rounds before this model's.
                    self._memory.save_seen(seen)
                assert self._task is not None
                assert self._model is not None
                untrained = self._is_untrained()
                if self._state.gated or untrained:
                    model_file.set_apart(self._file)
                announced = self._state.manifest
                cap = announced.max_samples if announced is not None else None
                model_file.save(self._file, self._task[0], self._model[0], cap, untrained=untrained)
                if untrained and model_file.waits(self._file.parent):
                    log.info("nobody has trained the new model yet: `predict` goes on with the one before")
                elif not self._state.gated:
                    model_file.release(self._file)
            case do.JudgeModel(digest):
                self._judge(digest)
            case do.UseModel(digest):
                self._use(digest)
            case do.SaveSigners(signers, seen):
                self._memory.save_signers(signers, seen)
            case do.SaveSeen(attempt):
                self._memory.save_seen(attempt)
            case do.SaveUpdate(attempt, digest, payload, snapshot, pending):
                self._memory.save_update(attempt, digest, payload, snapshot, pending)
                self._outbox = split(payload)
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
        assert self._task is not None
        sent, received = self._link.traffic.sent, self._link.traffic.received
        traffic = {
            "sent_bytes": float(sent - self._reported[0]),
            "received_bytes": float(received - self._reported[1]),
        }
        self._reported = (sent, received)
        log.info("round %d.%d: %s begins", manifest.generation, manifest.round, manifest.kind)
        phase = phase_of(manifest.kind)
        vectors = self._model[1] if self._model and phase.needs_model else {}
        weights = vectors.get(WEIGHTS)
        more = {name: vector for name, vector in vectors.items() if name != WEIGHTS}
        state = self._memory.state() if phase.needs_state else None
        self._worker.start(Assignment(manifest, self._task[1], weights, traffic, more, state))

    def _is_untrained(self) -> bool:
        """Whether the newest model holds the weights that a generation with a survey begins with."""
        manifest = self._state.manifest
        if manifest is None or manifest.round > 1 or self._task is None or self._model is None:
            return False
        network = self._task[1].network
        first = first_weights(network, manifest.seed, manifest.generation)
        return np.array_equal(first, self._model[1][WEIGHTS])

    def _judge(self, digest: bytes) -> None:
        assert self._task is not None
        assert self._model is not None
        tolerance = self._settings.predict.tolerance
        assert tolerance is not None
        task, message = self._task
        self._candidate = (digest, task, self._model[0])
        used = model_file.in_use(self._file.parent, gated=True)
        task_digest = sha256(task).digest()
        self._worker.judge(Judgement(digest, message, task_digest, self._model[1][WEIGHTS], used, tolerance))

    def _use(self, digest: bytes) -> None:
        candidate, self._candidate = self._candidate, None
        if candidate is not None and candidate[0] == digest:
            _, task, model = candidate
        else:  # the first one, which is not judged
            assert self._task is not None
            assert self._model is not None
            task, model = self._task[0], self._model[0]
        model_file.save(self._file.with_name(model_file.USED), task, model)

    def _publish_update(
        self, digest: bytes, numbers: tuple[int, ...] | None, asks: RoundId | None = None
    ) -> None:
        if self._outbox is None or self._outbox.id != digest:
            payload = self._memory.payload(digest)
            if payload is None:
                return
            self._outbox = split(payload)
        frames, topic = self._outbox, self._topics.update(self._settings.device)
        wanted = range(len(frames)) if numbers is None else [i for i in numbers if i < len(frames)]
        # Each is taken when the link has room for it: by then the update may be answered, or its round over.
        pieces = takewhile(lambda _: self._is_reporting(digest), wanted)
        self._link.send(
            Publication(topic, frames[i] if i or asks is None else asking(frames[i], asks)) for i in pieces
        )

    def _is_reporting(self, digest: bytes) -> bool:
        saved = self._state.saved
        return isinstance(self._state.work, Reporting) and saved is not None and saved.digest == digest

    def _status_publication(self, status: Status) -> Publication:
        return Publication(self._topics.status(self._settings.device), pack(status), retain=True)


def _vectors(model: Model) -> dict[str, NDArray[np.float32]]:
    """The weights, and what else the model brings for the local algorithm, each of shape (p,)."""
    codec = CODECS.make(model.codec)
    weights = codec.decode(model.body, len(model.body) // 4)
    more = {name: codec.decode(body, len(weights)) for name, body in (model.vectors or {}).items()}
    return {**more, WEIGHTS: weights}
