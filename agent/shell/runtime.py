"""The runtime of the agent. It takes an event, calls `step`, and performs the effects in order."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from agent.config import AgentSettings
from agent.core import events as on
from agent.core import lifecycle
from agent.core.conditions import UNMEASURED, Readings
from agent.core.events import Event
from agent.core.lifecycle.unsaved import give_up
from agent.shell.downloads import Downloads
from agent.shell.effect_runner import EffectRunner
from agent.shell.inbox import Inbox
from agent.shell.key_frames import FILE as KEY_FILE
from agent.shell.key_frames import KeyFrames
from agent.shell.masked_rounds import MARK, MaskedRounds
from agent.shell.measured_conditions import Conditions
from agent.shell.memory import Memory
from agent.shell.outbox import FramesSent
from agent.shell.refusals import Refusals
from agent.shell.served_models import ServedModels
from agent.shell.startup import Opened
from agent.trainers.worker import Worker
from fedge.errors import ConfigError, DamagedState, ProtocolError, StateError
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

log = logging.getLogger("fedge.agent")

InboxEvent = Event | LinkEvent
"""What `Runtime.turn` takes: events of the core, and of the link."""


class Runtime:
    """Connects the core with a memory, a link and a worker. It has no thread and never waits.

    Args:
        settings: the configuration.
        opened: from `agent.shell.startup`.
        memory: stores what must survive a restart.
        file: the model file.
        link: the connection to the broker.
        worker: does the work. Its `Done` or `Failed` comes back as an event.
        conditions: measures the conditions that the owner sets; None: nothing is measured.
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
        keys = KeyFrames(file.with_name(KEY_FILE))
        self._state = replace(opened.state, key=keys.digest)
        self._link = link
        self._conditions = conditions
        self._now_s = now_s
        self._topics = Topics(settings.federation)
        self._downloads = Downloads(opened.held, keys)
        if self._downloads.has_task:  # the whole fleet may start at once, after a power cut
            link.spread_s = self._downloads.task.reconnect_spread_s
        self._losses, self._unsent = Losses(), Losses()
        self._refusals = Refusals()
        self._inbox = Inbox(self._topics, self._downloads, self._readings, now_s)
        models = ServedModels(file, self._downloads)
        self._runner = EffectRunner(
            settings, memory, link, worker, self._downloads, models, lambda: self._state, now_s
        )
        self._masked = MaskedRounds(
            settings,
            memory,
            file.with_name(MARK),
            lambda: self._state,
            self._runner.send_masking,
            self._refusals,
            now_s,
        )

    def due_s(self) -> float | None:
        """Return when `turn` must be called next, in monotonic seconds; None: only when an event arrives."""
        due = [due_s for due_s in (lifecycle.due_s(self._state), self._runner.return_s) if due_s is not None]
        return min(due, default=None)

    def offline_status(self, connection: int | None = None) -> Publication:
        """Return the retained status for the time when this device is offline.

        Args:
            connection: the number of the connection whose will it is; None: the current one.
        """
        return self._runner.offline_status(connection)

    def turn(self, event: InboxEvent | None) -> None:
        """Handle an event, if there is one, and what is due by now.

        Raises:
            DamagedState: the memory is damaged. A disk that is full or read-only raises nothing: the round is
                declined, and what could not be saved is not published.
        """
        returning = self._runner.return_s is not None and self._now_s() >= self._runner.return_s
        if returning:
            self._runner.return_s = None
        if self._conditions is not None:
            self._conditions.count(self._link.traffic.sent + self._link.traffic.received)
            if self._conditions.used_up and self._runner.return_s is None:
                self._step(on.ConditionsChanged(self._now_s(), self._readings()))
        if returning and self._runner.return_s is None:  # no new pause has begun meanwhile
            self._link.open()
        if event is not None:
            self._take(event)
        due_s = self.due_s()
        # After each event too: otherwise a sender without pauses could keep this device from its timeouts.
        if event is None or (due_s is not None and self._now_s() >= due_s):
            self._step(on.ConditionsChanged(self._now_s(), self._readings()))
            self._step(on.Tick(self._now_s()))

    def _take(self, event: InboxEvent) -> None:
        match event:
            case LinkUp() | LinkDown() if self._runner.return_s is not None:
                pass  # the link queued it before this device disconnected
            case LinkUp():
                self._link.handle(event)
                self._runner.begin_connection()
                if self._losses.tells_return(self._now_s()):
                    log.info("connected to %s", self._settings.broker.url)
                self._step(on.LinkUp(self._now_s(), event.connection))
                self._mask(self._masked.begin_connection)
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
                if isinstance(event.token, FramesSent):
                    self._runner.frames_sent(event.token)
                if event.refusal is not None and (text := self._unsent.text(event.refusal, self._now_s())):
                    log.error("not published: %s", text)
            case MessageArrived():
                self._receive(event)
            case _:
                self._step(event)

    def _receive(self, message: MessageArrived) -> None:
        address = self._topics.parse(message.topic)
        if address is None or not message.payload:
            return
        try:
            event = self._inbox.event(message, address, self._state)
        except ProtocolError as error:
            self._refusals.tell(message.topic, address.kind, error, self._now_s())
            return
        if event is None:
            return
        if isinstance(event, on.MaskingArrived):
            self._take_masking(event, message.topic)
            return
        if self._downloads.has_task:
            self._link.spread_s = self._downloads.task.reconnect_spread_s
        self._step(event)
        if isinstance(event, on.FrameArrived) and address.i is not None:
            self._runner.frame_arrived(address.kind, address.i)
        if isinstance(event, on.RoundAnnounced) and self._state.manifest is event.manifest:
            self._refusals.begin_anew(self._now_s())
            self._downloads.lacks_key(event.manifest)  # keep it now: the next model takes its place

    def _take_masking(self, event: on.MaskingArrived, topic: str) -> None:
        """Take part in secure aggregation; a message that is invalid changes nothing."""
        try:
            self._mask(lambda: self._masked.take(event.frame))
        except ProtocolError as error:
            self._refusals.tell(topic, "receipt", error, self._now_s())

    def _mask(self, act: Callable[[], None]) -> None:
        """Act in secure aggregation; with a full disk, or without a readable certificate, nothing is sent."""
        try:
            act()
        except DamagedState:
            raise  # the next start quarantines the file
        except (StateError, ConfigError) as error:
            log.error("%s", error)

    def _readings(self) -> Readings:
        return UNMEASURED if self._conditions is None else self._conditions.read()

    def _step(self, event: Event) -> None:
        former = self._state
        self._state, effects = lifecycle.step(former, event)
        for effect in effects:
            try:
                before(effect)
                self._runner.perform(effect)
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
