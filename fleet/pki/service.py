"""`fedge registrar`: its inbox and its loop, which is the only place that waits."""

import logging
import os
import time
from queue import Empty, SimpleQueue

from fedge.errors import ConfigError, Conflict, StateError
from fedge.identity.bundle import broker_url
from fedge.service.settings import BrokerSettings
from fedge.storage.locks import lock
from fedge.transport import (
    LinkDown,
    LinkEvent,
    LinkUp,
    MessageArrived,
    Publication,
    Sent,
    Transport,
)
from fedge.transport.diagnosis import Losses
from fedge.transport.mqtt import MqttTransport
from fedge.wire.messages.message import pack
from fedge.wire.topics import Topics, parse
from fleet.pki.certificates import utc_now
from fleet.pki.folder import FederationFolder
from fleet.pki.register import Register
from fleet.pki.registrar import Petition, Registrar, Reply
from fleet.pki.settings import RegistrarSettings

log = logging.getLogger("fedge.registrar")

TICK_S = 15.0
"""How often the loop checks for ended claims, new federations and unpublished changes."""
LARGEST_TURN = 64
"""The largest number of requests in one transaction."""
ANSWER_EXPIRY_S = 300


class Stop:
    """Ask the loop to end; put into the inbox by a signal handler."""


class Loop:
    """The registrar at work until `stop`.

    Raises:
        Conflict: another registrar works with this folder.
        ConfigError: the folder's files are wrong.
        StateError: the folder cannot be used.
    """

    def __init__(self, folder: FederationFolder) -> None:
        if not folder.registrar.is_dir():
            raise ConfigError(
                f"{folder.root}: there is no registrar/: `fedge init NAME` makes a federation's folder, and "
                "--folder names it"
            )
        self._lock = lock(folder.registrar)
        self._losses = Losses()
        self._register = Register(folder.register)
        self._registrar = Registrar(folder, self._register)
        self._inbox: SimpleQueue[LinkEvent | Stop] = SimpleQueue()
        address = RegistrarSettings.load(folder.registrar_settings).broker
        identity = folder.registrar_identity.resolve()
        self._link: Transport = MqttTransport(
            BrokerSettings(
                url=broker_url(address.host, address.port),
                ca=folder.ca.resolve(),
                certificate=identity,
                key=identity,
            ),
            "registrar",
            self._inbox.put,
            manual_ack=True,  # so that unjudged requests wait at the broker, not in our memory
        )
        self._subscribed: set[str] = set()

    def stop(self) -> None:
        """End the loop soon; safe in a signal handler."""
        self._inbox.put(Stop())

    def run(self) -> None:
        """Answer until `stop`."""
        self._registrar.tell_broker(utc_now())  # a crash may have prevented it
        self._link.open()
        try:
            while (events := self._next()) is not None:
                try:
                    self._turn(events)
                except (Conflict, StateError) as error:
                    log.error("%s; no request was answered; devices will repeat theirs", error)
        finally:
            self._link.close()
            self._register.close()
            os.close(self._lock)
            log.info("stopped")

    def _next(self) -> list[LinkEvent] | None:
        """Wait for events; an empty list means that time has passed, None that it was asked to stop."""
        events: list[LinkEvent] = []
        try:
            event = self._inbox.get(timeout=TICK_S)
            while not isinstance(event, Stop):
                events.append(event)
                if len(events) == LARGEST_TURN:
                    return events
                event = self._inbox.get_nowait()
        except Empty:
            return events
        return None

    def _turn(self, events: list[LinkEvent]) -> None:
        try:
            self._judge(events)
        finally:  # also unanswered requests: they are lost, and their devices will repeat them
            for event in events:
                if isinstance(event, MessageArrived):
                    self._link.acknowledge(event)

    def _judge(self, events: list[LinkEvent]) -> None:
        petitions = []
        for event in events:
            self._link.handle(event)
            match event:
                case LinkUp():
                    self._subscribed = set()
                    if self._losses.tells_return(time.monotonic()):
                        log.info("connected")
                case LinkDown():
                    if (text := self._losses.text(event.reason, time.monotonic())) is not None:
                        log.warning("not connected: %s", text)
                case Sent(token, str(refusal)):
                    log.error("the broker refuses an answer (%s): %s", token, refusal)
                case MessageArrived():
                    address = parse(event.topic)
                    if address is not None and address.petitioner is not None and address.side == "request":
                        petitions.append(Petition(address.federation, address.petitioner, event.payload))
                case _:
                    pass
        self._subscribe()
        if petitions:
            for reply in self._registrar.turn(petitions, utc_now()):
                self._answer(reply)
        elif not events:
            self._registrar.tell_broker(utc_now())

    def _subscribe(self) -> None:
        """Subscribe to the requests of every federation, also of one that was added since."""
        if not self._link.up:
            return
        wanted = {Topics(federation).all_provision_requests for federation in self._register.federations()}
        self._link.subscribe(*sorted(wanted - self._subscribed))
        self._subscribed |= wanted

    def _answer(self, reply: Reply) -> None:
        petition = reply.petition
        topic = Topics(petition.federation).provision(petition.petitioner, "answer")
        answer = Publication(topic, pack(reply.answer), expiry_s=ANSWER_EXPIRY_S)
        self._link.send([answer], token=petition.petitioner)
