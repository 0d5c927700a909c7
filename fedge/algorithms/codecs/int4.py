"""Four bits an entry of the change: one of 15 levels, rounded at random so that the mean is right.

Alistarh, Grubic, Li, Tomioka, Vojnovic 2017, "QSGD: Communication-Efficient SGD via Gradient Quantization and
Encoding", NeurIPS, https://arxiv.org/abs/1610.02132, section 3.1, with 7 levels a sign and blocks of 256
entries (`fedge.algorithms.codecs.quantized`). A byte has the levels of two entries, each plus 8: the first in
its lower half, the second in its upper half. If the number of entries is odd, the last upper half is 8.
"""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.codecs.entropy import EntropyOptions
from fedge.algorithms.codecs.quantized import Quantized
from fedge.algorithms.registry import Entry
from fedge.errors import ProtocolError

ZERO = 8
"""What level 0 is written as."""


class Int4(Quantized):
    """Half a byte an entry, and four bytes a block."""

    name: ClassVar[str] = "int4"
    levels: ClassVar[int] = 7
    block: ClassVar[int] = 256

    def packed(self, levels: NDArray[np.int8]) -> bytes:
        """Two levels a byte."""
        halves = np.full(2 * self.level_bytes(len(levels)), ZERO, np.uint8)
        np.add(levels, ZERO, out=halves[: len(levels)], casting="unsafe")
        return (halves[0::2] | halves[1::2] << 4).tobytes()

    def unpacked(self, body: bytes, size: int) -> NDArray[np.int8]:
        """As `Quantized.unpacked`; there is no level -8, and the half that is left over is level 0."""
        pairs = np.frombuffer(body, np.uint8, self.level_bytes(size))
        halves = np.empty(2 * len(pairs), np.int8)
        halves[0::2] = pairs & 15
        halves[1::2] = pairs >> 4
        halves -= ZERO
        if len(halves) and (halves.min() < -self.levels or halves[size:].any()):
            raise ProtocolError("int4: a level of -8, or one behind the last entry")
        return halves[:size]

    def level_bytes(self, size: int) -> int:
        """One for two, rounded up."""
        return (size + 1) // 2


ENTRY = Entry("codec", "int4", Int4, EntropyOptions)
