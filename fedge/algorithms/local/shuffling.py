"""The order in which a device shuffles its samples: the same whenever and wherever a round is repeated."""

import hashlib

import numpy as np


def generator(seed: int, generation: int, round: int, device: str) -> "np.random.Generator":  # noqa: A002
    """Return the generator of a device's round: a function of the arguments alone, on every platform.

    Args:
        seed: the federation's.
        generation: of the federation.
        round: whose training is shuffled.
        device: the device's id, so that no two devices shuffle alike.
    """
    digest = hashlib.sha256(f"{generation}|{round}|{seed}|{device}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
