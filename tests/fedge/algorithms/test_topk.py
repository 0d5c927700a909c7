"""`topk`: its bytes by hand, what one round leaves out comes in later ones, and ties have one order."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedge.algorithms.codecs import topk
from fedge.algorithms.codecs.topk import TopK, TopKOptions
from fedge.errors import ProtocolError
from fedge.testing import check_codec


def codec(**options: Any) -> TopK:
    return TopK(TopKOptions(**options))


def vector(*entries: float) -> np.ndarray:
    return np.array(entries, np.float32)


TEN = vector(0, 1, 1, 5, 2, 0, -3, 1, 0, -4)
BYTES = bytes.fromhex("0000a040 000080c0 d0 a0")
"""Two of ten entries: 5 at place 3 and -4 at place 9. The gaps are 4 and 6, less one 3 and 5. ⌊9 / 2⌋ = 4 is
100 in binary: r = 2. The lower bits are 11 and 01, which makes 1101 0000; the rest is 0 and 1, in unary 1 and
01, which makes 1010 0000. 5.0 is 0x40a00000 and -4.0 is 0xc0800000."""


@pytest.mark.parametrize("values", ["float32", "float16", "int8", "int4"])
@pytest.mark.parametrize("share", [0.003, 0.1, 0.4, 1.0])
def test_the_laws_hold_with_each_kind_of_values(values: str, share: float) -> None:
    check_codec(topk.ENTRY, {"share": share, "values": values})


def test_the_bytes_are_those_that_are_written_by_hand() -> None:
    body, state = codec(share=0.2).encode(TEN, codec().init(10), 0)
    assert body == BYTES
    assert codec(share=0.2).decode(body, 10, 0).tolist() == [0, 0, 0, 5, 0, 0, 0, 0, 0, -4]
    assert state["residual"].tolist() == [0, 1, 1, 0, 2, 0, -3, 1, 0, 0]


@pytest.mark.parametrize(
    ("size", "options", "most"),
    [
        # k, r, then the bytes of values, of lower bits, of k ends and ⌊(p - k) / 2^r⌋ zeros
        (10, {"share": 0.2}, 2 * 4 + 1 + 1),  # 2, 2: 4 bits, and 2 + 2
        (1, {"share": 0.01}, 4 + 0 + 1),  # 1, 0
        (1_000, {"share": 1.0}, 4_000 + 0 + 125),  # 1,000, 0: each gap is 1
        (199_210, {"share": 0.01}, 1_992 * 4 + 1_494 + 635),  # 1,992, 6: 11,952 bits, and 1,992 + 3,081
        (199_210, {"share": 0.01, "values": "int4"}, 8 * 4 + 996 + 1_494 + 635),
    ],
)
def test_no_body_is_longer_than_derived_by_hand_and_one_is_as_long(
    size: int, options: dict[str, Any], most: int
) -> None:
    """The unary part is longest if the last entries are the largest: their first gap is p - k + 1."""
    made = codec(**options)
    assert made.max_bytes(size) == most
    given = np.zeros(size, np.float32)
    given[-made._count(size) :] = 1.0
    body, _ = made.encode(given, made.init(size), 0)
    assert len(body) == most
    assert np.array_equal(made.decode(body, size, 0), given)


def test_places_take_8_1_bits_each_with_one_entry_of_a_hundred() -> None:
    """r = 6; the gaps are geometric with 1 - .01, so the unary part has 1 + q / (1 - q) bits, q = .99^64."""
    q = 0.99**64
    bits = 6 + 1 + q / (1 - q)
    assert bits == pytest.approx(8.11, abs=0.005)
    entropy = -(0.01 * math.log2(0.01) + 0.99 * math.log2(0.99)) / 0.01
    assert entropy == pytest.approx(8.08, abs=0.005)
    size, made = 500_000, codec(share=0.01, values="int8")
    body, _ = made.encode(np.random.default_rng(1).normal(size=size).astype(np.float32), made.init(size), 0)
    values = 5_000 + 4 * 10
    assert 8 * (len(body) - values) / 5_000 == pytest.approx(bits, abs=0.05)
    assert made.bits(size) == pytest.approx(8 * len(body) / size, rel=1e-3)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=40), st.sampled_from([0.01, 0.2, 0.5, 0.99, 1.0]))
def test_the_longest_entries_are_sent_and_of_equal_ones_the_first(entries: list[int], share: float) -> None:
    made, size = codec(share=share), len(entries)
    body, _ = made.encode(vector(*entries), made.init(size), 0)
    count = min(size, max(1, round(share * size)))
    best = sorted(range(size), key=lambda place: (-abs(entries[place]), place))[:count]
    expected = [entry if place in best else 0 for place, entry in enumerate(entries)]
    assert made.decode(body, size, 0).tolist() == expected


@pytest.mark.parametrize("values", ["float32", "float16", "int8", "int4"])
def test_the_sum_of_what_was_sent_and_the_residual_is_what_was_given(values: str) -> None:
    """Each round adds one rounding of float32 to an entry, at most 2⁻²⁴ of the largest: 100 rounds, 6e-6."""
    made, size, rng = codec(share=0.05, values=values), 300, np.random.default_rng(3)
    state, told, read = made.init(size), np.zeros(size), np.zeros(size)
    for seed in range(100):
        given = rng.normal(size=size).astype(np.float32)
        body, state = made.encode(given, state, seed)
        told += given
        read += made.decode(body, size, seed)
    largest = np.abs(told).max()
    assert np.abs(read + state["residual"] - told).max() < 100 * 2.0**-24 * largest
    assert np.abs(read - told).max() > 1e-2 * largest, "something is still to be sent"


def test_whole_numbers_are_accounted_for_to_the_bit() -> None:
    """float32 adds whole numbers below 2²⁴ exactly. With a share of .1 ten rounds of zeros send all."""
    made, size, rng = codec(share=0.1), 50, np.random.default_rng(5)
    state, told, read = made.init(size), np.zeros(size), np.zeros(size)
    for seed in range(30):
        given = rng.integers(-9, 10, size).astype(np.float32) if seed < 20 else np.zeros(size, np.float32)
        body, state = made.encode(given, state, seed)
        told += given
        read += made.decode(body, size, seed)
    assert read.tolist() == told.tolist()
    assert not state["residual"].any()


def test_a_sum_beyond_float32_stays_at_its_end() -> None:
    largest = np.finfo(np.float32).max
    made, given = codec(share=0.4), vector(largest, -largest, 1, 2, 0)
    _, state = made.encode(given, {"residual": given}, 0)
    body, state = made.encode(given, {"residual": given}, 0)
    assert made.decode(body, 5, 0).tolist() == [largest, -largest, 0, 0, 0]
    assert np.isfinite(state["residual"]).all()


@pytest.mark.parametrize(
    "body",
    [
        BYTES[:-1],
        BYTES[:8],
        BYTES + b"\0",
        BYTES[:-2] + bytes.fromhex("d1 a0"),  # a bit behind the lower bits
        BYTES[:-1] + b"\x80",  # one end
        BYTES[:-1] + b"\xe0",  # three ends
        BYTES[:-1] + b"\x88",  # 4 · 3 + 1 + 1 behind place 3, which is 17
        b"",
    ],
)
def test_what_encode_cannot_have_made_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        codec(share=0.2).decode(body, 10, 0)


def test_an_end_too_far_behind_the_others_is_refused() -> None:
    """With 1 % of 1,000 entries, r = 6, and the unary part has 10 to 10 + ⌊990 / 64⌋ = 25 bits."""
    made = codec(share=0.01)
    body, _ = made.encode(np.ones(1_000, np.float32), made.init(1_000), 0)
    assert len(body) < made.max_bytes(1_000)
    with pytest.raises(ProtocolError):
        made.decode(body + b"\0", 1_000, 0)


@pytest.mark.parametrize("share", [0.0, -1.0, 1.01, float("nan")])
def test_a_share_is_above_0_and_at_most_1(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        topk.ENTRY.made({"share": share})
