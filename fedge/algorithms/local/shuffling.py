"""The random generator of a device's round: the same whenever and wherever the round is repeated."""

import hashlib

import numpy as np


def generator(seed: int, generation: int, round: int, device: str) -> "np.random.Generator":  # noqa: A002
    """Return the generator of a device's round: it depends only on the arguments, on every platform.

    Args:
        seed: the federation's seed.
        generation: the round's generation.
        round: the round's number.
        device: the device's id, so that no two devices shuffle alike.
    """
    digest = hashlib.sha256(f"{generation}|{round}|{seed}|{device}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
