"""Assemble messages from frames in memory, within limits. Pure."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field

from fedge.wire.frames import Partial, cost, is_cut_anew, join, offer
from fedge.wire.messages.frame import Frame
from fedge.wire.reasons import Reason, Rejection


@dataclass(frozen=True)
class Limits:
    """The most bytes that an `Assembler` may hold for incomplete messages."""

    per_key: int
    total: int


@dataclass
class _Held:
    books: Partial
    pieces: dict[int, bytes] = field(default_factory=dict)

    @property
    def cost(self) -> int:
        return cost(self.books.size, self.books.n)


class Assembler:
    """Assembles messages in memory, from mixed frames of several senders or topics (`key`).

    The first frame reserves room for the whole message. So every message that was begun can be completed,
    and one that does not fit is refused at its first frame.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held: dict[Hashable, dict[bytes, _Held]] = {}
        self._room_taken: Counter[Hashable] = Counter()

    @property
    def held(self) -> int:
        """Bytes reserved, for all keys."""
        return self._room_taken.total()

    def offer(self, key: Hashable, frame: Frame) -> bytes | Rejection | None:
        """Take a frame; return the whole message if it was the last missing one and the digest is right.

        None means that frames are still missing. A frame of another cut of the same message begins it anew.
        With a wrong digest the whole message is dropped and refused: one of its frames was forged, and nobody
        can tell which.
        """
        held = self._held.get(key, {}).get(frame.id)
        if held is not None and is_cut_anew(held.books, frame):
            self._forget(key, frame.id)
            held = None
        books = offer(held.books if held is not None else None, frame)
        if isinstance(books, Rejection):
            return books
        if held is None:
            held = _Held(books)
            if (refused := self._no_room(key, held.cost)) is not None:
                return refused
            self._held.setdefault(key, {})[frame.id] = held
            self._room_taken[key] += held.cost
        held.books = books
        held.pieces.setdefault(frame.i, frame.data)
        if not books.complete:
            return None
        self._forget(key, frame.id)
        return join(books.id, (held.pieces[i] for i in range(books.n)))

    def count(self, key: Hashable, id: bytes) -> int:  # noqa: A002
        """The number of frames held of an incomplete message."""
        held = self._held.get(key, {}).get(id)
        return len(held.pieces) if held is not None else 0

    def missing(self, key: Hashable, id: bytes) -> tuple[int, ...] | None:  # noqa: A002
        """The frames still to come of a message; None if nothing of it is held."""
        held = self._held.get(key, {}).get(id)
        return held.books.missing if held is not None else None

    def frames(self, key: Hashable, id: bytes) -> int | None:  # noqa: A002
        """In how many frames a message comes of which some are held; None if nothing of it is held."""
        held = self._held.get(key, {}).get(id)
        return held.books.n if held is not None else None

    def drop(self, key: Hashable) -> None:
        """Drop everything held for `key`, because its round has closed or something newer is wanted."""
        self._held.pop(key, None)
        del self._room_taken[key]

    def _forget(self, key: Hashable, id: bytes) -> None:  # noqa: A002
        self._room_taken[key] -= self._held[key].pop(id).cost
        if not self._held[key]:
            self.drop(key)

    def _no_room(self, key: Hashable, needed: int) -> Rejection | None:
        for whose, room in (("one sender", self._limits.per_key), ("all senders", self._limits.total)):
            if needed > room:
                return Rejection(
                    Reason.OVERSIZE, f"a message that takes {needed} bytes; {whose} may hold {room}"
                )
        if self._room_taken[key] + needed > self._limits.per_key or self.held + needed > self._limits.total:
            return Rejection(
                Reason.TOO_MANY_PARTIAL,
                f"no room for {needed} bytes while {self.held} are held for messages that are not complete",
            )
        return None
