"""The ring in which masked values are added, and how updates are written as its elements.

The ring is that of the whole numbers modulo 2^b. Value v of an update becomes

    q = ⌊v / s + u⌋, s = clip / L, L = 2^(value_bits - 1) - 1, u uniform in [0, 1)

with one step s for all devices and entries, so that Σ v ≈ s Σ q. |q| ≤ L, so n devices with weights up to W
sum to at most n W L < 2^(b - 1) if

    b = value_bits + ⌈log2 (n W)⌉,

which is rounded up to whole bytes: no sum leaves the ring. Values are little-endian on the wire.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_BITS = 64
_PART = 16_384
"""Entries that are rounded at a time, so that they stay in the cache: a third of the time."""
Values = NDArray[np.unsignedinteger]
"""Elements of a ring, of shape (p,); in a word of 1, 2, 4 or 8 bytes, of which the low `bits` count."""


@dataclass(frozen=True)
class Ring:
    """The whole numbers modulo 2^bits, for sums of as many values as there may be.

    Raises:
        ValueError: no word is wide enough.
    """

    value_bits: int
    """Bits of one value, with its sign: 2 to 16."""
    devices: int
    """The most values in a sum."""
    max_weight: int = 1
    """The largest factor of a value."""

    def __post_init__(self) -> None:
        if not 2 <= self.value_bits <= 16 or self.devices < 1 or self.max_weight < 1:
            raise ValueError(f"no ring for {self}")
        if self.bits > MAX_BITS:
            raise ValueError(f"{self}: a sum takes {self.bits} bits, and a word has {MAX_BITS}")

    @property
    def needed_bits(self) -> int:
        """b before it is rounded up."""
        return self.value_bits + (self.devices * self.max_weight - 1).bit_length()

    @property
    def width(self) -> int:
        """The bytes of a value on the wire."""
        return -(-self.needed_bits // 8)

    @property
    def bits(self) -> int:
        """b, in whole bytes."""
        return 8 * self.width

    @property
    def levels(self) -> int:
        """L, the largest value."""
        return (1 << (self.value_bits - 1)) - 1

    @property
    def word(self) -> np.dtype[np.unsignedinteger]:
        """The words in which values are added."""
        return np.dtype(f"<u{1 << (self.width - 1).bit_length()}")

    def rounded(self, vector: NDArray[np.floating], clip: float, seed: int) -> NDArray[np.int32]:
        """Write a vector (p,) as levels in -L…L, at random up or down, so that the mean is right.

        Entries beyond ±`clip` become ±`clip`.

        Args:
            vector: the update.
            clip: the largest value.
            seed: of this device and update alone. It hides nothing, but with one seed for all devices their
                rounding errors would add up and not cancel.

        Raises:
            ValueError: an entry is not finite.
        """
        if not np.isfinite(vector).all():
            raise ValueError("an update with an entry that is not finite: it has no level")
        rng, made = np.random.Generator(np.random.SFC64(seed)), np.empty(len(vector), np.int32)
        wide, draws = np.empty(_PART, np.float64), np.empty(_PART, np.float32)
        for at in range(0, len(vector), _PART):
            part = vector[at : at + _PART]
            levels, drawn = wide[: len(part)], draws[: len(part)]
            np.multiply(part, self.levels / clip, out=levels, dtype=np.float64)
            np.clip(levels, -self.levels, self.levels, out=levels)
            rng.random(dtype=np.float32, out=drawn)
            levels += drawn  # below 1, so that the largest level stays
            np.floor(levels, out=levels)
            made[at : at + _PART] = levels
        return made

    def elements(self, levels: NDArray[np.integer], weight: int = 1) -> Values:
        """Write levels (p,) times a weight as elements.

        Raises:
            ValueError: a level beyond ±L or a weight beyond 1…max_weight, with which a sum could overflow.
        """
        if levels.size and (int(levels.max()) > self.levels or int(levels.min()) < -self.levels):
            raise ValueError(f"a level beyond ±{self.levels}")
        if not 1 <= weight <= self.max_weight:
            raise ValueError(f"a weight of {weight}, beyond 1…{self.max_weight}")
        return (levels.astype(np.int64) * weight).astype(self.word)

    def added(self, values: Values, more: Values) -> Values:
        """The sum, of the same shape."""
        return values + more

    def without(self, values: Values, less: Values) -> Values:
        """The difference, of the same shape."""
        return values - less

    def signed(self, values: Values) -> NDArray[np.int64]:
        """A sum of levels, of shape (p,): the inverse of `elements`."""
        half, whole = 1 << (self.bits - 1), 1 << self.bits
        if self.bits == MAX_BITS:
            return values.astype(np.uint64).view(np.int64)
        found = values.astype(np.int64) & (whole - 1)
        return np.where(found >= half, found - whole, found)

    def packed(self, values: Values) -> bytes:
        """The bytes of values (p,), `width` each."""
        size = self.word.itemsize
        if size == self.width:
            return values.astype(self.word, copy=False).tobytes()
        return (
            values.astype(self.word, copy=False).view(np.uint8).reshape(-1, size)[:, : self.width].tobytes()
        )

    def unpacked(self, body: bytes, size: int) -> Values | None:
        """The inverse of `packed`; None: another number of bytes than `size` values take."""
        if len(body) != size * self.width:
            return None
        if self.word.itemsize == self.width:
            return np.frombuffer(body, self.word)
        wide = np.zeros((size, self.word.itemsize), np.uint8)
        wide[:, : self.width] = np.frombuffer(body, np.uint8).reshape(size, self.width)
        return wide.reshape(-1).view(self.word)
