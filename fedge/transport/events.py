"""The messages that a transport sends, and the events that it puts into its owner's inbox."""

from dataclasses import dataclass

RECEIVE_MAXIMUM = 65_535
"""The Receive Maximum of a broker that names none (MQTT 5, section 3.2.2.3.3)."""
NO_ANSWER = 0
"""No packet identifier: that of a message at QoS 0, which must not be acknowledged (section 2.2.1)."""


@dataclass(frozen=True)
class Publication:
    """One message to send, always QoS 1."""

    topic: str
    payload: bytes
    retain: bool = False
    expiry_s: int | None = None


@dataclass(frozen=True)
class LinkUp:
    """The broker accepted us; `session_present`: it kept our session from before."""

    connection: int
    """Its number among the attempts to connect since the transport was made, from 1 on."""
    session_present: bool
    max_packet: int
    """The largest packet that the broker takes, in bytes."""
    receive_maximum: int = RECEIVE_MAXIMUM
    """The most unacknowledged publications that the broker takes from us."""


@dataclass(frozen=True)
class LinkDown:
    """The connection ended or could not be made."""

    reason: str
    taken_over: bool = False
    """Another client came with our client id."""
    unauthorized: bool = False
    """The broker refuses us: the name, or its password or certificate, is not valid any more."""


@dataclass(frozen=True)
class MessageArrived:
    """A message; `retained`: it was stored at the broker; `expiry_left_s`: the rest of its MessageExpiry."""

    topic: str
    payload: bytes
    retained: bool
    expiry_left_s: int | None
    connection: int
    """The connection it arrived on; acknowledged only there, otherwise it comes again on another one."""
    mid: int
    """Its packet identifier, which is valid only on that connection; `NO_ANSWER`: it came at QoS 0."""


@dataclass(frozen=True)
class Answered:
    """The broker answered a publish or subscribe."""

    mid: int
    refusal: str | None
    subscription: bool = False


PACED = Answered(NO_ANSWER, None)
"""No answer of the broker: our own pace allows the next publication."""


@dataclass(frozen=True)
class Sent:
    """All publications of one `send` were acknowledged, or `refusal` says why not."""

    token: object
    refusal: str | None


LinkEvent = LinkUp | LinkDown | MessageArrived | Answered | Sent
