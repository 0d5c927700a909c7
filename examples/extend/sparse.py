"""Top-k: the device sends only the k largest entries of the change, and keeps the others for later rounds.

Aji, Heafield, "Sparse Communication for Distributed Gradient Descent", EMNLP 2017; Stich, Cordonnier, Jaggi,
"Sparsified SGD with Memory", NeurIPS 2018, Algorithm 1: x = residual + change, keep x - top_k(x).
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.registry import Entry, Need, Options
from fedge.errors import ProtocolError

PAIR = np.dtype([("index", "<u4"), ("value", "<f4")])


class SparseOptions(Options):
    """The settings of the codec."""

    share: float = Field(default=0.1, gt=0, le=1)
    """The share of the entries that is sent; at least one is."""


class Sparse:
    """Sends pairs of index and value, in the order of the indices."""

    encodes: Literal["weights", "change"] = "change"
    exact = unbiased = False

    def __init__(self, options: SparseOptions) -> None:
        self._share = options.share

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        return {"residual": np.zeros(size, np.float32)}

    def encode(self, vector: NDArray[Any], state: Any, seed: int) -> tuple[bytes, dict[str, Any]]:
        if vector.ndim != 1 or vector.dtype != np.float32:
            raise ValueError(f"expected a float32 vector, got {vector.dtype}, {vector.shape}")
        waiting, k = vector + state["residual"], self.max_bytes(vector.size) // PAIR.itemsize
        sent = np.sort(np.argsort(np.abs(waiting), kind="stable")[vector.size - k :])
        pairs = np.rec.fromarrays((sent, waiting[sent]), dtype=PAIR)
        waiting[sent] = 0.0
        return pairs.tobytes(), {"residual": waiting}

    def decode(self, body: bytes, size: int, seed: int) -> NDArray[np.float32]:
        pairs = np.frombuffer(body, PAIR, len(body) // PAIR.itemsize)
        index = pairs["index"].astype(np.int64)
        if len(body) != self.max_bytes(size) or (index >= size).any() or (np.diff(index) <= 0).any():
            raise ProtocolError(f"sparse: {len(body)} bytes that are no pairs for {size} entries")
        vector = np.zeros(size, np.float32)
        vector[index] = pairs["value"]
        vector.setflags(write=False)
        return vector

    def max_bytes(self, size: int) -> int:
        return PAIR.itemsize * min(size, max(1, round(self._share * size)))

    def bits(self, size: int) -> float:
        return 8 * self.max_bytes(size) / size


ENTRY = Entry(
    "codec", "sparse", Sparse, SparseOptions, (Need("rule", ("mean",), why="a residual needs a sum"),)
)
