"""Who shares with whom: all with all, or each with its neighbours in a random order of the devices.

Bell et al. 2020, section 3: a Harary graph of a random permutation. All devices compute the same order from
the digest of all advertisements, so that nobody chooses it. See `fedge.masking.thresholds`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import pbkdf2_hmac
from typing import TypeVar

from fedge.masking.ciphers import stream
from fedge.masking.thresholds import Neighbourhood

T = TypeVar("T")
STRETCH = 16_384
"""Hashes for one order, so that many cannot be tried."""
_DRAW_BYTES = 16
"""Of one draw: modulo a few thousand it differs from uniform by less than 2⁻¹¹⁴."""


@dataclass(frozen=True)
class Graph:
    """The members, in their order, and how many of those around a member are its neighbours."""

    order: tuple[int, ...]
    places: dict[int, int]
    """Where in the order a member is."""
    threshold: int
    """The shares that give a secret."""
    neighbourhood: Neighbourhood | None
    """None: all share with all."""

    def neighbours(self, member: int) -> list[int]:
        """The others with which a member shares, in rising order."""
        if self.neighbourhood is None:
            return sorted(each for each in self.order if each != member)
        at, half, count = self.places[member], self.neighbourhood.half, len(self.order)
        return sorted(self.order[(at + step) % count] for step in range(-half, half + 1) if step)

    def holders(self, member: int) -> list[int]:
        """The members that have shares of a member's secrets: itself and its neighbours, in rising order."""
        return sorted([member, *self.neighbours(member)])

    def vouchers(self, member: int) -> list[int]:
        """The others whose signature of the sharers a member checks before it signs survivors.

        Where all share with all, there is nobody: t signatures of the survivors, which name the sharers too,
        are enough (docs/masking.md, Which signatures are checked).
        """
        return [] if self.neighbourhood is None else self.neighbours(member)

    def holds(self, alive: Collection[int]) -> bool:
        """Whether survivors are enough: each secret can be found, and no group of them is cut off."""
        if self.neighbourhood is None:
            return len(alive) >= self.threshold
        here = [each in alive for each in self.order]
        half = self.neighbourhood.half
        found = sum(here[:half])
        for at in range(len(here)):
            if found < self.neighbourhood.alive:
                return False
            found += here[(at + half) % len(here)] - here[at]
        return True


def complete(members: Sequence[int], threshold: int) -> Graph:
    """Each member shares with all others."""
    return Graph(tuple(members), {}, threshold, None)


def ring_of(members: Sequence[int], size: Neighbourhood, seed: bytes) -> Graph:
    """Each member shares with its neighbours in an order that follows from the seed."""
    order = shuffled(members, seed, b"fedge masking order")
    places = {member: at for at, member in enumerate(order)}
    return Graph(tuple(order), places, size.threshold, size)


def shuffled(members: Sequence[T], seed: bytes, purpose: bytes) -> list[T]:
    """The members in an order that follows from the seed; to find it takes `STRETCH` hashes."""
    key = pbkdf2_hmac("sha256", seed, purpose, STRETCH)
    draws = stream(key, _DRAW_BYTES * len(members))
    order = list(members)
    for last in range(len(order) - 1, 0, -1):  # Fisher and Yates
        drawn = int.from_bytes(draws[_DRAW_BYTES * last :][:_DRAW_BYTES], "big") % (last + 1)
        order[last], order[drawn] = order[drawn], order[last]
    return order
