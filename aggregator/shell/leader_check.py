"""Watch before serving: the machine of `aggregator.core.takeover`, run on a connection to the broker.

`Watching` has no thread and never waits. In production `watch` calls `turn`, in the simulated world a host.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any

from aggregator.config import FederationSettings
from aggregator.core import takeover
from aggregator.core.claims import HEARING_S, Known
from aggregator.core.presence import QUIET_S, RETAINED_S
from aggregator.core.takeover import Takeover, TakeUp
from aggregator.shell.intake import UNKNOWN
from aggregator.shell.reports import Reports
from fedge.errors import ConfigError, Conflict, ProtocolError, Undecided
from fedge.identity import ed25519
from fedge.identity.trust import Signer, authenticate
from fedge.service.systemd import Watchdog
from fedge.transport import Answered, LinkDown, LinkEvent, LinkUp, MessageArrived, Transport
from fedge.transport.diagnosis import Losses
from fedge.transport.mqtt import MqttTransport
from fedge.wire.freshness import SERVICE_EXPIRY_S, age_s
from fedge.wire.messages.envelope import Signed
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import unpack
from fedge.wire.messages.service import Service
from fedge.wire.messages.status import Status
from fedge.wire.topics import Topics

log = logging.getLogger("fedge.aggregator")


class Stopped(Exception):  # noqa: N818 (an outcome)
    """The program was asked to stop while it watched."""


class Watching:
    """Runs the takeover on a link, which its owner opens and closes.

    Args:
        settings: the configuration.
        link: to the broker, with a client id of its own, so that it ends no other session.
        known: what the ledger knows, from `aggregator.shell.saved_state.known`.
        now_s: monotonic seconds.
        signer: signs the federation's announcements; then only those with its signature are believed.
        new_generation: whether the next generation is to begin, whatever the ledger knows.
        quarantined: devices whose claims of seen rounds are not believed.
    """

    def __init__(
        self,
        settings: FederationSettings,
        link: Transport,
        known: Known,
        now_s: Callable[[], float] = time.monotonic,
        signer: Signer | None = None,
        *,
        new_generation: bool = False,
        quarantined: frozenset[str] = frozenset(),
    ) -> None:
        self._quarantined, self._known = quarantined, known
        self._reports, self._losses = Reports(), Losses()
        self._link = link
        self._now_s = now_s
        self._signer = signer
        self._topics = Topics(settings.federation.name)
        key = signer.public if signer is not None else None
        self._state = Takeover(
            settings.federation.name, settings.broker.url, key, known, new_generation=new_generation
        )
        self.seen: TakeUp | None = None
        """The result, once enough was seen and the ledger fits."""

    @property
    def subscribed_s(self) -> float | None:
        """When retained messages began to arrive, by `now_s`; None: they do not arrive yet."""
        return self._state.subscribed_s

    @property
    def patience_s(self) -> float:
        """The longest time to watch, in seconds, if no other aggregator is running."""
        quiet_s = self._state.watch.quiet_s if self._state.watch is not None else QUIET_S
        retained_s = RETAINED_S if quiet_s > QUIET_S else quiet_s  # if devices never stop sending
        return retained_s + (HEARING_S if self._state.listens else 0.0)

    def due_s(self) -> float | None:
        """When `turn` wants to be called next, even if nothing happens; None: only for an event."""
        return takeover.due_s(self._state)

    def turn(self, events: Sequence[LinkEvent]) -> None:
        """Handle events in order, then the passing of time.

        Raises:
            Conflict: another aggregator is running.
            Undecided: too few devices have reported to say whether the ledger fits.
            ConfigError: the fleet has seen more than the ledger knows, or no generation can follow.
        """
        for event in events:
            for seen in self._understood(event):
                self._step(seen)
        self._step(takeover.Tick(self._now_s()))
        self._reports.sum_up(self._now_s())

    def _understood(self, event: LinkEvent) -> Iterator[takeover.Event]:
        match event:
            case LinkUp():
                self._link.handle(event)
                yield takeover.LinkUp(self._now_s())
            case LinkDown():
                self._link.handle(event)
                yield takeover.LinkDown(self._losses.text(event.reason, self._now_s()))
            case Answered():
                self._link.handle(event)
                if event.subscription:
                    yield takeover.Subscribed(self._now_s())
            case MessageArrived():
                seen = understood(self._topics, event, self._now_s(), self._signer, self._tell)
                if isinstance(seen, takeover.StatusSeen) and seen.device in self._quarantined:
                    seen = replace(seen, status=seen.status.model_copy(update={"generation": 0, "round": 0}))
                if seen is not None:
                    yield seen

    def _tell(self, device: str | None, cause: str, text: str) -> None:
        """Log within the allowance of a device that the ledger knows, or of all others together."""
        known = device is not None and (device in self._known.devices or device in (self._known.roster or ()))
        self._reports.tell(
            logging.WARNING, device if known and device else UNKNOWN, cause, text, self._now_s()
        )

    def _step(self, event: takeover.Event) -> None:
        self._state, effects = takeover.step(self._state, event)
        for effect in effects:
            match effect:
                case takeover.Subscribe():
                    topics = self._topics
                    self._link.subscribe(topics.service, topics.round, topics.all_statuses)
                case takeover.Log(level, text):
                    log.log(logging.getLevelNamesMapping()[level.upper()], "%s", text)
                case takeover.GiveWay(text):
                    raise Conflict(text)
                case takeover.Abort(text, later):
                    raise (Undecided if later else ConfigError)(text)
                case takeover.TakeUp():
                    self.seen = effect


def _warn(device: str | None, cause: str, text: str) -> None:
    log.warning("%s", text)


def understood(
    topics: Topics,
    message: MessageArrived,
    now_s: float,
    signer: Signer | None = None,
    tell: Callable[[str | None, str, str], None] = _warn,
) -> takeover.Event | None:
    """Turn a message into an event of the takeover; None: it has none, or cannot be read.

    Args:
        topics: of the federation.
        message: as it came from the broker.
        now_s: monotonic seconds.
        signer: if given, only announcements with its signature count.
        tell: logs a message that cannot be read; gets the device, if there is one, the cause, and a text.
    """
    address = topics.parse(message.topic)
    try:
        match address.kind if address is not None else None:
            case "service" if message.payload:
                lain_s = age_s(SERVICE_EXPIRY_S, message.expiry_left_s)
                return takeover.ServiceSeen(now_s, unpack(message.payload, Service), lain_s)
            case "round" if message.payload:
                envelope = unpack(message.payload, Signed)
                if signer is not None:
                    authenticate(envelope, "round", topics, signer.keys, ed25519.verify)
                return takeover.ManifestSeen(now_s, unpack(envelope.body, Manifest))
            case "status" if message.payload and address is not None and address.device is not None:
                return takeover.StatusSeen(now_s, address.device, unpack(message.payload, Status))
    except ProtocolError as error:
        device, kind = (None, "") if address is None else (address.device, address.kind)
        tell(device, f"{kind} {error.reason}", f"ignored a message on {message.topic}: {error}")
    return None


def watch(
    settings: FederationSettings,
    known: Known,
    inbox: "SimpleQueue[Any]",
    watchdog: Watchdog,
    signer: Signer | None = None,
    *,
    new_generation: bool = False,
    quarantined: frozenset[str] = frozenset(),
) -> TakeUp:
    """Watch at the broker until enough has been seen. This is the only function here that waits.

    Raises:
        Conflict, Undecided, ConfigError: as `Watching.turn`.
        Stopped: the inbox held something else than an event of the link, which is a request to stop.
    """
    link = _looking_around(settings, inbox)
    watching = Watching(
        settings, link, known, signer=signer, new_generation=new_generation, quarantined=quarantined
    )
    link.open()
    try:
        while watching.seen is None:
            watchdog.look(link.pulse)
            due_s = watching.due_s()
            left_s = None if due_s is None else max(0.0, due_s - time.monotonic())
            try:
                event = inbox.get(timeout=watchdog.wait_s(left_s))
            except Empty:
                watching.turn([])
                continue
            if not isinstance(event, LinkEvent):
                raise Stopped
            watching.turn([event])
    finally:
        link.close()
        _drain(inbox)
    return watching.seen


def _looking_around(settings: FederationSettings, inbox: "SimpleQueue[Any]") -> Transport:
    """The link to watch with: as `[watch]` says, or as the aggregator under a random client id."""
    name = f"{settings.federation.name}__watch"
    if settings.watch is None:
        return MqttTransport(settings.broker, f"{name}-{os.urandom(4).hex()}", inbox.put)
    credentials = {"certificate": settings.watch.certificate, "key": settings.watch.key}
    return MqttTransport(settings.broker.model_copy(update=credentials), name, inbox.put)


def _drain(inbox: "SimpleQueue[Any]") -> None:
    """Drop the last events of the closed link, and nothing else."""
    kept = []
    while True:
        try:
            event = inbox.get_nowait()
        except Empty:
            break
        if not isinstance(event, LinkEvent):
            kept.append(event)
    for event in kept:
        inbox.put(event)
