"""Which devices are chosen for a round: the same result on both sides, without a list of the fleet.

A device is chosen if the hash of its name and the round is below the cohort's fraction. The aggregator knows
the cohort without asking. A device that wakes late computes it from the manifest alone. The choice is as good
as random: independent from round to round, and no device can influence it.
"""

import hashlib
import math

from fedge.wire.messages.manifest import Cohort


def chosen(cohort: Cohort, generation: int, round: int, attempt: int, device: str) -> bool:  # noqa: A002
    """Whether `device` takes part: its hash is below floor(fraction · 2⁶⁴).

    The hash is the first 8 bytes, big-endian, of SHA-256(`generation|round|attempt|seed|device`).
    """
    text = f"{generation}|{round}|{attempt}|{cohort.seed}|{device}"
    drawn = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    # Scaling by a power of two is exact, so int() is the floor; at fraction 1 it is above every hash.
    return drawn < int(math.ldexp(cohort.fraction, 64))
