"""Logs refused messages, each kind once. Garbage from the network must not fill the log of a device."""

import logging
from dataclasses import dataclass

from fedge.errors import ProtocolError
from fedge.masking.refusals import Refusal

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
        self._told: dict[tuple[str, str], _Told] = {}

    def tell(self, topic: str, kind: str, error: ProtocolError, now_s: float) -> None:
        """Record that a message of this kind was refused on `topic`."""
        self._tell((kind, error.reason), f"ignored a message on {topic}: {error}", now_s)

    def tell_masking(self, refusal: Refusal, now_s: float) -> None:
        """Record that a message of secure aggregation was refused."""
        text = f"secure aggregation: refused ({refusal.why}): {refusal.detail}"
        self._tell(("masking", refusal.why), text, now_s)

    def _tell(self, key: tuple[str, str], text: str, now_s: float) -> None:
        told = self._told.get(key)
        if told is not None and now_s < told.when_s + AGAIN_S:
            told.since += 1
            return
        more = f" ({told.since} more since the last time)" if told is not None and told.since else ""
        self._told[key] = _Told(now_s)
        log.warning("%s%s", text, more)

    def begin_anew(self, now_s: float) -> None:
        """Record an authentic message. Later refusals are logged again, but not twice in a minute."""
        over = {key: told for key, told in self._told.items() if now_s >= told.when_s + SOONEST_S}
        silent = sum(told.since for told in over.values())
        if silent:
            log.info("%d more messages were ignored for the same reasons", silent)
        for key in over:
            del self._told[key]
