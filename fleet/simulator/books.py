"""The oracle's record of what aggregators promised and closed with one ledger.

A copy of a ledger has a copy of its book. An aggregator that loses its ledger, or returns to an older copy,
must keep only the promises in the book of the ledger that it uses.
"""

from copy import copy
from dataclasses import dataclass, field, fields

from aggregator.aggregation.rollback import Rollback
from fedge.wire.freshness import Attempt, RoundId, round_of
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.status import Decline
from fleet.simulator.coding_twins import Sent
from fleet.simulator.round_twins import ServerState

SpooledFrame = tuple[str, bytes, int]
"""The device, the update's digest, and the frame's number."""
Presence = tuple[bool, Decline | None]
"""Whether a device is online, and the attempt that it declines."""


@dataclass
class Book:
    """Everything that aggregators with this ledger have published and saved."""

    closed: dict[RoundId, bytes] = field(default_factory=dict)
    """The digest of each closed round's model."""
    part: dict[RoundId, frozenset[str]] = field(default_factory=dict)
    """The devices whose updates count in each closed round."""
    bodies: dict[RoundId, bytes] = field(default_factory=dict)
    """The vector of each closed round's model."""
    wishes: dict[int, Rollback | None] = field(default_factory=dict)
    """The earlier model with which the operator began each generation; None: a new model."""
    made: RoundId = field(default_factory=lambda: RoundId(0, 0))
    """The newest round that made a model."""
    states: dict[RoundId, ServerState] = field(default_factory=dict)
    """The server optimizer's state after each training round."""
    sent: dict[RoundId, Sent] = field(default_factory=dict)
    """What the coded form of each training round's model has left."""
    fleets: dict[RoundId, int] = field(default_factory=dict)
    """The number of devices of the fleet with which each training round closed."""
    sources: dict[int, RoundId] = field(default_factory=dict)
    """The round of which each generation took the model, if it began with an earlier one."""
    measured: set[RoundId] = field(default_factory=set)
    """Rounds that only measured the model of the round before."""
    best: dict[int, tuple[RoundId, float]] = field(default_factory=dict)
    """The round and loss of the model with the lowest reported held-out loss, by generation."""
    last: Manifest | None = None
    """The manifest that was announced last."""
    promised: dict[RoundId, dict[str, bytes]] = field(default_factory=dict)
    answers: dict[tuple[str, bytes], str] = field(default_factory=dict)
    """The saved verdicts, by device and digest."""
    set_aside: set[bytes] = field(default_factory=set)
    """Updates that were admitted and then set aside, because they made the mean unusable."""
    usual: dict[tuple[int, str], float] = field(default_factory=dict)
    """The longest median length of a round's vectors from their base, by generation and name."""
    moved: dict[tuple[int, str], tuple[float, ...]] = field(default_factory=dict)
    """What each round says, besides the medians, of how far vectors may be: by generation and name."""
    answered: set[tuple[str, bytes]] = field(default_factory=set)
    counted: dict[bytes, RoundId] = field(default_factory=dict)
    versions: dict[tuple[str, RoundId], RoundId] = field(default_factory=dict)
    """The round in which a device's update counts, by the device and the round that it was made for."""
    spooled: set[SpooledFrame] = field(default_factory=set)
    attempt: Attempt | None = None
    """The open attempt."""
    quorums: dict[tuple[RoundId, int], int] = field(default_factory=dict)
    """The quorum of each announced attempt, by round and attempt."""
    linked_s: float = 0.0
    """The total time that aggregators had been connected when the open attempt began."""
    lifts: int = 0
    """How often an operator had lifted a quarantine when the open attempt began."""
    tried: Attempt | None = None
    """The attempt that closed last, with or without a model."""
    over_s: float = 0.0
    """When the deadline of the last announcement passes since an aggregator began with this ledger."""
    awaited: dict[str, tuple[RoundId, ...]] = field(default_factory=dict)
    """The rounds that waited in vain for a device until their deadline, since its last admitted update."""
    absent_s: dict[str, float] = field(default_factory=dict)
    """The total time of rounds that closed without a device, for any reason, since then."""
    heard: dict[str, tuple[Presence, float]] = field(default_factory=dict)
    """The last status of each device since an aggregator began with this ledger, and when it began."""
    answer_s: float = -1.0
    """When an answer was last saved."""
    given_up: dict[RoundId, frozenset[str]] = field(default_factory=dict)
    """The devices for which a round need not have waited."""

    def copy(self) -> "Book":
        """Return a copy of its present contents."""
        book = Book(**{each.name: copy(getattr(self, each.name)) for each in fields(self)})
        book.promised = {round_id: dict(devices) for round_id, devices in self.promised.items()}
        return book

    @property
    def body(self) -> bytes:
        """The vector of the newest model; empty if there is none."""
        return self.bodies[max(self.bodies)] if self.bodies else b""

    @property
    def newest(self) -> RoundId:
        """The newest round that is announced or closed."""
        announced = round_of(self.last) if self.last is not None else RoundId(0, 0)
        return max(announced, max(self.closed, default=announced))
