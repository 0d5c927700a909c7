"""Order and age of announcements, without clocks.

A device may have no clock at boot, so nothing here reads one. Announcements are ordered by (generation,
round, attempt). The age follows from the rest of a retained message's expiry (MQTT 5, section 3.3.2.3.3).
"""

from typing import NamedTuple, Protocol

MANIFEST_EXPIRY_S = 10 * 365 * 86_400
"""The fixed MessageExpiry of `round` messages: the expired part is the age of the message."""
SERVICE_EXPIRY_S = 25
"""The expiry of an aggregator's "online"; each beat renews it, so a dead aggregator does not stay online."""
RECEIPT_EXPIRY_S = 3_600


class RoundId(NamedTuple):
    """A round of one generation; ordered by age."""

    generation: int
    round: int

    def __str__(self) -> str:
        return f"{self.generation}.{self.round}"


class Attempt(NamedTuple):
    """One attempt of a round, counted from 0; ordered by age."""

    round: RoundId
    number: int

    def __str__(self) -> str:
        return f"{self.round}, attempt {self.number}" if self.number else str(self.round)


class Dated(Protocol):
    """A message that says which round it belongs to."""

    @property
    def generation(self) -> int: ...  # noqa: D102
    @property
    def round(self) -> int: ...  # noqa: D102


def round_of(message: Dated) -> RoundId:
    """The round a message belongs to."""
    return RoundId(message.generation, message.round)


def age_s(expiry_s: int, expiry_left_s: int | None) -> int:
    """How long a message was stored at the broker, in whole seconds, at most one second too much.

    Args:
        expiry_s: the expiry it was published with.
        expiry_left_s: the rest of it; None: the broker does not say, and the message counts as new.
    """
    return 0 if expiry_left_s is None else max(0, expiry_s - expiry_left_s)


def seconds_left(announced_s: float, expiry_left_s: int | None) -> float:
    """The seconds that a round still lasts, from its `seconds_left` and the rest of its message's expiry."""
    return max(0.0, announced_s - age_s(MANIFEST_EXPIRY_S, expiry_left_s))
