"""The agent's shell: one inbox, one loop. Take an event, `step`, perform the effects in order."""

import logging
import os
import time
from dataclasses import replace
from queue import Empty, SimpleQueue

import numpy as np
from numpy.typing import NDArray

from agent import effects as do
from agent import events as on
from agent import held, lifecycle
from agent.config import AgentSettings
from agent.effects import Effect
from agent.events import Event
from agent.lifecycle import Device
from agent.memory import Memory
from agent.sources import open_source
from agent.trainer import Job, Trainer
from fedge import __version__
from fedge.codecs import CODECS
from fedge.errors import ProtocolError, StateError
from fedge.frames import Assembler, Limits, Refused, Split, split
from fedge.freshness import seconds_left
from fedge.link import Answered, Link, LinkDown, LinkEvent, LinkUp, MessageArrived, Publication, Sent
from fedge.messages import MAX_SIZE, Frame, Manifest, Model, Receipt, Status, Task, pack, unpack, unseal
from fedge.reasons import Reason
from fedge.store import lock, make_folder
from fedge.topics import Address, Topics

log = logging.getLogger("fedge.agent")

LARGEST_DOWNLOAD = 512 * 2**20
FOLLOW_S = 3_600.0


class Stop:
    """Ask the loop to end; put into the inbox by a signal handler."""


class Runtime:
    """One device at work until `stop`.

    Raises:
        GaveWay: another agent works with this state folder.
        StateError: the state folder cannot be used.
    """

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        folder = make_folder(settings.state.folder)
        self._lock = lock(folder)
        self._memory = Memory(folder / "agent.db")
        self._held_path = folder / held.FILE
        self._topics = Topics(settings.federation)
        self._inbox: SimpleQueue[Event | LinkEvent | Stop] = SimpleQueue()
        self._assembler = Assembler(Limits(LARGEST_DOWNLOAD, LARGEST_DOWNLOAD))
        self._task: tuple[bytes, Task] | None = None
        self._model: tuple[bytes, NDArray[np.float32]] | None = None
        self._outbox: Split | None = None
        self._return_s: float | None = None
        self._reported = (0, 0)
        self._state = self._remember()
        self._link = Link(
            settings.broker,
            f"{settings.federation}_{settings.device}",
            self._inbox.put,
            will=self._will,
        )
        self._trainer = Trainer(settings, open_source(settings.data), self._inbox.put)

    def stop(self) -> None:
        """End the loop soon; safe in a signal handler."""
        self._inbox.put(Stop())

    def run(self) -> None:
        """Work until `stop`."""
        self._link.open()
        try:
            while not isinstance(event := self._next(), Stop):
                self._take(event)
        finally:
            self._trainer.cancel()
            last_words = lifecycle.status(self._state, online=False)
            self._link.close(self._status_publication(last_words))
            self._memory.close()
            os.close(self._lock)
            log.info("stopped")

    # ── events ─────────────────────────────────────────────────────────────────────────────────────

    def _next(self) -> Event | LinkEvent | Stop:
        now_s = time.monotonic()
        due = [due_s for due_s in (lifecycle.due_s(self._state), self._return_s) if due_s is not None]
        try:
            return self._inbox.get(timeout=max(0.0, min(due) - now_s) if due else None)
        except Empty:
            return on.Tick(time.monotonic())

    def _take(self, event: Event | LinkEvent) -> None:
        match event:
            case LinkUp() | LinkDown() if self._return_s is not None:
                pass  # it was said before we left the broker
            case LinkUp():
                self._link.handle_up(event)
                log.info("connected to %s", self._settings.broker.url)
                self._step(on.LinkUp(time.monotonic(), event.connection))
            case LinkDown():
                if self._link.up or not self._state.link_up:
                    log.warning("not connected: %s", event.reason)
                self._link.handle_down()
                self._step(on.LinkDown())
            case Answered():
                self._link.settle(event)
            case Sent():
                log.error("the broker refuses: %s", event.refusal)
            case MessageArrived():
                try:
                    self._read(event)
                except ProtocolError as error:
                    log.warning("ignored a message on %s: %s", event.topic, error)
            case _:
                self._return_if_due()
                self._step(event)

    def _read(self, message: MessageArrived) -> None:
        address = self._topics.parse(message.topic)
        if address is None or not message.payload:
            return
        now_s = time.monotonic()
        match address.kind:
            case "round":
                manifest = unseal(message.payload, Manifest)
                left_s = seconds_left(manifest.seconds_left, message.expiry_left_s)
                self._step(on.RoundAnnounced(now_s, manifest, left_s))
            case "task" | "model":
                self._read_frame(address, unpack(message.payload, Frame))
            case "receipt":
                self._step(on.ReceiptArrived(now_s, unpack(message.payload, Receipt)))
            case "status":
                status = unpack(message.payload, Status)
                self._step(on.StatusSeen(now_s, status, live=not message.retained))
            case _:
                pass

    def _read_frame(self, address: Address, frame: Frame) -> None:
        """Take a frame of the task or model that is being fetched; others are left over from before."""
        if not isinstance(self._state.work, lifecycle.Fetching):
            return
        manifest = self._state.manifest
        wanted = manifest and (manifest.task if address.kind == "task" else manifest.model)
        if not wanted or (frame.id, frame.n, frame.size) != (wanted.digest, wanted.frames, wanted.size):
            return
        whole = self._assembler.offer(address.kind, frame)
        if isinstance(whole, Refused):
            log.error("%s: %s", address.kind, whole.detail)
        elif whole is not None:
            if address.kind == "task":
                self._task = (whole, unpack(whole, Task, max_bytes=MAX_SIZE))
            else:
                self._model = (whole, self._weights(whole))
            self._step(on.Fetched(time.monotonic(), address.kind, frame.id))

    def _weights(self, whole: bytes) -> NDArray[np.float32]:
        model = unpack(whole, Model, max_bytes=MAX_SIZE)
        return CODECS[model.codec].decode(model.body, len(model.body) // 4)

    # ── effects ────────────────────────────────────────────────────────────────────────────────────

    def _step(self, event: Event) -> None:
        self._state, effects = lifecycle.step(self._state, event)
        for effect in effects:
            try:
                self._perform(effect)
            except StateError as error:
                log.error("%s", error)
                # What is not durable must not be seen (law 4), so the effects after it are not performed.
                if isinstance(effect, do.SaveUpdate):
                    self._inbox.put(on.Failed(effect.round, Reason.FAILED, str(error)))
                    return
                if isinstance(effect, do.KeepModel):
                    self._inbox.put(on.KeepFailed(time.monotonic()))
                    return

    def _perform(self, effect: Effect) -> None:
        match effect:
            case do.Greet():
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
                self._trainer.cancel()
            case do.KeepModel():
                assert self._task is not None
                assert self._model is not None
                held.save(self._held_path, self._task[0], self._model[0])
            case do.SaveSeen(round_id):
                self._memory.save_seen(round_id)
            case do.SaveUpdate(round_id, digest, payload):
                self._memory.save_update(round_id, digest, payload)
                self._outbox = split(payload)
            case do.PublishUpdate(digest, numbers):
                self._publish_update(digest, numbers)
            case do.SaveVerdict(digest, verdict):
                self._memory.save_verdict(digest, verdict)
            case do.Withdraw(seconds):
                self._link.close()
                self._return_s = time.monotonic() + seconds
            case do.Say(level, text):
                log.log(logging.getLevelNamesMapping()[level.upper()], "%s", text)

    def _start(self, manifest: Manifest) -> None:
        assert self._task is not None
        self._link.spread_s = self._task[1].reconnect_spread_s
        sent, received = self._link.traffic.sent, self._link.traffic.received
        traffic = {
            "sent_bytes": float(sent - self._reported[0]),
            "received_bytes": float(received - self._reported[1]),
        }
        self._reported = (sent, received)
        log.info("round %d.%d: %s begins", manifest.generation, manifest.round, manifest.kind)
        weights = self._model[1] if self._model and manifest.kind == "train" else None
        self._trainer.start(Job(manifest, self._task[1], weights, traffic))

    def _publish_update(self, digest: bytes, numbers: tuple[int, ...] | None) -> None:
        if self._outbox is None or self._outbox.id != digest:
            payload = self._memory.payload(digest)
            if payload is None:
                return
            self._outbox = split(payload)
        frames, topic = self._outbox, self._topics.update(self._settings.device)
        wanted = range(len(frames)) if numbers is None else [i for i in numbers if i < len(frames)]
        self._link.send(Publication(topic, frames[i]) for i in wanted)

    def _status_publication(self, status: Status) -> Publication:
        return Publication(self._topics.status(self._settings.device), pack(status), retain=True)

    def _will(self, connection: int) -> Publication:
        state = replace(self._state, connection=connection)
        return self._status_publication(lifecycle.status(state, online=False))

    def _return_if_due(self) -> None:
        if self._return_s is not None and time.monotonic() >= self._return_s:
            self._return_s = None
            self._link.open()

    def _remember(self) -> Device:
        """The state to start from: what the disk has of the time before."""
        boot = os.urandom(16)
        saved = self._memory.saved()
        state = Device(
            device=self._settings.device,
            boot=boot,
            version=__version__,
            follow_s=FOLLOW_S,
            own_boots=self._memory.add_boot(boot),
            seen=self._memory.seen(),
            saved=saved,
        )
        try:
            kept = held.read(self._held_path)
        except StateError as error:
            log.warning("%s; it will be fetched again", error)
            return state
        if kept is None:
            return state
        self._task, self._model = (kept.task, kept.decoded_task), (kept.model, self._weights(kept.model))
        return replace(
            state,
            task=kept.task_digest,
            model=kept.model_digest,
            kept=kept.model_digest,
            followed_s=time.monotonic(),
        )
