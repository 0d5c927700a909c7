"""Stochastic rounding per block, which the codecs `int8` and `int4` have in common.

Alistarh, Grubic, Li, Tomioka, Vojnovic 2017, "QSGD: Communication-Efficient SGD via Gradient Quantization and
Encoding", NeurIPS, https://arxiv.org/abs/1610.02132, section 3.1 with the buckets and the scaling by the
largest entry of section 4. A block of B entries has the step s, so that its largest entry is L steps long:

    s = max |v| / L, in float32, rounded up
    q = ⌊v / s + u⌋, u uniform in (0, 1)
    v' = s q

So E q = v / s, an entry is less than s from where it was, and 0 and ±max stay. u has 16 bits, so the mean is
within 2⁻¹⁷ s of v. The last block may be shorter.

The bytes are the steps as float32, one a block, and then the levels q. All is little-endian. The option
`entropy` compresses them (`fedge.algorithms.codecs.entropy`).
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.codecs.entropy import (
    Entropy,
    EntropyOptions,
    counted_bits,
    overhead,
    restored,
    shortened,
)
from fedge.algorithms.codecs.float32 import native
from fedge.errors import ProtocolError
from fedge.wire.reasons import Reason

STEP_BYTES = 4
LARGEST = np.finfo(np.float32).max


class Quantized(ABC):
    """A codec that writes whole multiples of a step for each block of entries."""

    encodes: ClassVar[Literal["weights", "change"]] = "change"
    exact: ClassVar[bool] = False
    unbiased: ClassVar[bool] = True
    name: ClassVar[str]
    """For error messages."""
    levels: ClassVar[int]
    """L, the largest level; they are the whole numbers in -L…L."""
    block: ClassVar[int]
    """B, the entries that share a step."""

    def __init__(self, options: EntropyOptions | None = None) -> None:
        self._entropy: Entropy = "none" if options is None else options.entropy

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        """No state."""
        return {}

    def encode(self, vector: NDArray[Any], state: object, seed: int) -> tuple[bytes, dict[str, NDArray[Any]]]:
        """Round each entry to a multiple of its block's step; as `Codec.encode`."""
        given = native(vector)
        size, blocks = len(given), self._blocks(len(given))
        padded = np.zeros((blocks, self.block), np.float32)
        padded.reshape(-1)[:size] = given
        steps = self._steps(np.maximum(padded.max(axis=1), -padded.min(axis=1)))
        padded /= np.where(steps > 0, steps, np.float32(1))[:, np.newaxis]
        padded += _uniform(seed, padded.size).reshape(padded.shape)
        np.floor(padded, out=padded)
        np.clip(padded, -self.levels, self.levels, out=padded)
        levels = padded.astype(np.int8).reshape(-1)[:size]
        return shortened(steps.astype("<f4").tobytes() + self.packed(levels), self._entropy), {}

    def decode(self, body: bytes, size: int, seed: int) -> NDArray[np.float32]:
        """Read the multiples; as `Codec.decode`.

        Raises:
            ProtocolError: another length, a step that is negative or not finite, or a level that there is
                not.
        """
        blocks, length = self._blocks(size), self._length(size)
        body = restored(body, self._entropy, length)
        if len(body) != length:
            raise ProtocolError(
                f"{self.name}: {len(body)} bytes where {size} entries take {length}", Reason.WRONG_LENGTH
            )
        steps = np.frombuffer(body, "<f4", blocks).astype(np.float32, copy=False)
        if not (np.isfinite(steps) & (steps >= 0)).all():
            raise ProtocolError(f"{self.name}: a step that is negative or not finite")
        levels = self.unpacked(body[STEP_BYTES * blocks :], size)
        padded = np.zeros((blocks, self.block), np.float32)
        padded.reshape(-1)[:size] = levels
        with np.errstate(over="ignore"):  # admission refuses infinities
            padded *= steps[:, np.newaxis]
        vector = padded.reshape(-1)[:size]
        vector.flags.writeable = False
        return vector

    def max_bytes(self, size: int) -> int:
        """Those of the steps and of the levels, which each body has, before the entropy stage."""
        return self._length(size) + overhead(self._entropy)

    def bits(self, size: int) -> float:
        """Of steps and levels, for each entry; after the entropy stage as one example has it."""
        return 8 * self._length(size) / size if self._entropy == "none" else counted_bits(self, size)

    @abstractmethod
    def packed(self, levels: NDArray[np.int8]) -> bytes:
        """Write levels of shape (size,) in `level_bytes(size)` bytes."""

    @abstractmethod
    def unpacked(self, body: bytes, size: int) -> NDArray[np.int8]:
        """The inverse of `packed`, of shape (size,).

        Raises:
            ProtocolError: `packed` has not made these bytes.
        """

    @abstractmethod
    def level_bytes(self, size: int) -> int:
        """The bytes of the levels of `size` entries."""

    def _length(self, size: int) -> int:
        """The bytes before the entropy stage."""
        return STEP_BYTES * self._blocks(size) + self.level_bytes(size)

    def _blocks(self, size: int) -> int:
        return -(-size // self.block)

    def _steps(self, largest: NDArray[np.float32]) -> NDArray[np.float32]:
        """The step of each block, of shape (blocks,): L steps are as long as its largest entry, or longer.

        Longer than the largest float32 they are not: what is decoded is finite.
        """
        levels = np.float32(self.levels)
        steps = largest / levels
        with np.errstate(over="ignore"):
            short = steps * levels < largest
            steps = np.where(short, np.nextafter(steps, LARGEST), steps)
            return np.where(steps * levels <= LARGEST, steps, np.nextafter(steps, np.float32(0)))


def _uniform(seed: int, size: int) -> NDArray[np.float32]:
    """Draws of shape (size,) from the middles of 2¹⁶ equal parts of (0, 1): float32 has them exactly."""
    words = np.random.SFC64(seed).random_raw(-(-size // 4)).astype("<u8", copy=False)
    drawn = words.view("<u2")[:size].astype(np.float32)
    drawn += np.float32(0.5)
    drawn *= np.float32(2.0**-16)
    return drawn
