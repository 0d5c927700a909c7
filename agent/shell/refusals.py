"""Logs refused messages, each kind once. Garbage from the network must not fill the log of a device."""

import logging
from dataclasses import dataclass

from fedge.errors import ProtocolError
from fedge.wire.reasons import Reason

log = logging.getLogger("fedge.agent")

AGAIN_S = 3_600.0
"""A refusal that goes on is logged again after this time."""

SOONEST_S = 60.0
"""The shortest time between two log lines of one kind, in seconds, because authentic messages may also arrive
in a flood."""


@dataclass
class _Told:
    when_s: float
    since: int = 0
    """How many were refused without a log line since then."""


class Refusals:
    """Logs the first refusal of each kind of message and reason, and counts those after it."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, Reason], _Told] = {}

    def tell(self, topic: str, kind: str, error: ProtocolError, now_s: float) -> None:
        """Record that a message of this kind was refused on `topic`."""
        told = self._told.get((kind, error.reason))
        if told is not None and now_s < told.when_s + AGAIN_S:
            told.since += 1
            return
        more = f" ({told.since} more since the last time)" if told is not None and told.since else ""
        self._told[kind, error.reason] = _Told(now_s)
        log.warning("ignored a message on %s: %s%s", topic, error, more)

    def begin_anew(self, now_s: float) -> None:
        """Record an authentic message. Later refusals are logged again, but not twice in a minute."""
        over = {key: told for key, told in self._told.items() if now_s >= told.when_s + SOONEST_S}
        silent = sum(told.since for told in over.values())
        if silent:
            log.info("%d more messages were ignored for the same reasons", silent)
        for key in over:
            del self._told[key]
