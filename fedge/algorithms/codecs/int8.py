"""Eight bits an entry of the change: one of 255 levels, rounded at random so that the mean is right.

Alistarh, Grubic, Li, Tomioka, Vojnovic 2017, "QSGD: Communication-Efficient SGD via Gradient Quantization and
Encoding", NeurIPS, https://arxiv.org/abs/1610.02132, section 3.1, with 127 levels a sign and blocks of 512
entries (`fedge.algorithms.codecs.quantized`). A level is one byte, in two's complement.
"""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.codecs.entropy import EntropyOptions
from fedge.algorithms.codecs.quantized import Quantized
from fedge.algorithms.registry import Entry
from fedge.errors import ProtocolError


class Int8(Quantized):
    """A byte an entry, and four a block."""

    name: ClassVar[str] = "int8"
    levels: ClassVar[int] = 127
    block: ClassVar[int] = 512

    def packed(self, levels: NDArray[np.int8]) -> bytes:
        """As they are."""
        return levels.tobytes()

    def unpacked(self, body: bytes, size: int) -> NDArray[np.int8]:
        """As `Quantized.unpacked`; there is no level -128."""
        levels = np.frombuffer(body, np.int8, size)
        if size and levels.min() < -self.levels:
            raise ProtocolError("int8: a level of -128, where -127 is the lowest")
        return levels

    def level_bytes(self, size: int) -> int:
        """One each."""
        return size


ENTRY = Entry("codec", "int8", Int8, EntropyOptions)
