"""The aggregator's shell: one inbox, one loop, one transaction a turn.

A turn takes what the inbox holds, steps the core for each event, and performs what must be durable inside
one transaction (a group commit). Only after its commit is anything seen outside: acknowledgements, receipts,
announcements (law 4).
"""

import hashlib
import logging
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import numpy as np
from numpy.typing import NDArray

from aggregator import effects as do
from aggregator import events as on
from aggregator import rounds
from aggregator.closing import averaged, first_weights, read_update, surveyed
from aggregator.config import FederationSettings
from aggregator.effects import Effect
from aggregator.events import Event
from aggregator.exporting import Exported, Exporter, Job
from aggregator.federation import Federation, Phase, service
from aggregator.ledger import FILE, Ledger
from aggregator.opening import open_federation
from aggregator.survey import Unmeasured
from fedge.codecs import CODECS
from fedge.errors import ConfigError, GaveWay, ProtocolError
from fedge.frames import Refused, split
from fedge.freshness import MANIFEST_EXPIRY_S, RECEIPT_EXPIRY_S, RoundId
from fedge.link import Answered, Link, LinkDown, LinkEvent, LinkUp, MessageArrived, Publication, Sent
from fedge.messages import MAX_SIZE, Blob, Export, Frame, Model, Service, Status, pack, seal, unpack
from fedge.store import lock, make_folder
from fedge.topics import Address, Topics

log = logging.getLogger("fedge.aggregator")

SESSION_S = 86_400
LARGEST_TURN = 256
"""Events of one transaction at most."""


@dataclass(frozen=True)
class Stop:
    """Ask the loop to end; put into the inbox by a signal handler."""


@dataclass(frozen=True)
class _Blobs:
    """The token of a model on its way to the broker."""

    round: RoundId
    contents: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class _Export:
    """The token of an exported model on its way to the broker."""

    round: RoundId
    last: bool


class Runtime:
    """One federation's aggregator at work, until `stop` or the end of learning.

    Args:
        settings: the configuration.
        new_generation: begin anew, with the devices following.
        exit_when_done: end when learning has ended and the broker holds the final model.

    Raises:
        GaveWay: another aggregator serves this federation or works with this state folder.
        ConfigError: the ledger does not fit the configuration or the fleet.
        StateError: the state folder cannot be used.
    """

    def __init__(
        self, settings: FederationSettings, *, new_generation: bool = False, exit_when_done: bool = False
    ) -> None:
        self._settings = settings
        self._new_generation = new_generation
        self._exit_when_done = exit_when_done
        folder = make_folder(settings.state.folder)
        self._lock = lock(folder)
        make_folder(settings.export.folder, mode=0o755)
        self._ledger = Ledger(folder / FILE)
        self._topics = Topics(settings.federation.name)
        self._inbox: SimpleQueue[Event | LinkEvent | Exported | Stop] = SimpleQueue()
        self._soon: deque[do.CloseRound] = deque()
        self._published: set[tuple[str, bytes]] = set()
        self._slots: dict[tuple[str, int], Blob] = {}
        self._foreign: set[str] = set()
        self._round_began_s = time.monotonic()
        self._state: Federation
        self._link: Link
        self._exporter = Exporter(settings.federation.name, settings.export.folder, self._inbox.put)
        self._over = False

    def stop(self) -> None:
        """End the loop soon; safe in a signal handler."""
        self._inbox.put(Stop())

    def run(self) -> None:
        """Serve until `stop`, or until learning is done if asked to exit then."""
        instance = os.urandom(16)
        try:
            opened = open_federation(
                self._settings,
                self._ledger,
                self._topics,
                instance,
                self._inbox,
                new_generation=self._new_generation,
            )
        except BaseException:
            self._close()
            raise
        if opened is None:  # stopped while watching
            self._close()
            return
        self._state = opened
        self._slots = self._ledger.slots()
        self._link = Link(
            self._settings.broker,
            f"{self._settings.federation.name}__aggregator",
            self._inbox.put,
            will=lambda _connection: self._service_publication(service(self._state, online=False)),
            keep_session_s=SESSION_S,
            manual_ack=True,
        )
        try:
            self._begin()
            self._link.open()
            while not self._over:
                self._turn()
        finally:
            last_words = service(self._state, online=False)
            self._link.close(self._service_publication(last_words))
            self._close()
            log.info("stopped")

    def _close(self) -> None:
        self._ledger.close()
        os.close(self._lock)

    def _begin(self) -> None:
        with self._ledger.transaction():
            self._state, effects = rounds.start(self._state, time.monotonic())
            visible = list(self._durable(effects))
        for effect in visible:
            self._show(effect)

    # ── one turn ───────────────────────────────────────────────────────────────────────────────────

    def _turn(self) -> None:
        events = self._next()
        visible: list[Effect | MessageArrived] = []
        with self._ledger.transaction():
            for event in events:
                if isinstance(event, Stop):
                    self._over = True
                else:
                    visible += self._take(event)
        for effect in visible:
            self._show(effect)

    def _next(self) -> list[Event | LinkEvent | Exported | do.CloseRound | Stop]:
        """What there is to do: at least one event, waiting for it if need be."""
        if self._soon:
            return [self._soon.popleft()]
        events: list[Event | LinkEvent | Exported | do.CloseRound | Stop] = []
        timeout = max(0.0, rounds.due_s(self._state) - time.monotonic())
        try:
            events.append(self._inbox.get(timeout=timeout))
            while len(events) < LARGEST_TURN:
                events.append(self._inbox.get_nowait())
        except Empty:
            pass
        return events or [on.Tick(time.monotonic())]

    def _take(self, event: Event | LinkEvent | Exported | do.CloseRound) -> Iterator[Effect | MessageArrived]:
        """Step for one event, perform its durable effects, and yield the others."""
        match event:
            case LinkUp():
                self._link.handle_up(event)
                if not event.session_present:
                    self._published.clear()
                log.info("connected to %s", self._settings.broker.url)
                yield from self._step(on.LinkUp(time.monotonic(), event.session_present))
            case LinkDown():
                log.warning("not connected: %s", event.reason)
                self._link.handle_down()
                yield from self._step(on.LinkDown(event.reason, event.taken_over))
            case Answered():
                self._link.settle(event)
            case Sent(token=_Blobs() as blobs):
                if event.refusal is None:
                    self._published.update(blobs.contents)
                yield from self._step(on.BlobsPublished(time.monotonic(), blobs.round, event.refusal))
            case Sent(token=_Export() as export):
                if event.refusal is not None:
                    log.error("the broker refuses the export: %s", event.refusal)
                self._over = self._over or (export.last and self._exit_when_done)
                yield from self._step(on.ExportPublished(export.round))
            case Sent():
                log.error("the broker refuses: %s", event.refusal)
            case Exported():
                self._publish_export(event)
            case do.CloseRound(round_id, kind):
                yield from self._step(self._closed(round_id, kind))
            case MessageArrived():
                yield from self._read(event)
                yield event  # acknowledged in the order of arrival, after the commit
            case _:
                yield from self._step(event)

    def _step(self, event: Event) -> Iterator[Effect]:
        self._state, effects = rounds.step(self._state, event)
        yield from self._durable(effects)

    def _read(self, message: MessageArrived) -> Iterator[Effect]:
        address = self._topics.parse(message.topic)
        if address is None or not message.payload:
            return
        try:
            yield from self._step_message(address, message)
        except ProtocolError as error:
            if address.kind == "update" and address.device is not None:
                digest = hashlib.sha256(message.payload).digest()
                yield from self._step(on.GarbageArrived(address.device, digest, error.reason, str(error)))
            else:
                log.warning("ignored a message on %s: %s", message.topic, error)

    def _step_message(self, address: Address, message: MessageArrived) -> Iterator[Effect]:
        now_s = time.monotonic()
        match address.kind:
            case "update" if address.device is not None:
                frame = unpack(message.payload, Frame)
                yield from self._step(on.FrameArrived(now_s, address.device, frame))
            case "status" if address.device is not None:
                if address.version != "v1":
                    if address.device not in self._foreign:
                        self._foreign.add(address.device)
                        log.warning(
                            "%s speaks %s of the protocol, this program v1: it cannot take part",
                            address.device,
                            address.version,
                        )
                    return
                status = unpack(message.payload, Status)
                yield from self._step(on.StatusSeen(now_s, address.device, status))
            case "service":
                yield from self._step(on.ServiceSeen(unpack(message.payload, Service)))
            case _:
                pass

    # ── effects that must be durable, inside the turn's transaction ────────────────────────────────

    def _durable(self, effects: list[Effect]) -> Iterator[Effect]:
        for effect in effects:
            match effect:
                case do.SpoolFrame(device, frame):
                    self._ledger.spool(device, frame)
                case do.DropSpool(device, digest):
                    self._ledger.drop_spool(device, digest)
                case do.SaveAnswer(round_id, device, answer):
                    self._ledger.save_answer(round_id, device, answer)
                case do.CountRefusal(device, reason):
                    self._ledger.count_refusal(device, reason)
                case do.SaveStatus(device, status):
                    self._ledger.save_status(device, status)
                case do.SaveRound(round_id, kind, cohorts):
                    self._ledger.save_round(round_id, kind, cohorts, time.time())
                case do.SaveElapsed(round_id, elapsed_s):
                    self._ledger.save_elapsed(round_id, elapsed_s)
                case do.ReadUpdate(device, digest):
                    yield from self._step(self._read_update(device, digest))
                case _:
                    yield effect

    def _read_update(self, device: str, digest: bytes) -> Event:
        now_s = time.monotonic()
        try:
            return on.UpdateRead(now_s, device, digest, read_update(self._ledger, device, digest))
        except ProtocolError as error:
            return on.UpdateRead(now_s, device, digest, Refused(error.reason, str(error)))

    # ── effects that are seen, after the commit ────────────────────────────────────────────────────

    def _show(self, effect: Effect | MessageArrived) -> None:
        match effect:
            case MessageArrived():
                self._link.ack(effect)
            case do.SendReceipt(device, receipt):
                self._link.send(
                    [Publication(self._topics.receipt(device), pack(receipt), expiry_s=RECEIPT_EXPIRY_S)]
                )
            case do.Greet():
                self._link.subscribe(
                    self._topics.all_updates, self._topics.all_statuses, self._topics.service
                )
            case do.PublishService(message):
                self._link.send([self._service_publication(message)])
            case do.PublishBlobs():
                self._publish_blobs(effect)
            case do.PublishManifest(manifest):
                log.debug("round %d.%d is announced", manifest.generation, manifest.round)
                self._link.send(
                    [Publication(self._topics.round, seal(manifest), retain=True, expiry_s=MANIFEST_EXPIRY_S)]
                )
            case do.ClearSlots(task, model):
                self._clear("task", 1 - task)
                if model is not None:
                    self._clear("model", 1 - model)
            case do.CloseRound():
                self._soon.append(effect)  # the next turn: what was admitted is acknowledged first
            case do.ExportModel(round_id):
                self._export(round_id)
            case do.Finish(why):
                log.info("learning is done: %s", why)
            case do.GiveUp(text, gave_way):
                raise (GaveWay if gave_way else ConfigError)(text)
            case do.Say(level, text):
                log.log(logging.getLevelNamesMapping()[level.upper()], "%s", text)

    def _publish_blobs(self, effect: do.PublishBlobs) -> None:
        blobs = [("task", effect.task)] + ([("model", effect.model)] if effect.model else [])
        new = [(kind, blob) for kind, blob in blobs if (kind, blob.digest) not in self._published]

        def frames() -> Iterator[Publication]:
            for kind, blob in new:
                pieces = split(self._ledger.content(blob.digest))
                topic = self._topics.task if kind == "task" else self._topics.model
                for i in range(len(pieces)):
                    yield Publication(topic(blob.slot, i), pieces[i], retain=True)

        self._link.send(frames(), _Blobs(effect.round, tuple((kind, blob.digest) for kind, blob in new)))
        self._slots.update({(kind, blob.slot): blob for kind, blob in new})

    def _clear(self, kind: str, slot: int) -> None:
        """Empty a slot at the broker; after a restart the ledger knows what it held."""
        old = self._slots.pop((kind, slot), None)
        if old is None:
            return
        topic = self._topics.task if kind == "task" else self._topics.model
        self._link.send(Publication(topic(slot, i), b"", retain=True) for i in range(old.frames))

    def _service_publication(self, message: Service) -> Publication:
        return Publication(self._topics.service, pack(message), retain=True)

    # ── closing a round ────────────────────────────────────────────────────────────────────────────

    def _closed(self, round_id: RoundId, kind: str) -> Event:
        """Compute the new model; it, the closed round and the next one are saved in one transaction."""
        state = self._state
        task, task_blob, vector = state.task_message, state.task, None
        summary: dict[str, float]
        if kind == "survey":
            answered = sum(a.verdict == "admitted" for a in state.answers.values())
            surveyed_task = surveyed(self._ledger, round_id, task)
            if isinstance(surveyed_task, Unmeasured):
                return on.CloseFailed(time.monotonic(), round_id, str(surveyed_task))
            task = surveyed_task
            task_blob = blob_of(pack(task), 1 - state.task.slot)
            vector = first_weights(task, state.seed, round_id.generation)
            devices, samples = answered, sum(a.samples for a in state.answers.values())
            summary = {}
        else:
            assert state.model is not None
            result = averaged(self._ledger, round_id, self._weights(state.model))
            vector, devices, samples = result.vector, result.devices, result.samples
            summary = result.summary
        model = Model(
            generation=round_id.generation,
            round=round_id.round,
            body=CODECS["float32"].encode(vector),
        )
        data = pack(model)
        model_blob = blob_of(data, 1 - state.model.slot if state.model else 0)
        now_s = time.monotonic()
        summary["seconds"] = now_s - self._round_began_s
        self._round_began_s = now_s
        summary["bytes_up"] = self._ledger.update_bytes(round_id)
        if kind == "survey":
            self._ledger.save_content("task", round_id, task_blob, pack(task))
        self._ledger.save_content("model", round_id, model_blob, data)
        self._ledger.close_round(round_id, model_blob.digest, devices, samples, summary, time.time())
        oldest = max(0, round_id.round - self._settings.state.keep_rounds + 1)
        self._ledger.forget_rounds_before(round_id._replace(round=oldest))
        progress = state.progress
        if kind == "train":
            progress = progress.after(
                summary.get("accuracy"), summary.get("held_loss"), summary["weight_change"]
            )
        log.info("%s", _story(round_id, kind, devices, samples, summary))
        return on.RoundClosed(now_s, round_id, task_blob, task, model_blob, progress)

    def _weights(self, model: Blob) -> NDArray[np.float32]:
        message = unpack(self._ledger.content(model.digest), Model, max_bytes=MAX_SIZE)
        return CODECS[message.codec].decode(message.body, self._state.task_message.network.schema.size)

    # ── export ─────────────────────────────────────────────────────────────────────────────────────

    def _export(self, round_id: RoundId) -> None:
        state = self._state
        assert state.model is not None
        self._exporter.submit(
            Job(
                round_id,
                state.model.digest,
                state.task_message,
                self._weights(state.model),
                {name: value for name, value in self._ledger.summary(round_id).items() if name != "seconds"},
                last=state.phase is Phase.DONE,
            )
        )

    def _publish_export(self, exported: Exported) -> None:
        """Announce the ONNX file, or why there is none."""
        job, content = exported.job, exported.onnx
        if exported.withheld:
            log.error("round %s: the ONNX file is withheld: %s", job.round, exported.withheld)
        slot = job.round.round % 2
        message = Export(
            generation=job.round.generation,
            round=job.round.round,
            model=job.digest,
            file=blob_of(content, slot) if content is not None else None,
            withheld=exported.withheld[:500],
        )

        def publications() -> Iterator[Publication]:
            if content is not None:
                pieces = split(content)
                for i in range(len(pieces)):
                    yield Publication(self._topics.export_frame(slot, i), pieces[i], retain=True)
            yield Publication(self._topics.export, seal(message), retain=True)

        self._link.send(publications(), _Export(job.round, job.last))


def blob_of(data: bytes, slot: int) -> Blob:
    """Where a framed message will lie."""
    pieces = split(data)
    return Blob(digest=pieces.id, slot=slot, frames=len(pieces), size=len(data))


def _story(round_id: RoundId, kind: str, devices: int, samples: int, summary: dict[str, float]) -> str:
    parts = [f"round {round_id}: {kind} closed, {devices} devices, {samples} samples"]
    if "accuracy" in summary:
        parts.append(f"accuracy so far {summary['accuracy']:.3f}")
    if "loss" in summary:
        parts.append(f"loss {summary['loss']:.4f}")
    parts.append(f"{summary['seconds']:.2f} s")
    return ", ".join(parts)
