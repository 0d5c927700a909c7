"""Performs the effects of the core: sends messages, saves state, starts work."""

import logging
from collections.abc import Callable
from dataclasses import replace

from agent.config import AgentSettings
from agent.core import effects as do
from agent.core import lifecycle
from agent.core.device import Device, Reporting
from agent.core.effects import Effect
from agent.phases.phase import phase_of
from agent.shell.downloads import Downloads
from agent.shell.frame_requests import FrameRequests
from agent.shell.memory import Memory
from agent.shell.outbox import FramesSent, Outbox
from agent.shell.served_models import ServedModels
from agent.trainers.assignment import Assignment
from agent.trainers.worker import Worker
from fedge.algorithms.protocols import WEIGHTS
from fedge.transport import Publication, Transport
from fedge.wire.encoding import MAX_PAYLOAD
from fedge.wire.frames import frame_bytes, split
from fedge.wire.freshness import RoundId
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import Message, pack
from fedge.wire.messages.status import Status
from fedge.wire.topics import Topics

log = logging.getLogger("fedge.agent")


class EffectRunner:
    """Performs one effect after the other on the memory, the link, the worker and the model file.

    Args:
        settings: the configuration.
        memory: stores what must survive a restart.
        link: the connection to the broker.
        worker: does the work.
        downloads: the task and the model of the round.
        models: the model file, and the model in use.
        state: returns the core's current state.
        now_s: monotonic seconds.
    """

    def __init__(
        self,
        settings: AgentSettings,
        memory: Memory,
        link: Transport,
        worker: Worker,
        downloads: Downloads,
        models: ServedModels,
        state: Callable[[], Device],
        now_s: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._memory = memory
        self._link = link
        self._worker = worker
        self._downloads = downloads
        self._models = models
        self._state = state
        self._now_s = now_s
        self._topics = Topics(settings.federation)
        self._outbox = Outbox(memory)
        self._requests = FrameRequests(self._topics, link, downloads)
        self._reported = (0, 0)
        """Bytes sent and received when the last assignment began."""
        self.return_s: float | None = None
        """When the link must be opened again after a `Disconnect`, in monotonic seconds; None: it is open."""

    def offline_status(self, connection: int | None = None) -> Publication:
        """Return the retained status for the time when this device is offline.

        Args:
            connection: the number of the connection whose will it is; None: the current one.
        """
        state = self._state()
        if connection is not None:
            state = replace(state, connection=connection)
        return self._status_publication(lifecycle.status(state, online=False))

    def begin_connection(self) -> None:
        """Forget what was under way on the connection before."""
        self._requests.forget()
        self._outbox.forget()

    def frame_arrived(self, kind: str, i: int) -> None:
        """Request further frames of the task or model."""
        self._requests.go_on(kind, i)

    def frames_sent(self, sent: FramesSent) -> None:
        """Note that the broker has answered frames of an update."""
        self._outbox.end(sent)

    def perform(self, effect: Effect) -> None:
        """Perform one effect.

        Raises:
            DamagedState: the memory is damaged.
            StateError: the disk failed, and the state was not saved.
        """
        match effect:
            case do.Subscribe():
                device = self._settings.device
                self._link.subscribe(
                    self._topics.round, self._topics.receipt(device), self._topics.status(device)
                )
            case do.PublishStatus(status):
                self._link.send([self._status_publication(status)])
            case do.Fetch(manifest, task, model):
                if task:
                    self._requests.begin("task", manifest.task)
                if model and manifest.model and self._downloads.lacks_coded(manifest):
                    self._requests.begin("model", manifest.coded or manifest.model)
                if model and manifest.key and self._downloads.lacks_key(manifest):
                    self._requests.begin("key", manifest.key)
            case do.StopFetching():
                self._requests.stop()
                self._downloads.drop()
            case do.StartWork(manifest):
                self._start(manifest)
            case do.CancelWork():
                self._worker.cancel()
            case do.KeepModel():
                self._keep_model(self._state())
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
            case do.SaveUpdate(attempt, digest, payload, snapshot, pending, personal, older, masked):
                self._memory.save_update(attempt, digest, payload, snapshot, pending, personal, older, masked)
                self._outbox.put(payload, self._room())
                if personal is not None:
                    self._models.keep_personal(personal)
            case do.PublishUpdate(digest, numbers, asks):
                self._publish_update(digest, numbers, asks)
            case do.SaveVerdict(digest, verdict, resets):
                self._memory.save_verdict(digest, verdict, resets=resets)
            case do.ResetState():
                self._memory.reset_state()
            case do.Disconnect(seconds, farewell):
                self._link.close(self.offline_status() if farewell else None)
                self.return_s = self._now_s() + seconds
            case do.Log(level, text):
                log.log(logging.getLevelNamesMapping()[level.upper()], "%s", text)

    def _keep_model(self, state: Device) -> None:
        if self._memory.seen() != state.seen:
            # An earlier save failed, or waited for an update that was never made. Without this, the device
            # would take part in rounds before this model's after a restart.
            self._memory.save_seen(state.seen)
        self._models.keep(state.manifest, gated=state.gated)

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
        personal = self._memory.personal() if phase.needs_model else None
        self._worker.start(
            Assignment(manifest, self._downloads.task, weights, traffic, more, state, personal)
        )

    def _publish_update(
        self, digest: bytes, numbers: tuple[int, ...] | None, asks: RoundId | None = None
    ) -> None:
        if not self._link.up:
            return
        batch = self._outbox.frames(digest, numbers, asks, lambda: self._is_reporting(digest), self._room())
        if batch is not None:
            frames, sent = batch
            topic = self._topics.update(self._settings.device)
            self._link.send((Publication(topic, frame) for frame in frames), sent, bulk=True)

    def send_masking(self, message: Message) -> None:
        """Send a message of secure aggregation, in frames."""
        if not self._link.up:
            return
        content, topic = pack(message), self._topics.update(self._settings.device)
        frames = split(content, frame_bytes(len(content), self._room()))
        self._link.send((Publication(topic, each) for each in frames), bulk=True)

    def _room(self) -> int:
        """The most bytes of a frame's payload: as the federation, this device and the broker limit it."""
        manifest = self._state().manifest
        most = manifest.max_payload_bytes if manifest is not None else None
        return min(most or MAX_PAYLOAD, self._link.room(self._topics.update(self._settings.device)))

    def _is_reporting(self, digest: bytes) -> bool:
        state = self._state()
        saved = state.saved
        return isinstance(state.work, Reporting) and saved is not None and saved.digest == digest

    def _status_publication(self, status: Status) -> Publication:
        return Publication(self._topics.status(self._settings.device), pack(status), retain=True)
