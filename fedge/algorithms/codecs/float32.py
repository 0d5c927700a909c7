"""No compression: each weight as four little-endian bytes, IEEE 754 binary32."""

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.registry import Entry
from fedge.errors import ProtocolError
from fedge.wire.reasons import Reason


class Float32:
    """Lossless: four bytes a weight."""

    encodes: ClassVar[Literal["weights", "change"]] = "weights"
    exact: ClassVar[bool] = True
    unbiased: ClassVar[bool] = True

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        """No state."""
        return {}

    def encode(
        self, vector: NDArray[Any], state: object = None, seed: object = None
    ) -> tuple[bytes, dict[str, NDArray[Any]]]:
        """As `encode` below, without state or seed."""
        return encode(vector), {}

    def decode(self, body: bytes, size: int, seed: object = None) -> NDArray[np.float32]:
        """As `decode` below."""
        return decode(body, size)

    def max_bytes(self, size: int) -> int:
        """Four for each weight."""
        return 4 * size

    def bits(self, size: int) -> float:
        """32 for each weight."""
        return 32.0


def encode(vector: NDArray[Any]) -> bytes:
    """Write a float32 vector of shape (p,) of any byte order as 4 p little-endian bytes.

    Raises:
        ValueError: not a vector of float32; a silent cast would hide where precision was lost.
    """
    return native(vector).astype("<f4", copy=False).tobytes()


def native(vector: NDArray[Any]) -> NDArray[np.float32]:
    """The same float32 vector of shape (p,) in the machine's byte order; a view if it has that already.

    Raises:
        ValueError: not a vector of float32.
    """
    if vector.ndim != 1 or vector.dtype.newbyteorder("=") != np.float32:
        raise ValueError(f"expected a float32 vector (p,), got {vector.dtype} of shape {vector.shape}")
    return vector.astype(np.float32, copy=False)


def decode(body: bytes, size: int) -> NDArray[np.float32]:
    """Read `size` weights: a read-only view of `body`, of shape (size,), where the machine is little-endian.

    Values are not checked here: admission refuses NaN and infinities.

    Raises:
        ProtocolError: `body` is not 4 · size bytes long (reason WRONG_LENGTH).
    """
    if len(body) != 4 * size:
        raise ProtocolError(
            f"float32: {len(body)} bytes where {size} weights take {4 * size}", Reason.WRONG_LENGTH
        )
    vector = np.frombuffer(body, dtype="<f4").astype(np.float32, copy=False)
    vector.flags.writeable = False
    return vector


ENTRY = Entry("codec", "float32", Float32)
