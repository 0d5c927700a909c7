"""What one ledger has promised and closed, as the oracle keeps it: a copy of the ledger has a copy of that.

Whoever loses a ledger, or goes back to an older copy, is held to no promise that is not in the one at hand;
what is in it counts as before.
"""

from copy import copy
from dataclasses import dataclass, field, fields

from aggregator.generations import Return
from fedge.freshness import RoundId, round_of
from fedge.messages import Manifest

SpooledFrame = tuple[str, bytes, int]
"""Device, digest, number."""


@dataclass
class Book:
    """Everything that was said by an aggregator with this ledger."""

    closed: dict[RoundId, bytes] = field(default_factory=dict)
    """The model of each closed round."""
    part: dict[RoundId, frozenset[str]] = field(default_factory=dict)
    """Whose updates are in it."""
    bodies: dict[RoundId, bytes] = field(default_factory=dict)
    """The vector of each closed round's model."""
    wishes: dict[int, Return | None] = field(default_factory=dict)
    """To which model of before the operator wanted each generation to go back; None: to none."""
    last: Manifest | None = None
    """What was announced last."""
    promised: dict[RoundId, dict[str, bytes]] = field(default_factory=dict)
    answers: dict[tuple[str, bytes], str] = field(default_factory=dict)
    """Durable verdicts."""
    answered: set[tuple[str, bytes]] = field(default_factory=set)
    counted: dict[bytes, RoundId] = field(default_factory=dict)
    spooled: set[SpooledFrame] = field(default_factory=set)

    def copy(self) -> "Book":
        """As it stands now."""
        book = Book(**{each.name: copy(getattr(self, each.name)) for each in fields(self)})
        book.promised = {round_id: dict(devices) for round_id, devices in self.promised.items()}
        return book

    @property
    def newest(self) -> RoundId:
        """The newest round it speaks of."""
        announced = round_of(self.last) if self.last is not None else RoundId(0, 0)
        return max(announced, max(self.closed, default=announced))
