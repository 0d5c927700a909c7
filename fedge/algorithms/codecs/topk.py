"""Top-k: the device sends only the k largest entries of the change, and keeps the others for later rounds.

Stich, Cordonnier, Jaggi 2018, "Sparsified SGD with Memory", NeurIPS, https://arxiv.org/abs/1809.07599,
Algorithm 1, for changes of whole rounds as in Lin, Han, Mao, Wang, Dally 2018 (DGC, ICLR,
https://arxiv.org/abs/1712.01887). With the residual m, the change x and k = share · p, at least 1:

    x ← m + x
    y = the k largest entries of x by |x|, each as the codec `values` rounds it; 0 elsewhere
    m ← x - y

y is what the aggregator reads. So what one round leaves out or rounds off comes in later ones, and the sum of
all y is the sum of all changes, but for the residual. Of entries of one length the first ones are sent.

The bytes are those of the k values, and then the gaps between their places. A gap d ≥ 1 is written in the
code of Rice 1979 (JPL Publication 79-22): the lower r bits of d - 1, and the rest in unary, a 0 for each and
then a 1. First come the lower bits of all gaps, then the unary parts, each filled up with zeros to whole
bytes. r is the number of binary digits of ⌊(p - 1) / k⌋, less one. With a share of 1 % a place takes 8.1
bits, where the entropy is 8.08.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.codecs.entropy import EntropyOptions, counted_bits, overhead, restored, shortened
from fedge.algorithms.codecs.float16 import Float16
from fedge.algorithms.codecs.float32 import Float32, native
from fedge.algorithms.codecs.int4 import Int4
from fedge.algorithms.codecs.int8 import Int8
from fedge.algorithms.protocols import Codec
from fedge.algorithms.registry import Entry, Need
from fedge.errors import ProtocolError

VALUES: Mapping[str, Callable[[], Any]] = {"float32": Float32, "float16": Float16, "int8": Int8, "int4": Int4}
"""What the values may be written with: codecs without a state, whose bytes are of one length."""
LARGEST = np.finfo(np.float32).max


class TopKOptions(EntropyOptions):
    """The settings of the codec."""

    share: float = Field(default=0.01, gt=0, le=1)
    """The share of the entries that is sent; at least one is."""
    values: Literal["float32", "float16", "int8", "int4"] = "float32"
    """The codec of the entries that are sent; what it rounds off stays in the residual."""


class TopK:
    """Sends the k largest entries, and keeps the rest in the residual of shape (p,)."""

    encodes: ClassVar[Literal["weights", "change"]] = "change"
    exact: ClassVar[bool] = False
    unbiased: ClassVar[bool] = False

    def __init__(self, options: TopKOptions) -> None:
        self._share, self._entropy = options.share, options.entropy
        self._values: Codec = VALUES[options.values]()

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        """Nothing is left of earlier rounds."""
        return {"residual": np.zeros(size, np.float32)}

    def encode(self, vector: NDArray[Any], state: Any, seed: int) -> tuple[bytes, dict[str, NDArray[Any]]]:
        """Write the largest entries of residual and change; as `Codec.encode`."""
        with np.errstate(over="ignore"):
            waiting = native(vector) + state["residual"]
        places = self._largest(waiting)
        values, _ = self._values.encode(waiting[places], {}, seed)
        waiting[places] -= self._values.decode(values, len(places), seed)
        body = shortened(values + _written(places, len(waiting)), self._entropy)
        return body, {"residual": waiting}

    def decode(self, body: bytes, size: int, seed: int) -> NDArray[np.float32]:
        """Read the entries; the others are 0.

        Raises:
            ProtocolError: too few or too many bytes, or places that do not fit; and as the codec `values`.
        """
        count = self._count(size)
        head, most = self._values.max_bytes(count), self._longest(size)
        body = restored(body, self._entropy, most)
        if not head < len(body) <= most:
            raise ProtocolError(f"topk: {len(body)} bytes for {count} of {size} entries")
        places = _read(body[head:], count, size)
        values = self._values.decode(body[:head], count, seed)
        vector = np.zeros(size, np.float32)
        vector[places] = values
        vector.flags.writeable = False
        return vector

    def max_bytes(self, size: int) -> int:
        """Those of the values, and of the places if the last entry is one of them."""
        return self._longest(size) + overhead(self._entropy)

    def _longest(self, size: int) -> int:
        """The same before the entropy stage."""
        count = self._count(size)
        rest = _lower_bits(count, size)
        most = _bytes(count * rest) + _bytes(count + (size - count >> rest))
        return self._values.max_bytes(count) + most

    def bits(self, size: int) -> float:
        """With places that are drawn evenly: the expectation, as of a geometric distribution of the gaps.

        After the entropy stage as one example has it.
        """
        if self._entropy != "none":
            return counted_bits(self, size)
        count = self._count(size)
        rest = _lower_bits(count, size)
        far = (1 - count / size) ** (1 << rest)  # the share of gaps above 2^rest
        unary = min(count / (1 - far) if far < 1 else size, count + (size - count >> rest))
        return 8 * (self._values.max_bytes(count) + _bytes(count * rest) + unary / 8) / size

    def _count(self, size: int) -> int:
        """k, the entries that are sent of `size`."""
        return min(size, max(1, round(self._share * size)))

    def _largest(self, waiting: NDArray[np.float32]) -> NDArray[np.int64]:
        """The places of the k entries that are furthest from zero, in order; of equal ones the first.

        The k-th length is found by a partition of the lengths alone: which of equal entries `np.argpartition`
        would name first is not said.
        """
        size, count = len(waiting), self._count(len(waiting))
        lengths = np.abs(waiting)
        ordered = np.partition(lengths, size - count)
        if not np.isfinite(ordered[size - count :]).all():
            np.clip(waiting, -LARGEST, LARGEST, out=waiting)
            lengths = np.abs(waiting)
            ordered = np.partition(lengths, size - count)
        least = ordered[size - count]
        taken = lengths > least
        equal = np.flatnonzero(lengths == least)
        taken[equal[: count - np.count_nonzero(taken)]] = True
        return np.flatnonzero(taken)


def _lower_bits(count: int, size: int) -> int:
    """r, the bits of a gap that are written as they are."""
    return max(0, ((size - 1) // count).bit_length() - 1)


def _bytes(bits: int) -> int:
    return (bits + 7) // 8


def _written(places: NDArray[np.int64], size: int) -> bytes:
    """The bytes of places in order, each below `size`."""
    rest = _lower_bits(len(places), size)
    less = np.diff(places, prepend=-1) - 1
    lower = np.unpackbits(less.astype(">u4").view(np.uint8).reshape(-1, 4), axis=1)[:, 32 - rest :]
    ends = np.cumsum((less >> rest) + 1)
    unary = np.zeros(ends[-1], np.uint8)
    unary[ends - 1] = 1
    return np.packbits(lower).tobytes() + np.packbits(unary).tobytes()


def _read(body: bytes, count: int, size: int) -> NDArray[np.int64]:
    """The inverse of `_written`.

    Raises:
        ProtocolError: the bytes are not `count` places below `size`.
    """
    rest = _lower_bits(count, size)
    head = _bytes(count * rest)
    bits = np.unpackbits(np.frombuffer(body, np.uint8))
    lower, filled, unary = bits[: count * rest], bits[count * rest : 8 * head], bits[8 * head :]
    ends = np.flatnonzero(unary)
    if len(ends) != count or filled.any() or len(unary) - ends[-1] > 8:
        raise ProtocolError(f"topk: {len(body)} bytes that are not {count} places")
    gaps = np.diff(ends, prepend=-1) - 1 << rest
    gaps += lower.reshape(count, rest) @ (1 << np.arange(rest)[::-1])
    places: NDArray[np.int64] = np.cumsum(gaps + 1) - 1
    if places[-1] >= size:
        raise ProtocolError(f"topk: a place behind the last of {size} entries")
    return places


ENTRY = Entry(
    "codec",
    "topk",
    TopK,
    TopKOptions,
    (Need("rule", ("mean",), why="what a round leaves out comes in a later sum"),),
)
