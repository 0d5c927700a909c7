"""Bytes from anywhere: what is refused, with which words, and what it may cost."""

import re
import tracemalloc

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedge.errors import ProtocolError
from fedge.wire import encoding
from fedge.wire.reasons import Reason
from tests.wording import assert_tells

GOOD = encoding.encode({"v": 1, "type": "x", "body": b"abc"})


def refusal(payload: bytes, max_bytes: int = encoding.MAX_PAYLOAD) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        encoding.decode(payload, max_bytes=max_bytes)
    return caught.value


def peak_bytes(payload: bytes, max_bytes: int) -> int:
    """The most memory that decoding takes, whether it is refused or not."""
    tracemalloc.start()
    try:
        encoding.decode(payload, max_bytes=max_bytes)
    except ProtocolError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def nested(depth: int) -> bytes:
    """{"a": [[…[]…]]}: a map and `depth` arrays, one in the other."""
    return b"\x81\xa1a" + b"\x91" * (depth - 1) + b"\x90"


FAULTS = {
    "54_truncated_in_a_value": (GOOD[:-1], "cut short"),
    "54_truncated_before_a_value": (b"\x81\xa1a", "cut short: 3 bytes"),
    "54_truncated_in_a_length": (b"\x81\xa1a\xc6\x00\x00", "bin at byte 3"),
    "54_empty": (b"", "cut short: 0 bytes"),
    "54_trailing_byte": (GOOD + b"\x00", "1 trailing"),
    "54_two_messages": (GOOD + GOOD, "trailing"),
    "55_bin_of_2_32": (b"\x81\xa1a\xc6\xff\xff\xff\xff", "bin at byte 3 .*4294967303"),
    "55_text_of_2_32": (b"\x81\xa1a\xdb\xff\xff\xff\xff", "text at byte 3 .*4294967303"),
    "55_array_of_2_32": (
        b"\x81\xa1a\xdd\xff\xff\xff\xff",
        "array of 4294967295 at byte 3.* 65536",
    ),
    "55_map_of_2_32": (b"\xdf\xff\xff\xff\xff", "map of 4294967295 at byte 0.* 65536"),
    "55_array_of_allowed_length_without_elements": (b"\x81\xa1a\xdc\xff\xff", "cut short: 6 bytes"),
    "56_nested_100000_deep": (nested(100_000), "deeper than 8 at byte"),
    "56_nested_one_too_deep": (nested(encoding.MAX_DEPTH), "deeper than 8 at byte 10"),
    "57_one_mb_of_empty_maps": (b"\xdd\x00\x0f\x42\x40" + b"\x80" * 1_000_000, "array of 1000000"),
    "57_empty_maps_in_allowed_arrays": (
        b"\x9f" + (b"\xdd\x00\x01\x00\x00" + b"\x80" * 65_536) * 15,
        " 256 ",
    ),
    "57_too_many_small_values": (
        b"\x83" + b"".join(b"\xa1%c\xdd\x00\x01\x00\x00" % key + b"\x01" * 65_536 for key in b"abc"),
        " 135168 ",
    ),
    "58_ext_type": (b"\x81\xa1a" + msgpack.packb(msgpack.ExtType(5, b"\x00")), "extension type"),
    "58_ext_32": (b"\x81\xa1a\xc9\xff\xff\xff\xff\x05", "extension type"),
    "58_timestamp": (b"\x81\xa1a" + msgpack.packb(msgpack.Timestamp(1, 2)), "extension type"),
    "58_unused_code": (b"\x81\xa1a\xc1", "unused code at byte 3"),
    "59_duplicate_key": (b"\x82\xa1a\x01\xa1a\x02", "key twice"),
    "59_duplicate_key_inside": (b"\x81\xa1b\x82\xa1a\x01\xa1a\x02", "key twice"),
    "59_integer_key": (b"\x81\x01\x02", "int .*key"),
    "59_binary_key": (b"\x81\xc4\x01a\x02", "key .*bytes"),
    "59_map_as_key": (b"\x81\x80\x02", "dict .*key"),
    "59_bad_utf8": (b"\x81\xa1a\xa1\xff", "UTF-8"),
    "59_surrogate": (b"\x81\xa1a\xa3\xed\xa0\x80", "UTF-8"),
    "59_text_too_long": (encoding.encode({"a": "x" * 65_537}), "65537"),
    "59_not_a_map": (b"\x93\x01\x02\x03", "map, got list"),
    "59_nothing": (b"\xc0", "map, got NoneType"),
}


def of(number: str) -> pytest.MarkDecorator:
    """The cases of one fault, named by what follows its number."""
    cases = {
        case.removeprefix(number + "_"): pair for case, pair in FAULTS.items() if case.startswith(number)
    }
    return pytest.mark.parametrize(("payload", "text"), cases.values(), ids=cases)


def assert_malformed(payload: bytes, text: str) -> None:
    error = refusal(payload, max_bytes=2_000_000)
    assert re.search(text, str(error))
    assert error.reason is Reason.MALFORMED


@of("54")
def test_fault_54_bytes_missing_or_too_many(payload: bytes, text: str) -> None:
    assert_malformed(payload, text)


@of("55")
def test_fault_55_lengths_of_2_32(payload: bytes, text: str) -> None:
    assert_malformed(payload, text)


@of("56")
def test_fault_56_nesting(payload: bytes, text: str) -> None:
    assert_malformed(payload, text)


@of("57")
def test_fault_57_empty_maps(payload: bytes, text: str) -> None:
    assert_malformed(payload, text)


@of("58")
def test_fault_58_ext_types_and_timestamps(payload: bytes, text: str) -> None:
    assert_malformed(payload, text)


@of("59")
def test_fault_59_keys_and_texts(payload: bytes, text: str) -> None:
    assert_malformed(payload, text)


def test_a_payload_one_byte_over_the_limit_is_refused_for_its_size() -> None:
    body = encoding.encode({"a": b""})
    largest = encoding.encode({"a": bytes(encoding.MAX_PAYLOAD - len(body) - 3)})  # 3: bin 32's longer length
    assert len(encoding.decode(largest)["a"]) == len(largest) - len(body) - 3
    assert len(largest) == encoding.MAX_PAYLOAD
    error = refusal(encoding.encode({"a": bytes(encoding.MAX_PAYLOAD - len(body) - 2)}))
    assert error.reason is Reason.OVERSIZE
    assert_tells(str(error), "131073", "131072")


@pytest.mark.parametrize("case", [case for case in FAULTS if case[:2] in ("55", "56", "57")])
def test_fault_57_a_bomb_is_refused_before_anything_is_allocated(case: str) -> None:
    """Without the first pass msgpack takes 62 MB for the empty maps and 80 MB for 5 kB of nested arrays."""
    assert peak_bytes(FAULTS[case][0], max_bytes=300_000_000) < 100_000


def test_fault_57_nested_headers_that_announce_long_arrays_allocate_nothing() -> None:
    assert peak_bytes(b"\xdc\xff\xff" * 30_000, encoding.MAX_PAYLOAD) < 100_000


def test_the_richest_message_that_is_allowed_costs_a_bounded_sum() -> None:
    """65,535 distinct keys and values, 600 kB: 11 MB for texts, pairs and numbers, and 5 MB for the map.

    Keys are interned: where the interpreter's table of all such texts happens to grow by them, it is moved.
    """
    pairs = b"".join(b"\xa5%05x\xcd\x7f\xff" % i for i in range(encoding.MAX_LENGTH - 1))
    assert peak_bytes(b"\xde\xff\xff" + pairs, max_bytes=300_000_000) < 40_000_000


def test_a_big_body_is_copied_once() -> None:
    payload = encoding.encode({"body": bytes(20_000_000)})
    assert peak_bytes(payload, max_bytes=300_000_000) < 1.01 * len(payload)


@pytest.mark.parametrize("name_count", [1, 65_536])
def test_lists_as_long_as_ours_pass(name_count: int) -> None:
    names = [f"c{i}" for i in range(name_count)]
    fields = {"features": names, "classes": names, "rest": list(range(3_000))}
    assert encoding.decode(encoding.encode(fields), max_bytes=10_000_000) == fields


def test_the_deepest_nesting_allowed_passes() -> None:
    assert encoding.decode(nested(encoding.MAX_DEPTH - 1)) == {"a": [[[[[[[]]]]]]]}


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, {1, 2}, 1j, object(), "\ud800", np.float32(1)])
def test_what_the_wire_cannot_carry_is_not_written(value: object) -> None:
    with pytest.raises(ProtocolError):
        encoding.encode({"a": value})


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=20)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=20)
    ),
    max_leaves=15,
).filter(lambda value: depth(value) < encoding.MAX_DEPTH)


def depth(value: object) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@settings(max_examples=60)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), plain, max_size=8))
def test_what_was_written_is_read(fields: dict[str, object]) -> None:
    payload = encoding.encode(fields)
    assert encoding.decode(payload) == fields
    assert encoding.decode(bytearray(payload)) == encoding.decode(memoryview(payload)) == fields


@given(st.binary(max_size=200))
def test_random_bytes_raise_only_protocol_errors(payload: bytes) -> None:
    try:
        fields = encoding.decode(payload)
    except ProtocolError:
        return
    assert isinstance(fields, dict)


@given(st.binary(max_size=40))
def test_what_passes_the_structure_is_what_msgpack_reads(tail: bytes) -> None:
    """The first pass and the decoder agree on where a message ends: no plain msgpack map is refused."""
    payload = b"\x81\xa1a" + tail
    try:
        expected = msgpack.unpackb(payload)
    except ValueError:
        with pytest.raises(ProtocolError):
            encoding.decode(payload)
        return
    try:
        assert repr(encoding.decode(payload)) == repr(expected)
    except ProtocolError as error:
        assert any(word in str(error) for word in ("extension", "twice", "bytes, not text"))  # noqa: PT017
