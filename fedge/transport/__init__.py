"""How the programs reach each other: the protocol `Transport` and its events; MQTT is in `mqtt` alone."""

from fedge.transport.events import (
    Answered,
    LinkDown,
    LinkEvent,
    LinkUp,
    MessageArrived,
    Publication,
    Sent,
)
from fedge.transport.protocol import Traffic, Transport

__all__ = [
    "Answered",
    "LinkDown",
    "LinkEvent",
    "LinkUp",
    "MessageArrived",
    "Publication",
    "Sent",
    "Traffic",
    "Transport",
]
