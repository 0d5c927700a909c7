"""End the connection of an excluded device, and publish its offline status.

Mosquitto has no command for that. Without its block in the access list such a connection can neither publish
nor receive, but it stays open, and would work again if the name were enrolled anew. Its retained status also
says "online", so that rounds would wait for it. So this module takes over its client id for a moment, with a
certificate made for that. The broker then ends the older connection, and the list of revoked certificates
keeps it out.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from queue import Empty, SimpleQueue

from fedge.errors import ProtocolError
from fedge.service.settings import BrokerSettings
from fedge.storage.atomic_files import atomic_write
from fedge.storage.temporary import temporary_folder
from fedge.transport import Answered, LinkEvent, LinkUp, MessageArrived, Publication, Sent, Transport
from fedge.transport.mqtt import MqttTransport
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.status import Status
from fedge.wire.topics import Topics
from fleet.pki.authority import Authority
from fleet.pki.certificates import utc_now
from fleet.pki.folder import SECRET, FederationFolder
from fleet.pki.identity import Identity
from fleet.pki.keys import make_key, public_key
from fleet.pki.publication import farewell
from fleet.pki.register import Register

PATIENCE_S = 5.0
"""The smallest time limit for the broker's answer."""
PATIENCE_PER_MEMBER_S = 0.003
"""The additional time for each member: the broker answers nobody while it reads its lists, which takes
seconds with 10,000 members."""
STATUS_S = 0.3
"""How long to wait for the retained status each time after the broker has answered; there may be none."""
ATTEMPTS = 3
DAYS = 0.01
"""The lifetime of the certificate for this; its key is deleted after use."""


class Dismissed(Enum):
    """The result, as a text about what may not have happened."""

    DONE = ""
    NOT_REACHED = "the broker accepted no connection from here"
    NOT_SAID = "the broker ended its connection, but did not confirm its status"

    def __bool__(self) -> bool:
        return self is Dismissed.DONE

    def unseen(self, device: str) -> str:
        """A sentence for the operator; empty if all was done."""
        match self:
            case Dismissed.DONE:
                return ""
            case Dismissed.NOT_REACHED:
                left = (
                    f"the connection of {device} may still be open (it can neither send nor receive), and "
                    "its status "
                )
            case Dismissed.NOT_SAID:
                left = f"the status of {device} "
        return f"{self.value}: {left}may still say that it is online, so that rounds wait for it"


def patience_s(members: int) -> float:
    """How long to wait for a broker with this many members on its lists."""
    return PATIENCE_S + PATIENCE_PER_MEMBER_S * members


def dismiss(
    folder: FederationFolder,
    register: Register,
    authority: Authority,
    port: int,
    identity: Identity,
    *,
    erase: bool = False,
) -> Dismissed:
    """Take over a device's client id at the broker on this machine, publish "offline", and disconnect.

    Call it after the broker has been signalled; otherwise the device is back at once. With `erase` its status
    is removed instead of replaced.

    Returns:
        Whether it was done; not if no broker answers here within `patience_s`.

    Raises:
        StateError: a file cannot be written or read.
    """
    patience = patience_s(len(register.members()))
    with _stand_in(folder, authority, port, identity) as (link, inbox):
        stand_in = StandIn(link, inbox, patience)
        if not stand_in.waits_for(LinkUp):
            return Dismissed.NOT_REACHED
        with farewell(folder, register, identity):
            topic = Topics(identity.federation).status(str(identity.device))
            said = stand_in.erases(topic) if erase else stand_in.says_offline(topic)
    return Dismissed.DONE if said else Dismissed.NOT_SAID


@dataclass
class StandIn:
    """A connection with the device's client id."""

    link: Transport
    inbox: "SimpleQueue[LinkEvent]"
    patience_s: float
    """How long to wait for each answer of the broker."""
    message: MessageArrived | None = None
    sent: Sent | None = None

    def erases(self, topic: str) -> bool:
        """Remove the retained status, whether there is one or not; return whether the broker has confirmed
        it."""
        for _ in range(ATTEMPTS):  # the broker may not have read the access list yet, and refuse this
            self.link.send([Publication(topic, b"", retain=True)], topic)
            if not self.waits_for(Sent):
                return False
            if self.sent is not None and self.sent.refusal is None:
                return True
            self.waits_for(MessageArrived, STATUS_S)
        return False

    def says_offline(self, topic: str) -> bool:
        """Replace the retained status, if there is one, by the same with `online = false`.

        Returns:
            Whether the broker answered every time.
        """
        for _ in range(ATTEMPTS):  # the broker may not have read the access list yet
            self.link.subscribe(topic)
            if not self.waits_for(Answered):
                return False
            if self.message is not None or self.waits_for(MessageArrived, STATUS_S):
                break
        if self.message is None or not self.message.payload:
            return True
        try:
            status = unpack(self.message.payload, Status)
        except ProtocolError:
            return True  # rounds do not wait for a device whose status cannot be read
        offline = pack(status.model_copy(update={"online": False}))
        self.link.send([Publication(topic, offline, retain=True)], topic)
        return self.waits_for(Sent)

    def waits_for(self, kind: type[LinkEvent], patience_s: float | None = None) -> bool:
        """Handle the transport's events until one of this kind comes."""
        deadline_s = time.monotonic() + (self.patience_s if patience_s is None else patience_s)
        while (left_s := deadline_s - time.monotonic()) > 0:
            try:
                event = self.inbox.get(timeout=left_s)
            except Empty:
                return False
            self.link.handle(event)
            match event:
                case MessageArrived():
                    self.message = event
                case Sent():
                    self.sent = event
                case _:
                    pass
            if isinstance(event, kind):
                return True
        return False


@contextmanager
def _stand_in(
    folder: FederationFolder, authority: Authority, port: int, identity: Identity
) -> Iterator[tuple[Transport, "SimpleQueue[LinkEvent]"]]:
    key = make_key()
    issued = authority.issue_client(identity.name, public_key(key), DAYS, utc_now())
    inbox: SimpleQueue[LinkEvent] = SimpleQueue()
    with temporary_folder("fedge-") as home:
        own = home / "identity.pem"
        atomic_write(own, key + issued.pem, mode=SECRET)
        broker = BrokerSettings(url=f"mqtts://127.0.0.1:{port}", ca=folder.ca, certificate=own, key=own)
        link = MqttTransport(broker, identity.name, inbox.put)
        link.open()
        try:
            yield link, inbox
        finally:
            link.close()
