"""Which devices are chosen for a round: the same result on both sides, without a list of the fleet.

A device is chosen if the hash of its name and the round is below the cohort's fraction. The aggregator knows
the cohort without asking. A device that wakes late computes it from the manifest alone. The choice is as good
as random: independent from round to round, and no device can influence it.
"""

import hashlib
import math
from collections.abc import Iterable

from fedge.wire.messages.manifest import Cohort


def chosen(cohort: Cohort, generation: int, round: int, attempt: int, device: str) -> bool:  # noqa: A002
    """Whether `device` takes part: its hash is below floor(fraction · 2⁶⁴).

    The hash is the first 8 bytes, big-endian, of SHA-256(`generation|round|attempt|seed|device`).
    """
    return bool(chosen_of(cohort, generation, round, attempt, (device,)))


def chosen_of(
    cohort: Cohort,
    generation: int,
    round: int,  # noqa: A002
    attempt: int,
    devices: Iterable[str],
) -> list[str]:
    """Those of `devices` that take part, in their order: a whole fleet costs a hash for each."""
    # Scaling by a power of two is exact, so int() is the floor; at fraction 1 it is above every hash.
    limit = int(math.ldexp(cohort.fraction, 64))
    if limit >= 2**64:
        return list(devices)
    # Bytes are compared from the first on: a digest is below the 8 bytes of the limit if its first 8 are.
    sha256, below = hashlib.sha256, limit.to_bytes(8, "big")
    start = f"{generation}|{round}|{attempt}|{cohort.seed}|"
    return [device for device in devices if sha256(f"{start}{device}".encode()).digest() < below]
