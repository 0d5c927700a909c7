"""What one ledger has promised and closed, as the oracle keeps it: a copy of the ledger has a copy of that.

Whoever loses a ledger, or goes back to an older copy, is held to no promise that is not in the one at hand;
what is in it counts as before.
"""

from copy import copy
from dataclasses import dataclass, field, fields

from aggregator.aggregation.rollback import Return
from fedge.wire.freshness import Attempt, RoundId, round_of
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.status import Decline

SpooledFrame = tuple[str, bytes, int]
"""Device, digest, number."""
Presence = tuple[bool, Decline | None]
"""Whether a device is online, and what it declines."""


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
    made: RoundId = field(default_factory=lambda: RoundId(0, 0))
    """The newest round that made a model."""
    measured: set[RoundId] = field(default_factory=set)
    """Rounds that only measured the model of the one before."""
    best: dict[int, tuple[RoundId, float]] = field(default_factory=dict)
    """The model with the lowest held-out loss that was told, by generation."""
    last: Manifest | None = None
    """What was announced last."""
    promised: dict[RoundId, dict[str, bytes]] = field(default_factory=dict)
    answers: dict[tuple[str, bytes], str] = field(default_factory=dict)
    """Durable verdicts."""
    set_aside: set[bytes] = field(default_factory=set)
    """Updates that were admitted, and then made the mean unusable."""
    usual: dict[int, float] = field(default_factory=dict)
    """The longest median distance of a round's updates from their base, by generation."""
    moved: float = 0.0
    """How far the last round moved the model."""
    answered: set[tuple[str, bytes]] = field(default_factory=set)
    counted: dict[bytes, RoundId] = field(default_factory=dict)
    spooled: set[SpooledFrame] = field(default_factory=set)
    attempt: Attempt | None = None
    """The attempt that is open."""
    quorums: dict[tuple[RoundId, int], int] = field(default_factory=dict)
    """The updates that each announced attempt takes, by round and attempt."""
    linked_s: float = 0.0
    """How long aggregators had been connected, all in all, when it began."""
    lifts: int = 0
    """How often an operator had let a device count again when it began."""
    tried: Attempt | None = None
    """The attempt that was closed last, whether a model came of it or not."""
    over_s: float = 0.0
    """When the seconds run out of what was announced last since an aggregator began with it; never before."""
    awaited: dict[str, tuple[RoundId, ...]] = field(default_factory=dict)
    """Rounds that waited for a device until their deadline, in vain, since its last admitted update."""
    absent_s: dict[str, float] = field(default_factory=dict)
    """How long rounds lasted that closed without a device, for whatever reason, since then."""
    heard: dict[str, tuple[Presence, float]] = field(default_factory=dict)
    """What each device was heard to say last since an aggregator began with it, and since when it says so."""
    answer_s: float = -1.0
    """When an answer became durable last."""
    given_up: dict[RoundId, frozenset[str]] = field(default_factory=dict)
    """For which devices a round need not have waited."""

    def copy(self) -> "Book":
        """As it stands now."""
        book = Book(**{each.name: copy(getattr(self, each.name)) for each in fields(self)})
        book.promised = {round_id: dict(devices) for round_id, devices in self.promised.items()}
        return book

    @property
    def body(self) -> bytes:
        """The vector of the newest model; none: empty."""
        return self.bodies[max(self.bodies)] if self.bodies else b""

    @property
    def newest(self) -> RoundId:
        """The newest round it speaks of."""
        announced = round_of(self.last) if self.last is not None else RoundId(0, 0)
        return max(announced, max(self.closed, default=announced))
