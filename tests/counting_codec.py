"""A codec that counts: each body says how many of this device's updates were admitted before it was made.

It is what a codec with a residual is, with a state that tests can read: `extensions =
["tests.counting_codec:ENTRY"]`.
"""

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.codecs import float32
from fedge.algorithms.protocols import State
from fedge.algorithms.registry import Entry

HEAD = 8
"""Bytes of the number in front of the vector."""


class Counting:
    """float32, behind the number of updates that its state came of."""

    encodes: ClassVar[Literal["weights", "change"]] = "weights"
    exact: ClassVar[bool] = True
    unbiased: ClassVar[bool] = True

    def init(self, size: int) -> State:
        """None was admitted; the second array is as large as a residual would be."""
        return {"count": np.array(0, np.int64), "last": np.zeros(size, np.float32)}

    def encode(self, vector: NDArray[Any], state: State, seed: int) -> tuple[bytes, State]:
        """The number, then the vector; the next state has counted one more."""
        count = int(state["count"])
        body = count.to_bytes(HEAD, "little") + float32.encode(vector)
        return body, {"count": np.array(count + 1, np.int64), "last": vector}

    def decode(self, body: bytes, size: int, seed: int) -> NDArray[np.float32]:
        """The vector."""
        return float32.decode(body[HEAD:], size)

    def max_bytes(self, size: int) -> int:
        """With the number."""
        return HEAD + 4 * size

    def bits(self, size: int) -> float:
        """With the number."""
        return 8 * self.max_bytes(size) / size


def count_of(body: bytes) -> int:
    """What a body says."""
    return int.from_bytes(body[:HEAD], "little")


ENTRY = Entry("codec", "counting", Counting)
