"""`check_codec`: the laws of `fedge.algorithms.protocols.Codec`."""

import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from fedge.algorithms.protocols import Codec, State
from fedge.algorithms.registry import Entry
from fedge.errors import ProtocolError
from fedge.testing.laws import (
    Array,
    BrokenLaw,
    copied,
    first_state,
    law,
    maker,
    repeated,
    require,
    require_state,
    require_vector,
    same,
    same_arrays,
)

SIZES = (1, 2, 7, 64, 1000)
LARGE = 70_000
"""Entries of the vector that memory is measured with; more than 16-bit indices can count."""
MANY, FEW = 100, 5
"""Number of vectors that the law `carries` is tested with, of small and of large size."""
VECTORS = 8
"""Memory that `decode` may use besides the bytes, in float64 vectors."""
SEED = 5
"""What vectors are encoded and decoded with, where one seed is enough."""
DRAWS = 200
"""The number of seeds that the law `unbiased` is tested with."""
STRAYS = 9.0
"""How large the squared error of the mean over all seeds may be, in the variance of such a mean."""
DRAINED = 1e-6
"""What a residual may keep, as a share of the first vector's length."""
NEAR = 1e-2
"""How far the sum of what was sent may be from the first vector, as a share of its length."""


def check_codec(
    codec: Entry[Codec] | Callable[[], Codec],
    options: Mapping[str, Any] | None = None,
    *,
    tolerance: float | None = None,
    accounts: bool | None = None,
    rounds: int = 2000,
    seed: int = 0,
) -> None:
    """Check a codec against its protocol.

    The laws, by the names that `BrokenLaw.law` has:

    * `encodes`: it says whether it takes the weights or the change; and `exact` and `unbiased`.
    * `refuses`: `encode` takes float32 vectors alone.
    * `length`: `encode` makes bytes, at most `max_bytes(size)` of them.
    * `seeded`: the same vector, state and seed give the same bytes and state, in another codec object.
    * `hidden`: so they do in the same object: it remembers nothing by itself, so a repeated step is harmless.
    * `arguments`: `encode` changes neither vector nor state.
    * `state`: a state is finite named arrays, of the same names, shapes and types after each round.
    * `decoded`: what is decoded is finite float32 of shape (size,), read-only, and the same each time.
    * `carries`: what is decoded resembles what was given, entry by entry, more than chance would have it.
    * `exact`: if it says so, each vector comes back to the bit, with any seed.
    * `unbiased`: if it says so, the mean over many seeds comes near what was given.
    * `bits`: normally distributed entries take about as many bits as it says.
    * `promise`: it is within `tolerance` of what was given.
    * `accounts`: what one round loses comes in later ones, once.
    * `garbage`: other bytes are a `ProtocolError` or a vector, and more than `max_bytes` an error.
    * `memory`: no bytes make `decode` take more than a few vectors.

    Args:
        codec: its entry, or a function that makes one.
        options: the options of the entry.
        tolerance: ‖decoded - given‖ / ‖given‖ in one round at most; 0: to the bit; None: it promises nothing.
        accounts: whether it sends later what it lost; None: if its state holds an array of `size` entries.
        rounds: in how many rounds all has been sent.
        seed: the seed of the vectors.

    Raises:
        BrokenLaw: the codec breaks a law; the text says which and how.
    """
    make = maker(codec, options)
    encodes = getattr(make(), "encodes", None)
    require(encodes in ("weights", "change"), "encodes", f"`encodes` is {encodes!r}")
    for word in ("exact", "unbiased"):
        said = getattr(make(), word, None)
        require(isinstance(said, bool), "encodes", f"`{word}` is {said!r}, expected True or False")
    _check_refusals(make())
    for size in SIZES:
        for what, vector in _vectors(size, seed):
            _check_round_trip(make, vector, f"{size} entries, {what}", tolerance)
        _check_rounds(make, size, seed)
    for size, tail, number in ((SIZES[-1], SIZES[-1], MANY), (LARGE, SIZES[-1], FEW)):
        _check_carries(make, size, tail, number, seed)
    _check_accounts(make, accounts, rounds, seed)
    _check_unbiased(make(), seed)
    _check_bits(make(), seed)
    _check_garbage(make(), seed)
    _check_memory(make(), seed)


def _vectors(size: int, seed: int) -> Iterator[tuple[str, Array]]:
    rng = np.random.default_rng([seed, size])
    spike = np.zeros(size, np.float32)
    spike[size // 2] = -7.0
    yield "normal", rng.normal(size=size).astype(np.float32)
    yield "zeros", np.zeros(size, np.float32)
    yield "all equal", np.full(size, 0.25, np.float32)
    yield "one that is not zero", spike
    yield "very large", (1e38 * rng.uniform(-1, 1, size)).astype(np.float32)
    yield "very small", (1e-42 * rng.uniform(-1, 1, size)).astype(np.float32)


def _check_refusals(codec: Codec) -> None:
    for wrong in (np.zeros(3), np.zeros(3, np.float16), np.zeros((2, 2), np.float32)):
        try:
            codec.encode(wrong, codec.init(wrong.size), SEED)
        except ValueError:
            continue
        except Exception as error:
            raise BrokenLaw("refuses", f"{wrong.dtype} of shape {wrong.shape} raises {error!r}") from error
        raise BrokenLaw("refuses", f"`encode` takes {wrong.dtype} of shape {wrong.shape}")


def _encoded(codec: Codec, vector: Array, state: State, where: str) -> tuple[bytes, State]:
    """Encode once with a fixed seed, and check the laws of each call."""
    given, before = vector.copy(), copied(state)
    with law("length", f"{where}: encode"):
        body, after = codec.encode(vector, state, SEED)
    most = codec.max_bytes(vector.size)
    require(isinstance(body, bytes), "length", f"{where}: `encode` returns {type(body).__name__}, not bytes")
    require(len(body) <= most, "length", f"{where}: {len(body)} bytes, and max_bytes is {most}")
    unchanged = same(given, vector) and same_arrays(before, state)
    require(unchanged, "arguments", f"{where}: `encode` changes the vector or the state that it is given")
    require_state(after, before, f"{where}: the state after a round")
    return body, after


def _check_round_trip(make: Callable[[], Codec], vector: Array, where: str, tolerance: float | None) -> None:
    codec, size = make(), vector.size
    state = first_state(make, size, where)
    body, _ = _encoded(codec, vector, state, where)
    with law("decoded", f"{where}: decode"):
        decoded, again = codec.decode(body, size, SEED), codec.decode(body, size, SEED)
    require_vector(decoded, size, "decoded", f"{where}: what is decoded")
    require(np.isfinite(decoded).all(), "decoded", f"{where}: what is decoded is not finite")
    require(not decoded.flags.writeable, "decoded", f"{where}: what is decoded can be written to")
    require(same(decoded, again), "decoded", f"{where}: the same bytes give another vector each time")
    if codec.exact:
        with law("exact", f"{where}: decode"):
            other = codec.decode(body, size, SEED + 1)
        require(same(decoded, vector) and same(other, vector), "exact", f"{where}: it comes back otherwise")
    if tolerance == 0:
        require(same(decoded, vector), "promise", f"{where}: the vector does not come back to the bit")
    elif tolerance is not None:
        off, length = (
            np.linalg.norm(v.astype(np.float64)) for v in (np.subtract(decoded, vector, dtype=float), vector)
        )
        require(off <= tolerance * length, "promise", f"{where}: it is off by {off:g} of {length:g}")


def _check_rounds(make: Callable[[], Codec], size: int, seed: int) -> None:
    """Some rounds with changing vectors: each is repeated, in the same object and in another one."""
    codec, rng = make(), np.random.default_rng([seed, size, 1])
    state = codec.init(size)
    for number in range(4):
        vector = rng.normal(size=size).astype(np.float32)
        where = f"{size} entries, round {number + 1}"
        _, state = repeated(make, codec, _encoded, (vector, state, where), number, where)


def _check_carries(make: Callable[[], Codec], size: int, tail: int, number: int, seed: int) -> None:
    """Vectors of which only the last entries are not zero: together they correlate with what is decoded."""
    codec, rng = make(), np.random.default_rng([seed, size, 5])
    where, product, lengths = f"{size} entries, the last {tail} of them not zero", 0.0, np.zeros(2)
    for _ in range(number):
        vector = np.zeros(size, np.float32)
        vector[-tail:] = rng.normal(size=tail)
        body, _ = _encoded(codec, vector, codec.init(size), where)
        with law("decoded", f"{where}: decode"):
            decoded = codec.decode(body, size, SEED).astype(np.float64)
        product += float(decoded @ vector)
        lengths += decoded @ decoded, vector @ vector
    found = product / float(np.sqrt(lengths.prod())) if lengths[0] > 0 else 0.0
    text = f"{where}: what is decoded of {number} vectors correlates by {found:.3f} with what was given"
    require(found > 4 / np.sqrt(number * size), "carries", text)


def _check_unbiased(codec: Codec, seed: int) -> None:
    """The squared error of a mean of `DRAWS` vectors is their variance divided by `DRAWS`, on the mean."""
    size = SIZES[-1]
    vector = np.random.default_rng([seed, 6]).normal(size=size).astype(np.float32)
    if not codec.unbiased:
        return
    total, squares = np.zeros(size), 0.0
    for draw in range(DRAWS):
        body, _ = codec.encode(vector, codec.init(size), draw)
        off = codec.decode(body, size, draw).astype(np.float64) - vector
        total += off
        squares += float(off @ off)
    squared = float(total @ total) / DRAWS**2
    most = STRAYS * squares / DRAWS**2 + 1e-12 * float(vector @ vector)
    text = f"{DRAWS} seeds: the squared error of the mean is {squared:.3g}, expected {most:.3g} at most"
    require(squared <= most, "unbiased", text)


def _check_bits(codec: Codec, seed: int) -> None:
    size = SIZES[-1]
    vector = np.random.default_rng([seed, 7]).normal(size=size).astype(np.float32)
    with law("bits", f"{size} entries: bits"):
        said = codec.bits(size)
    body, _ = codec.encode(vector, codec.init(size), SEED)
    found = 8 * len(body) / size
    text = f"{size} entries take {found:.3g} bits each, and `bits` is {said:.3g}"
    require(0.9 * said <= found <= 1.1 * said, "bits", text)


def _check_accounts(make: Callable[[], Codec], accounts: bool | None, rounds: int, seed: int) -> None:
    """Encode a vector, then zeros: in the end the sum of what was decoded must be the vector."""
    size = 200
    codec, rng = make(), np.random.default_rng([seed, 2])
    state = codec.init(size)
    if accounts is None:
        accounts = any(array.shape == (size,) and array.dtype.kind == "f" for array in state.values())
    if not accounts:
        return
    vector = rng.normal(size=size).astype(np.float32)
    length = float(np.linalg.norm(vector))
    given, total = vector, np.zeros(size)
    for number in range(1, rounds + 1):
        where = f"{size} entries, then zeros, round {number}"
        body, state = _encoded(codec, given, state, where)
        decoded = codec.decode(body, size, SEED)
        total += decoded
        far = float(np.abs(total).max())
        require(
            np.isfinite(far) and far < 1e6 * length, "accounts", f"{where}: what is sent grows without end"
        )
        if number > 1 and np.linalg.norm(decoded) <= DRAINED * length:
            break
        given = np.zeros(size, np.float32)
    off = float(np.linalg.norm(total - vector)) / length
    require(
        off <= NEAR,
        "accounts",
        f"after {number} rounds the sum of what was sent is off by {off:.3g} of the vector: "
        "what one round loses, the state is to bring in later ones, once",
    )


def _check_garbage(codec: Codec, seed: int) -> None:
    rng = np.random.default_rng([seed, 3])
    for size in SIZES:
        vector = rng.normal(size=size).astype(np.float32)
        body, _ = codec.encode(vector, codec.init(size), SEED)
        most = codec.max_bytes(size)
        for bad in _garbage(body, most, rng):
            try:
                found = codec.decode(bad, size, SEED)
            except ProtocolError:
                continue
            except Exception as error:
                text = f"{size} entries: {len(bad)} bytes that are no vector raise {error!r}"
                raise BrokenLaw("memory" if isinstance(error, MemoryError) else "garbage", text) from error
            require_vector(found, size, "garbage", f"{size} entries: what {len(bad)} strange bytes become")
            text = f"{size} entries: {len(bad)} bytes are read, and max_bytes is {most}"
            require(len(bad) <= most, "garbage", text)


def _garbage(body: bytes, most: int, rng: np.random.Generator) -> Iterator[bytes]:
    yield b""
    for cut in {1, len(body) // 2, max(0, len(body) - 1)}:
        yield body[:cut]
    yield body + b"\0"
    yield body + bytes(most + 1 - len(body))
    for value in (b"\0", b"\x7f", b"\xff"):
        yield value * len(body)
    for _ in range(20):
        yield rng.bytes(len(body))
        flipped = bytearray(body)
        if flipped:
            flipped[rng.integers(len(flipped))] ^= 1 << int(rng.integers(8))
        yield bytes(flipped)


def _check_memory(codec: Codec, seed: int) -> None:
    rng = np.random.default_rng([seed, 4])
    vector = rng.normal(size=LARGE).astype(np.float32)
    body, _ = _encoded(codec, vector, codec.init(LARGE), f"{LARGE} entries")
    bounds = VECTORS * 8 * LARGE
    for bad in (body, b"\xff" * len(body), b"\x7f" * len(body), b"\xff" * 16, *_garbage(body[:64], 64, rng)):
        tracemalloc.start()
        try:
            codec.decode(bad, LARGE, SEED)
        except ProtocolError:
            pass
        except MemoryError as error:
            raise BrokenLaw("memory", f"{len(bad)} bytes ask for more memory than there is") from error
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        text = f"{len(bad)} bytes for {LARGE} entries take {peak} bytes of memory, expected at most {bounds}"
        require(peak <= bounds + 2 * len(bad), "memory", text)
