"""Asks the registrar for a certificate, over the listener with passwords, until it answers."""

import logging
import time
from queue import Empty, SimpleQueue

from fedge.errors import ConfigError, ProtocolError, Unanswered
from fedge.identity.provisioning import Enrol, Issued, Renew, digest
from fedge.service.settings import BrokerSettings
from fedge.transport import (
    LinkDown,
    LinkEvent,
    LinkUp,
    MessageArrived,
    Publication,
    Sent,
    Transport,
)
from fedge.transport.mqtt import MqttTransport
from fedge.wire.messages.message import pack, unpack
from fedge.wire.topics import Topics

log = logging.getLogger("fedge.agent")

REPEAT_S = 5.0
"""The pause before a request is repeated, in seconds. The registrar signs the same request only once."""


def ask(
    broker: BrokerSettings, topics: Topics, petitioner: str, request: Enrol | Renew, wait_s: float
) -> bytes:
    """Return the registrar's certificate for this request, in DER. The caller must check it.

    Args:
        broker: the listener for clients without a certificate, with user name and password.
        topics: the federation's topics.
        petitioner: the name whose topics to use: the claim's name, or the device's own.
        request: the request.
        wait_s: how long to wait in all, in seconds.

    Raises:
        ConfigError: the registrar refuses; the text says why.
        Unanswered: no answer came in time.
    """
    inbox: SimpleQueue[LinkEvent] = SimpleQueue()
    link: Transport = MqttTransport(broker, broker.username or petitioner, inbox.put)
    asked = Publication(topics.provision(petitioner, "request"), pack(request))
    answers = topics.provision(petitioner, "answer")
    deadline_s = time.monotonic() + wait_s
    heard = f"{broker.host}:{broker.port}: the registrar does not answer; check that `fedge registrar` runs"
    link.open()
    try:
        while (left_s := deadline_s - time.monotonic()) > 0:
            try:
                event = inbox.get(timeout=min(left_s, REPEAT_S))
            except Empty:
                link.send([asked])
                continue
            link.handle(event)
            match event:
                case LinkUp():
                    link.subscribe(answers)
                    link.send([asked])
                case LinkDown():
                    heard = _explained(event, broker)
                    log.info("not connected: %s", heard)
                case Sent(refusal=str(refusal)):
                    heard = f"the broker refuses the request: {refusal}"
                case MessageArrived() if event.topic == answers:
                    certificate = _read(event.payload, digest(request.csr))
                    if certificate is not None:
                        return certificate
                case _:
                    pass
    finally:
        link.close()
    raise Unanswered(f"no certificate came within {wait_s:.0f} s: {heard}")


def _explained(down: LinkDown, broker: BrokerSettings) -> str:
    if down.unauthorized:
        return (
            f"{broker.host}:{broker.port} refuses user {broker.username}: the token has expired or was "
            "withdrawn, or the device was revoked"
        )
    return down.reason


def _read(payload: bytes, wanted: bytes) -> bytes | None:
    """Return the certificate in an answer; None if the answer is for another device that shares the claim."""
    try:
        answer = unpack(payload, Issued)
    except ProtocolError as error:
        log.warning("cannot read the registrar's answer: %s", error)
        return None
    if answer.csr != wanted:
        return None
    if answer.certificate is None:
        raise ConfigError(f"the registrar refuses ({answer.refused}): {answer.detail}")
    return answer.certificate
