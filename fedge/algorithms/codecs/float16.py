"""Two bytes an entry of the change: IEEE 754 binary16, to the nearest.

Micikevicius, Narang, Alben, Diamos, Elsen, Garcia, Ginsburg, Houston, Kuchaiev, Venkatesh, Wu 2018, "Mixed
Precision Training", ICLR, https://arxiv.org/abs/1710.03740, section 3, whose gradients are in this format. An
entry between 2⁻¹⁴ and 65,504 is within 2⁻¹¹ of itself, and a smaller one within 2⁻²⁵: below that it is 0. One
that is further from zero than 65,504 is sent as ±65,504. So the device answers, and `[rounds] max_norm` and
`[rounds] clip_norm` judge its update.
"""

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.codecs.float32 import native
from fedge.algorithms.registry import Entry
from fedge.errors import ProtocolError
from fedge.wire.reasons import Reason

LARGEST = np.float32(65_504)


class Float16:
    """Two little-endian bytes an entry."""

    encodes: ClassVar[Literal["weights", "change"]] = "change"
    exact: ClassVar[bool] = False
    unbiased: ClassVar[bool] = False

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        """No state."""
        return {}

    def encode(self, vector: NDArray[Any], state: object, seed: int) -> tuple[bytes, dict[str, NDArray[Any]]]:
        """Round to the nearest, of two equally near to the even one; as `Codec.encode`."""
        return np.clip(native(vector), -LARGEST, LARGEST).astype("<f2").tobytes(), {}

    def decode(self, body: bytes, size: int, seed: int) -> NDArray[np.float32]:
        """As `Codec.decode`.

        Raises:
            ProtocolError: `body` is not 2 · size bytes long (reason WRONG_LENGTH).
        """
        if len(body) != 2 * size:
            raise ProtocolError(
                f"float16: {len(body)} bytes where {size} entries take {2 * size}", Reason.WRONG_LENGTH
            )
        vector = np.frombuffer(body, "<f2").astype(np.float32)
        vector.flags.writeable = False
        return vector

    def max_bytes(self, size: int) -> int:
        """Two for each entry."""
        return 2 * size

    def bits(self, size: int) -> float:
        """16 for each entry."""
        return 16.0


ENTRY = Entry("codec", "float16", Float16)
