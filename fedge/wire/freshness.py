"""Which announcement is newer, and how old it is: order and age without clocks.

A device may have no clock at boot, so nothing here reads one. Freshness is (generation, round, attempt);
age is read off what the broker has left of a retained message's expiry (MQTT 5, section 3.3.2.3.3).
"""

from typing import NamedTuple, Protocol

MANIFEST_EXPIRY_S = 10 * 365 * 86_400
"""The fixed MessageExpiry that `round` is published with: what is missing from it is the message's age."""
SERVICE_EXPIRY_S = 25
"""Of an aggregator's "online": each beat renews it, and who died in silence is not online for ever."""
RECEIPT_EXPIRY_S = 3_600


class RoundId(NamedTuple):
    """A round of one generation; compares by age."""

    generation: int
    round: int

    def __str__(self) -> str:
        return f"{self.generation}.{self.round}"


class Attempt(NamedTuple):
    """One attempt of a round, the first being 0; compares by age."""

    round: RoundId
    number: int

    def __str__(self) -> str:
        return f"{self.round}, attempt {self.number}" if self.number else str(self.round)


class Dated(Protocol):
    """Anything that says which round it belongs to."""

    @property
    def generation(self) -> int: ...  # noqa: D102
    @property
    def round(self) -> int: ...  # noqa: D102


def round_of(message: Dated) -> RoundId:
    """The round a message belongs to."""
    return RoundId(message.generation, message.round)


def age_s(expiry_s: int, expiry_left_s: int | None) -> int:
    """How long a message has lain at the broker, in whole seconds, one too many at most.

    Args:
        expiry_s: the expiry it was published with.
        expiry_left_s: what the broker has left of that; None: it does not say, and the message counts as new.
    """
    return 0 if expiry_left_s is None else max(0, expiry_s - expiry_left_s)


def seconds_left(announced_s: float, expiry_left_s: int | None) -> float:
    """How long a round still lasts, from its `seconds_left` and what is left of its message's expiry."""
    return max(0.0, announced_s - age_s(MANIFEST_EXPIRY_S, expiry_left_s))
