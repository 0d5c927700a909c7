"""The takeover of a federation: watch first, then serve, or end with a reason. Pure; see `machine`."""

from aggregator.core.takeover.effects import Abort, Effect, GiveWay, Log, Subscribe, TakeUp
from aggregator.core.takeover.events import (
    Event,
    LinkDown,
    LinkUp,
    ManifestSeen,
    ServiceSeen,
    StatusSeen,
    Subscribed,
    Tick,
)
from aggregator.core.takeover.machine import FRESH_S, Takeover, due_s, step

__all__ = [
    "FRESH_S",
    "Abort",
    "Effect",
    "Event",
    "GiveWay",
    "LinkDown",
    "LinkUp",
    "Log",
    "ManifestSeen",
    "ServiceSeen",
    "StatusSeen",
    "Subscribe",
    "Subscribed",
    "TakeUp",
    "Takeover",
    "Tick",
    "due_s",
    "step",
]
