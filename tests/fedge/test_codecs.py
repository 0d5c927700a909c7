"""Vectors become bytes and come back, bit for bit; lengths that do not fit are refused."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import TypeAdapter

from fedge.algorithms.codecs import float32
from fedge.algorithms.registry import CODECS
from fedge.errors import ProtocolError
from fedge.wire.capabilities import can
from fedge.wire.names import WireName
from fedge.wire.reasons import Reason

EACH: list[tuple[str, dict[str, object]]] = [
    *((name, {}) for name in CODECS.names()),
    ("topk", {"share": 0.3, "values": "int4"}),
    ("topk", {"share": 1.0, "values": "float16"}),
    ("topk", {"share": 0.2, "values": "int8", "entropy": "zlib"}),
    *((name, {"entropy": "zlib"}) for name in ("float16", "int8", "int4")),
]
"""The codecs, each with its default options, and some with others."""
vectors = arrays(np.float32, st.integers(0, 200), elements=st.floats(width=32))


def test_each_name_is_one_that_messages_may_carry_and_devices_tell() -> None:
    for name in CODECS.names():
        TypeAdapter(WireName).validate_python(name)
        assert f"codec:{name}" in can()


@given(vectors)
def test_float32_keeps_every_bit(vector: np.ndarray) -> None:
    body = float32.encode(vector)
    decoded = float32.decode(body, vector.size)
    assert decoded.dtype == np.float32
    assert decoded.shape == vector.shape
    assert decoded.tobytes() == vector.tobytes()  # NaN and -0.0 included


def test_the_bytes_are_little_endian_whatever_the_machine_holds() -> None:
    """1.0 is 0x3f800000 and -2.5 is 0xc0200000 (IEEE 754 binary32)."""
    expected = bytes.fromhex("0000803f 000020c0")
    for dtype in ("<f4", ">f4"):
        assert float32.encode(np.array([1.0, -2.5], dtype=dtype)) == expected
    assert float32.decode(expected, 2).tolist() == [1.0, -2.5]


@pytest.mark.parametrize("body", [bytes(8), bytearray(8)])
def test_what_was_decoded_is_a_view_that_cannot_be_written_to(body: bytes) -> None:
    vector = float32.decode(body, 2)
    assert np.shares_memory(vector, np.frombuffer(body, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        vector[0] = 1


def test_a_strided_vector_is_written_in_its_own_order() -> None:
    vector = np.arange(10, dtype=np.float32)[::-3]
    assert float32.decode(float32.encode(vector), 4).tolist() == [9, 6, 3, 0]


@pytest.mark.parametrize(
    ("body", "size"),
    [
        (bytes(16), 2),  # float64, for instance
        (bytes(4), 2),  # float16
        (bytes(7), 2),
        (b"", 2),
        (bytes(8), 2**62),
        (bytes(8), -2),
    ],
)
def test_fault_60_bytes_that_do_not_hold_so_many_weights(body: bytes, size: int) -> None:
    with pytest.raises(ProtocolError, match=rf"\b{len(body)}\b") as caught:
        float32.decode(body, size)
    assert caught.value.reason is Reason.WRONG_LENGTH


@pytest.mark.parametrize("codec", CODECS.names())
def test_fault_65_few_bytes_never_become_many(codec: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            CODECS.make(codec).decode(bytes(1_000), 50_000_000, 0)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def changed(body: bytes, edits: list[tuple[str, int, int]]) -> bytes:
    """The bytes after some edits, each at a place in 0…255 that is a share of the length."""
    found = bytearray(body)
    for edit, place, value in edits:
        at = place * len(found) // 256
        if edit == "set" and found:
            found[at] = value
        elif edit == "insert":
            found[at:at] = bytes([value])
        elif edit == "cut":
            del found[at : at + value]
        elif edit == "repeat":
            found[at:at] = found[at : at + value]
    return bytes(found)


EDITS = st.tuples(
    st.sampled_from(["set", "insert", "cut", "repeat"]), st.integers(0, 255), st.integers(0, 255)
)
finite = arrays(
    np.float32, st.integers(1, 600), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
)


@pytest.mark.parametrize(("name", "options"), EACH)
@given(vector=finite, seed=st.integers(0, 2**128 - 1), edits=st.lists(EDITS, max_size=6))
def test_changed_bytes_are_a_vector_or_a_protocol_error(
    name: str, options: dict[str, object], vector: np.ndarray, seed: int, edits: list[tuple[str, int, int]]
) -> None:
    codec, size = CODECS.make(name, options), len(vector)
    body, _ = codec.encode(vector, codec.init(size), seed)
    assert len(body) <= codec.max_bytes(size)
    decoded = codec.decode(body, size, seed)
    assert np.isfinite(decoded).all()
    try:
        found = codec.decode(changed(body, edits), size, seed)
    except ProtocolError:
        return
    assert (found.dtype, found.shape) == (np.float32, (size,))


@given(size=st.integers(1, 300), body=st.binary(max_size=1_000))
@pytest.mark.parametrize(("name", "options"), EACH)
def test_any_bytes_are_a_vector_or_a_protocol_error(
    name: str, options: dict[str, object], size: int, body: bytes
) -> None:
    try:
        found = CODECS.make(name, options).decode(body, size, 0)
    except ProtocolError:
        return
    assert (found.dtype, found.shape) == (np.float32, (size,))


@pytest.mark.parametrize(
    "vector",
    [np.zeros(2), np.zeros((2, 2), np.float32), np.zeros(2, np.int32), np.zeros(2, np.float16)],
)
def test_only_float32_vectors_are_written(vector: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"float32.*\(p,\)"):
        float32.encode(vector)
