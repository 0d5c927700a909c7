"""Random bytes that nobody can predict: from the operating system, or expanded from a secret seed.

Noise hides a device only from those who cannot compute it. So it never comes from a seed that is announced
(`fedge.algorithms.codecs.seeds`), nor from a generator made for statistics, whose state its outputs tell.
"""

import hashlib
import os
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

SEED_BYTES = 32
"""A secret seed has 256 bits."""
BLOCK = 1 << 16
"""The bytes that one call of SHAKE-256 makes."""

Words = NDArray[np.uint64]


class Source(Protocol):
    """Independent, uniformly distributed words of 64 bits."""

    def words(self, count: int) -> Words:
        """The next `count` words, of shape (count,)."""

    def spare(self) -> int:
        """One more word in 0…2⁶⁴ - 1, from a stream of its own, so that `words` does not depend on it."""


class System:
    """The operating system's generator: nobody can compute the words again."""

    def words(self, count: int) -> Words:
        """The next `count` words, of shape (count,)."""
        return np.frombuffer(os.urandom(8 * count), dtype="<u8").astype(np.uint64, copy=False)

    def spare(self) -> int:
        """One more word."""
        return int.from_bytes(os.urandom(8), "little")


class Expanded:
    """Words expanded from a secret seed by SHAKE-256 (FIPS 202): the same seed gives the same words.

    A block is the digest of the seed, the purpose and the block's number. Whoever has the seed can take the
    noise away; whoever uses a seed and purpose twice, for different data, tells the difference of the data.

    >>> Expanded(bytes(32), "round 1").words(1) == Expanded(bytes(32), "round 2").words(1)
    array([False])
    """

    def __init__(self, seed: bytes, purpose: str) -> None:
        """Begin the stream of one purpose.

        Raises:
            ValueError: the seed has not 32 bytes.
        """
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a secret seed of {len(seed)} bytes, expected {SEED_BYTES}")
        named = purpose.encode()
        self._prefix = b"fedge privacy 1|" + seed + len(named).to_bytes(8, "little") + named
        self._block, self._spares = 0, 0
        self._rest = b""

    def words(self, count: int) -> Words:
        """The next `count` words, of shape (count,); how the calls are divided does not matter."""
        missing = 8 * count - len(self._rest)
        blocks = [self._rest]
        for _ in range(-(-missing // BLOCK)):
            blocks.append(self._digest(b"w", self._block, BLOCK))
            self._block += 1
        found = b"".join(blocks)
        self._rest = found[8 * count :]
        return np.frombuffer(found[: 8 * count], dtype="<u8").astype(np.uint64, copy=False)

    def spare(self) -> int:
        """One more word."""
        self._spares += 1
        return int.from_bytes(self._digest(b"s", self._spares, 8), "little")

    def _digest(self, stream: bytes, number: int, size: int) -> bytes:
        return hashlib.shake_256(self._prefix + stream + number.to_bytes(8, "little")).digest(size)
