"""The seed of one encoded vector: device and aggregator derive the same one, so no message carries it.

A codec draws from it what both sides have to know, such as a random rotation, and what only the device needs,
such as the rounding.

Seeds are public: all that they are derived from is announced to everybody, or stands in the update. So
they must never be the source of noise or masks that are to hide something.
"""

import hashlib

SEED_BITS = 128
"""A seed is a whole number in 0…2¹²⁸ - 1."""
ANNOUNCED = 0
"""The seed of the vectors of an announced model, which are encoded once for all devices."""


def vector_seed(seed: int, generation: int, round: int, device: str, name: str) -> int:  # noqa: A002
    """Return the seed of one vector of an update; it depends only on the arguments, on every platform.

    Args:
        seed: the federation's seed.
        generation: the generation of the round that the update is made for.
        round: that round's number.
        device: the device's id.
        name: the vector's name, `weights` or another.

    >>> vector_seed(7, 1, 3, "pi-1", "weights") == vector_seed(7, 1, 3, "pi-1", "control")
    False
    """
    # A vector's name has no "|", and the device comes last: no two lists of arguments give the same text.
    text = f"codec|{seed}|{generation}|{round}|{name}|{device}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[: SEED_BITS // 8], "big")
