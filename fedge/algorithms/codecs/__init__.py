"""Update compression: vector ↔ bytes, one file a method; the name is what a plan and an update carry."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.codecs import float32


class Codec(Protocol):
    """How a flat vector of p weights becomes bytes and comes back."""

    def encode(self, vector: NDArray[Any], /) -> bytes:
        """Write a float32 vector of shape (p,)."""

    def decode(self, body: bytes, size: int, /) -> NDArray[np.float32]:
        """Read a vector of shape (size,), not to be written to.

        Raises:
            ProtocolError: the bytes are not what `encode` makes of `size` weights.
        """


CODECS: Mapping[str, Codec] = MappingProxyType({"float32": float32})
"""Every codec by its name on the wire."""
