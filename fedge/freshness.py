"""Which announcement is newer, and how old it is: order and age without clocks.

A device may have no clock at boot, so nothing here reads one. Freshness is the pair (generation, round);
age is read off what the broker has left of a retained message's expiry (MQTT 5, section 3.3.2.3.3).
"""

from typing import NamedTuple, Protocol

MANIFEST_EXPIRY_S = 10 * 365 * 86_400
"""The fixed MessageExpiry that `round` is published with: what is missing from it is the message's age."""
RECEIPT_EXPIRY_S = 3_600


class RoundId(NamedTuple):
    """A round of one generation; compares by age."""

    generation: int
    round: int

    def __str__(self) -> str:
        return f"{self.generation}.{self.round}"


class Dated(Protocol):
    """Anything that says which round it belongs to."""

    @property
    def generation(self) -> int: ...  # noqa: D102
    @property
    def round(self) -> int: ...  # noqa: D102


def round_of(message: Dated) -> RoundId:
    """The round a message belongs to."""
    return RoundId(message.generation, message.round)


def seconds_left(announced_s: float, expiry_left_s: int | None) -> float:
    """How long a round still lasts, from its `seconds_left` and what is left of its message's expiry."""
    age_s = 0 if expiry_left_s is None else max(0, MANIFEST_EXPIRY_S - expiry_left_s)
    return max(0.0, announced_s - age_s)
