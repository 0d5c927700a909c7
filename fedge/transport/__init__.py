"""Communication: the protocol `Transport` and its events; only the package `mqtt` uses MQTT."""

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
