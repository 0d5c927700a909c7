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

from fedge.algorithms.codecs.entropy import (
    Entropy,
    EntropyOptions,
    counted_bits,
    overhead,
    restored,
    shortened,
)
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

    def __init__(self, options: EntropyOptions | None = None) -> None:
        self._entropy: Entropy = "none" if options is None else options.entropy

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        """No state."""
        return {}

    def encode(self, vector: NDArray[Any], state: object, seed: int) -> tuple[bytes, dict[str, NDArray[Any]]]:
        """Round to the nearest, of two equally near to the even one; as `Codec.encode`."""
        body = np.clip(native(vector), -LARGEST, LARGEST).astype("<f2").tobytes()
        return shortened(body, self._entropy), {}

    def decode(self, body: bytes, size: int, seed: int) -> NDArray[np.float32]:
        """As `Codec.decode`.

        Raises:
            ProtocolError: not 2 · size bytes (reason WRONG_LENGTH), or the entropy stage is damaged.
        """
        body = restored(body, self._entropy, 2 * size)
        if len(body) != 2 * size:
            raise ProtocolError(
                f"float16: {len(body)} bytes where {size} entries take {2 * size}", Reason.WRONG_LENGTH
            )
        vector = np.frombuffer(body, "<f2").astype(np.float32)
        vector.flags.writeable = False
        return vector

    def max_bytes(self, size: int) -> int:
        """Two for each entry, and the entropy stage's."""
        return 2 * size + overhead(self._entropy)

    def bits(self, size: int) -> float:
        """16 for each entry; after the entropy stage as one example has it."""
        return 16.0 if self._entropy == "none" else counted_bits(self, size)


ENTRY = Entry("codec", "float16", Float16, EntropyOptions)
