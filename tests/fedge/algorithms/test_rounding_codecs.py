"""`float16`, `int8` and `int4`: their bytes by hand, their errors within the bounds that their texts name."""

import math
from typing import Any

import numpy as np
import pytest

from fedge.algorithms.codecs.int4 import Int4
from fedge.algorithms.codecs.int8 import Int8
from fedge.algorithms.codecs.quantized import Quantized
from fedge.algorithms.registry import CODECS
from fedge.errors import ProtocolError

BOTH = pytest.mark.parametrize("codec", [Int8(), Int4()], ids=["int8", "int4"])
FLOAT16 = CODECS.make("float16")
LARGEST = float(np.finfo(np.float32).max)


def vector(*entries: float) -> np.ndarray:
    return np.array(entries, np.float32)


def steps_of(codec: Quantized, body: bytes, size: int) -> np.ndarray:
    """The step of each entry."""
    blocks = math.ceil(size / codec.block)
    return np.repeat(np.frombuffer(body, "<f4", blocks), codec.block)[:size]


@pytest.mark.parametrize(
    ("name", "size", "length"),
    [
        ("float16", 3, 6),
        ("int8", 1, 4 + 1),
        ("int8", 512, 4 + 512),
        ("int8", 513, 2 * 4 + 513),
        ("int8", 199_210, 390 * 4 + 199_210),
        ("int4", 1, 4 + 1),
        ("int4", 256, 4 + 128),
        ("int4", 257, 2 * 4 + 129),
        ("int4", 199_210, 779 * 4 + 99_605),
    ],
)
def test_each_body_has_the_length_that_is_derived_by_hand(name: str, size: int, length: int) -> None:
    codec = CODECS.make(name)
    body, state = codec.encode(np.linspace(-1, 2, size, dtype=np.float32), codec.init(size), 1)
    assert (len(body), codec.max_bytes(size), state) == (length, length, {})
    assert codec.bits(size) == 8 * length / size


@pytest.mark.parametrize("seed", [0, 1, 2**128 - 1])
def test_whole_steps_are_kept_by_any_seed_and_written_as_it_is_said(seed: int) -> None:
    """With the largest entry at L the step is 1, and ⌊q + u⌋ = q for whole q. 1.0 is 0x3f800000."""
    body, _ = Int8().encode(vector(127, -127, 0, 64, -1), {}, seed)
    assert body == bytes.fromhex("0000803f 7f 81 00 40 ff")
    # 7, -7 | 0, 3 | 1: plus 8 these are 15, 1 | 8, 11 | 9 and the half that is left over, 8
    body, _ = Int4().encode(vector(7, -7, 0, 3, 1), {}, seed)
    assert body == bytes.fromhex("0000803f 1f b8 89")
    assert Int4().decode(body, 5, 0).tolist() == [7, -7, 0, 3, 1]


@BOTH
def test_each_block_has_a_step_of_its_own(codec: Quantized) -> None:
    given = np.full(2 * codec.block + 3, 1e-3, np.float32)
    given[codec.block :] = 100.0
    given[2 * codec.block :] = vector(0, 0, 0)
    body, _ = codec.encode(given, {}, 3)
    largest = codec.levels * np.frombuffer(body, "<f4", 3).astype(float)
    assert largest == pytest.approx([1e-3, 100.0, 0.0], rel=1e-6)
    assert codec.decode(body, len(given), 3) == pytest.approx(given, rel=1e-6)


@BOTH
def test_the_mean_over_many_seeds_is_what_was_given(codec: Quantized) -> None:
    """An error lies in an interval of one step s, so by Hoeffding (1963, theorem 2) the mean of T errors is
    beyond t s with a probability of at most 2 exp(-2 T t²). With T = 400 and t = .2 that is 2.5e-14, for each
    of the 600 entries; t has 2⁻¹⁷ more for the 16 bits of u. Rounding to the nearest is off by up to .5 s."""
    given, times = np.random.default_rng(4).normal(size=600).astype(np.float32), 400
    total = np.zeros(600)
    for seed in range(times):
        body, _ = codec.encode(given, {}, seed)
        total += (codec.decode(body, 600, seed) - given.astype(float)) / steps_of(codec, body, 600)
    assert np.abs(total / times).max() < 0.2 + 2.0**-17
    # The mean of all 600 too: 2 exp(-2 · 240,000 t²) is 2e-8 with t = .0062.
    assert abs(total.mean() / times) < 0.0062 + 2.0**-17


@BOTH
@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1.0, 1e38])
def test_no_entry_is_off_by_a_step_or_more(codec: Quantized, scale: float) -> None:
    given = (scale * np.random.default_rng(2).uniform(-3.4, 3.4, 1_000)).astype(np.float32)
    body, _ = codec.encode(given, {}, 9)
    steps, off = steps_of(codec, body, 1_000), np.abs(codec.decode(body, 1_000, 9) - given.astype(float))
    assert (off < steps + 1e-6 * np.abs(given)).all()
    assert (codec.levels * steps.astype(float) >= np.abs(given) * (1 - 1e-6)).all()


@BOTH
@pytest.mark.parametrize("largest", [LARGEST, -LARGEST, 1e-45, -3e-45, 2.1e-43])
def test_the_ends_of_float32_stay_finite_and_where_they_are(codec: Quantized, largest: float) -> None:
    given = vector(largest, 0.0, largest)
    for seed in range(20):
        decoded = codec.decode(codec.encode(given, {}, seed)[0], 3, seed)
        assert np.isfinite(decoded).all()
        assert decoded[1] == 0
        if abs(largest) == LARGEST:
            assert decoded[0] == pytest.approx(largest, rel=1e-6)
        else:  # a step is a whole multiple of the smallest float32
            assert abs(float(decoded[0]) - float(given[0])) < 2 * abs(largest) / codec.levels + 1.5e-45


@pytest.mark.parametrize(
    ("codec", "size", "body"),
    [
        (Int8(), 1, "0000803f 80"),  # level -128
        (Int8(), 1, "000080bf 01"),  # step -1
        (Int8(), 1, "0000c07f 01"),  # step NaN
        (Int8(), 1, "0000807f 01"),  # step ∞
        (Int8(), 2, "0000803f 01"),
        (Int8(), 0, "0000803f"),
        (Int4(), 2, "0000803f 80"),  # level -8, in the lower half
        (Int4(), 2, "0000803f 08"),  # in the upper half
        (Int4(), 1, "0000803f 98"),  # a level behind the last entry
        (FLOAT16, 1, "00"),
        (FLOAT16, 1, "000000"),
    ],
)
def test_what_encode_cannot_have_made_is_refused(codec: Any, size: int, body: str) -> None:
    with pytest.raises(ProtocolError):
        codec.decode(bytes.fromhex(body), size, 0)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (1.0, 1.0),
        (-65_504.0, -65_504.0),
        (1 + 2.0**-11, 1.0),  # half-way between 1 and 1 + 2⁻¹⁰: to the even one
        (1 + 3 * 2.0**-11, 1 + 2.0**-9),
        (65_519.0, 65_504.0),
        (1e38, 65_504.0),
        (-LARGEST, -65_504.0),
        (2.0**-24, 2.0**-24),
        (2.0**-26, 0.0),
    ],
)
def test_float16_is_the_nearest_and_never_beyond_its_range(given: float, found: float) -> None:
    body, _ = FLOAT16.encode(vector(given), {}, 0)
    assert FLOAT16.decode(body, 1, 0).tolist() == [found]


def test_float16_is_little_endian() -> None:
    """1.0 is 0x3c00 and -2.5 is 0xc100 (IEEE 754 binary16)."""
    assert FLOAT16.encode(vector(1.0, -2.5), {}, 0)[0] == bytes.fromhex("003c 00c1")
