"""DRIVE: one bit for each weight, the sign of its entry after a random rotation, and a scale for each block.

Vargaftik, Ben Basat, Portnoy, Mendelson, Ben-Itzhak, Mitzenmacher 2021, "DRIVE: One-bit Distributed Mean
Estimation", NeurIPS, https://arxiv.org/abs/2105.08339. The scale is the unbiased one, which is also that of
Vargaftik, Ben Basat, Portnoy, Mendelson, Ben-Itzhak, Mitzenmacher 2022, "EDEN: Communication-Efficient and
Robust Distributed Mean Estimation for Federated Learning", ICML, https://arxiv.org/abs/2108.08842.

The vector is divided into blocks of a power of two entries, at most 4,096 (`hadamard.blocks`). Of a block x
of d entries, with R the random rotation of `hadamard`, the device sends the signs and the scale

    s = sign(R x + δ),    S = ‖x‖² / ⟨R x, s⟩,    and x̂ = S Rᵀ s is decoded.

δ is a small random vector, each entry uniform in ±‖x‖ / d. The papers have none; see below.

**Error.** ‖x̂‖² = S² d, so with λ = ⟨R x, s⟩ / (√d ‖x‖)

    ‖x̂ - x‖² = S² d - ‖x‖² = (1/λ² - 1) ‖x‖² .

The entries of R x are close to normal, so λ² is close to 2/π, and the error is (π/2 - 1) ‖x‖² = .571 ‖x‖².
What is decoded is longer than x by the factor √(π/2) = 1.25. (The biased scale ⟨R x, s⟩ / d has the least
error in one vector, (1 - 2/π) ‖x‖² = .363 ‖x‖², but shortens each one by 2/π, so that no mean gets closer.)

**Unbiased.** ⟨x̂, x⟩ = S ⟨R x, s⟩ = ‖x‖² for every R: along x there is no error. Across x the error has the
mean 0 if R is uniform among all rotations. Signs and transforms come close to that, if the entries of R x
have a smooth density near 0. They have none where x has one entry, and others that are nearly 0: then R x
has only values 2 ‖x‖ / d apart, of which 0 is one, and the sign of what is nearly 0 would depend on the
small entries alone. δ gives them a density. The mean over all seeds is then off by .4 % of ‖x‖ at most in a
block of 64, as measured for several such x (without δ by up to 14 %), and by less in larger blocks. The
error of one vector becomes 1 % larger in a block of 64, and .02 % in one of 4,096.

**Bytes.** First the scales as little-endian float32, one for each block; then the bits, 1 for a negative
sign, the lowest bit of each byte first, matrix by matrix and row by row. 199,210 weights: 51 scales and
199,232 bits are 25,108 bytes, 1.008 bits for each weight.

`decode` adds, subtracts and multiplies entry by entry, in float32, so that every machine decodes the same.
"""

from math import frexp, ldexp
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.codecs import hadamard
from fedge.algorithms.codecs.float32 import native
from fedge.algorithms.codecs.hadamard import BITS, Part, Signs
from fedge.algorithms.registry import Entry
from fedge.errors import ProtocolError
from fedge.wire.reasons import Reason

_SIGNS = np.float32(1) - np.float32(2) * BITS.astype(np.float32)
"""The signs that each byte stands for, of shape (256, 8)."""
_MOST = float(np.finfo(np.float32).max)
_EXPONENTS = 120
"""A part is multiplied by a power of two, at most 2^±120, so that its largest entry becomes about 1."""


class Drive:
    """One bit for each weight; without state."""

    encodes: ClassVar[Literal["weights", "change"]] = "change"
    exact: ClassVar[bool] = False
    unbiased: ClassVar[bool] = True

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        """No state: the error has the mean 0, so no residual is needed."""
        return {}

    def encode(self, vector: NDArray[Any], state: object, seed: int) -> tuple[bytes, dict[str, NDArray[Any]]]:
        """As `encode` below, without state."""
        return encode(vector, seed), {}

    def decode(self, body: bytes, size: int, seed: int) -> NDArray[np.float32]:
        """As `decode` below."""
        return decode(body, size, seed)

    def max_bytes(self, size: int) -> int:
        """The bytes of every vector of this size."""
        return bytes_of(size)

    def bits(self, size: int) -> float:
        """About 1.01 with more than some 100,000 entries; the scales count for more in shorter vectors."""
        return 8 * bytes_of(size) / size


def bytes_of(size: int) -> int:
    """The bytes of a vector of `size` entries: four for each block, and one for eight entries of the blocks.

    >>> bytes_of(199_210), 4 * 51 + 199_232 // 8
    (25108, 25108)
    """
    number, places = hadamard.counts(size)
    return 4 * number + places // 8


def encode(vector: NDArray[Any], seed: int) -> bytes:
    """Write a finite float32 vector of shape (p,) in `bytes_of(p)` bytes.

    Raises:
        ValueError: not a vector of float32; a silent cast would hide where precision was lost.
    """
    values, size = native(vector), vector.size
    number, places = hadamard.counts(size)
    scales, bits = np.empty(number, "<f4"), np.empty(places // 8, np.uint8)
    signs, dither, stores, block, byte = Signs(seed), np.random.PCG64([seed, 1]), _stores(places), 0, 0
    for part in hadamard.parts(size):
        matrix, scratch = (store[: part.places].reshape(part.rows, part.columns) for store in stores)
        exponent = _fill(matrix, values[part.start : part.end])
        np.multiply(matrix, matrix, out=scratch)
        squares = hadamard.column_sums(scratch).astype(np.float64)
        hadamard.rotate(matrix, scratch, *signs.draw(part))
        _dither(matrix, np.sqrt(squares).astype(np.float32), dither, scratch)
        negative = np.packbits(np.less(scratch, 0).reshape(-1), bitorder="little")
        np.copysign(np.float32(1), scratch, out=scratch)
        products = hadamard.column_sums(np.multiply(matrix, scratch, out=scratch)) / float(part.rows)
        made = np.divide(squares, products, out=np.zeros_like(squares), where=products > 0)
        scales[block : block + part.columns] = np.minimum(made * ldexp(1.0, exponent), _MOST)
        bits[byte : byte + negative.size] = negative
        block, byte = block + part.columns, byte + negative.size
    return scales.tobytes() + bits.tobytes()


def _stores(places: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Room for a part and for its transform, whichever part it is."""
    room = min(places, hadamard.LARGEST * hadamard.COLUMNS)
    return np.empty(room, np.float32), np.empty(room, np.float32)


def _fill(matrix: NDArray[np.float32], values: NDArray[np.float32]) -> int:
    """Fill a part's matrix with `values` / 2^k, and with zeros; return k. Sums of squares stay in float32."""
    peak = max(float(values.max()), -float(values.min()))
    exponent = max(-_EXPONENTS, min(_EXPONENTS, frexp(peak)[1]))
    flat = matrix.reshape(-1)
    np.multiply(values, np.float32(ldexp(1.0, -exponent)), out=flat[: values.size])
    flat[values.size :] = 0.0
    return exponent


def _dither(
    matrix: NDArray[np.float32],
    lengths: NDArray[np.float32],
    bits: "np.random.PCG64",
    dithered: NDArray[np.float32],
) -> None:
    """Write d (R x + δ) of each column of d R x into `dithered`; of δ eight bits are drawn for each entry."""
    drawn = bits.random_raw(matrix.size // 8).astype("<u8", copy=False).view(np.uint8)
    np.multiply(drawn.reshape(matrix.shape), np.float32(1 / 128), out=dithered, dtype=np.float32)
    np.subtract(dithered, np.float32(255 / 256), out=dithered)
    np.multiply(dithered, lengths, out=dithered)
    np.add(dithered, matrix, out=dithered)


def decode(body: bytes, size: int, seed: int) -> NDArray[np.float32]:
    """Read a vector of shape (size,), read-only and finite.

    Raises:
        ProtocolError: `body` is not `bytes_of(size)` bytes long (reason WRONG_LENGTH), or a scale is no
            positive number or 0.
    """
    if size < 0 or len(body) != bytes_of(size):
        raise ProtocolError(
            f"drive: {len(body)} bytes where {size} weights take {bytes_of(max(0, size))}",
            Reason.WRONG_LENGTH,
        )
    number, places = hadamard.counts(size)
    scales = np.frombuffer(body, "<f4", number).astype(np.float32, copy=False)
    bits = np.frombuffer(body, np.uint8, offset=4 * number)
    wrong = np.flatnonzero(~((scales >= 0) & (scales <= _MOST)))
    if wrong.size:
        raise ProtocolError(
            f"drive: the scale of block {wrong[0]} is {scales[wrong[0]]}, expected a positive number or 0"
        )
    vector = np.empty(size, np.float32)
    signs, stores, block, byte = Signs(seed), _stores(places), 0, 0
    for part in hadamard.parts(size):
        matrix, scratch = (store[: part.places].reshape(part.rows, part.columns) for store in stores)
        of_part, of_blocks = bits[byte : byte + part.places // 8], scales[block : block + part.columns]
        np.take(_SIGNS / np.float32(part.rows), of_part, axis=0, out=matrix.reshape(-1, 8), mode="clip")
        hadamard.rotate_back(matrix, scratch, *signs.draw(part))
        _scale(matrix, of_blocks, part, vector)
        block, byte = block + part.columns, byte + of_part.size
    vector.flags.writeable = False
    return vector


def _scale(
    matrix: NDArray[np.float32], scales: NDArray[np.float32], part: Part, vector: NDArray[np.float32]
) -> None:
    """Write each column times its scale into the part's place of `vector`, at most float32's largest."""
    with np.errstate(over="ignore"):
        np.multiply(matrix, scales, out=matrix)
    np.clip(matrix.reshape(-1)[: part.entries], -_MOST, _MOST, out=vector[part.start : part.end])


ENTRY = Entry("codec", "drive", Drive)
