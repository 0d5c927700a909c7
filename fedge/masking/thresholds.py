"""How many devices have to agree, and how many of them share with each other.

For a server that may lie and c devices that help it, the masks hold if and only if 2t > n + c: two survivor
sets would need t signatures each, honest devices sign one, so 2 (t - c) ≤ n - c (Bonawitz et al. 2017,
theorem 6.5).

Above 64 devices each shares with the w devices before it and the w after it, in a random order of all.
Devices go on only with survivors of which every w in a row have at least a. Fewer than a devices that help
the server in every w in a row, then, neither know a secret (2a shares give it) nor cut the others into two
groups with sums of their own (Bell et al. 2020, sections 3 and 4). Of n devices, c of which help it and d of
which are lost, that fails with a probability of at most

    n P[Hypergeometric(n, c, w) ≥ a]  and  n P[Hypergeometric(n, d, w) > w - a],

by the union over all places. The tails are computed with whole numbers, without rounding.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import comb

COMPLETE = 64
"""Up to so many devices, each shares with all others."""
SECURITY_BITS, CORRECTNESS_BITS = 40, 20
GRINDING_BITS = 40
"""A server that lies may try so many orders (in bits), by which advertisements it passes on, before it
chooses one. Each try takes `fedge.masking.graph.STRETCH` hashes."""


@dataclass(frozen=True)
class Neighbourhood:
    """With how many others a device shares."""

    half: int
    """w: the devices before it and after it."""
    alive: int
    """a: the least survivors of w in a row."""

    @property
    def threshold(self) -> int:
        """The shares that give a secret."""
        return 2 * self.alive

    @property
    def degree(self) -> int:
        """k, the others that a device shares with."""
        return 2 * self.half


def default_threshold(devices: int) -> int:
    """t for fewer than a third of colluders."""
    return 2 * devices // 3 + 1


def least_threshold(devices: int, *, lying: bool) -> int:
    """The smallest t that a device accepts: against a server that may lie, or one that is only curious."""
    return default_threshold(devices) if lying else devices // 2 + 1


def colluders_borne(devices: int, threshold: int) -> int:
    """The most colluders c with 2t > n + c, and fewer than t, with a server that lies."""
    return max(0, 2 * threshold - devices - 1)


@lru_cache(maxsize=64)
def neighbourhood(
    devices: int, colluders: int, dropouts: int, *, grinding_bits: int = GRINDING_BITS
) -> Neighbourhood | None:
    """The smallest neighbourhood for 2⁻⁴⁰ and 2⁻²⁰; None: each device shares with all others.

    Args:
        devices: how many there are.
        colluders: how many of them may help the server.
        dropouts: how many may be lost.
        grinding_bits: how many orders a server may try, in bits; 0 for one that is only curious.
    """
    if devices <= COMPLETE:
        return None
    for half in range(1, (devices - 1) // 2):
        alive = _least(devices, colluders, half, SECURITY_BITS + grinding_bits)
        if alive <= half and at_most(devices, dropouts, half, half - alive + 1, CORRECTNESS_BITS):
            return Neighbourhood(half, alive)
    return None


def at_most(devices: int, special: int, drawn: int, least: int, bits: int) -> bool:
    """Whether n P[Hypergeometric(n, special, drawn) ≥ least] ≤ 2^-bits, exactly."""
    ways = sum(_ways(devices, special, drawn, found) for found in range(least, drawn + 1))
    return devices * ways << bits <= comb(devices, drawn)


def _least(devices: int, special: int, drawn: int, bits: int) -> int:
    """The smallest a ≥ 1 with `at_most(devices, special, drawn, a, bits)`."""
    whole, ways, least = comb(devices, drawn), 0, drawn + 1
    while least > 1:
        ways += _ways(devices, special, drawn, least - 1)
        if devices * ways << bits > whole:
            break
        least -= 1
    return least


def _ways(devices: int, special: int, drawn: int, found: int) -> int:
    return comb(special, found) * comb(devices - special, drawn - found)
