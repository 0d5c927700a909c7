"""Cases 54–67 on a device's update topic: what a refusal costs the aggregator, beside a valid update.

Each hostile payload is about as long as one may be, and goes the way that every update goes: frame, core,
update, admission. It is refused with its reason, in at most five times the CPU time of a valid update of the
same length, and at its peak takes at most four times the largest payload in memory.

`tests.test_hostile_cost_device` does the same on the topics that a device reads. Where the device of a
certificate is not that of the topic (case 63), the broker takes no message, and the aggregator hears of
nothing: `tests/system/test_access_matrix.py`.
"""

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest

from fedge.nn.spec import Dense, NetworkSpec, ReLU
from fedge.wire import encoding
from fedge.wire.frames import split
from fedge.wire.reasons import Reason
from tests.bad_input import TASK
from tests.test_bad_updates import STATE, said_of
from tests.test_bad_updates import framed as framed_small

HIDDEN = 6_000
WEIGHTS = 2 * HIDDEN + HIDDEN + HIDDEN * 2 + 2
"""30,002: the weights and biases of two inputs, 6,000 hidden units and two outputs."""
FULL = 4 * WEIGHTS
"""Bytes of the body of a valid update. In its frame it is just short of the largest payload."""
NETWORK = NetworkSpec(inputs=2, layers=(Dense(units=HIDDEN), ReLU(), Dense(units=2)), loss="cross-entropy")
LARGE = replace(STATE, weights=WEIGHTS, task_message=TASK.model_copy(update={"network": NETWORK}))
SLOWER, LARGER = 5, 4
REPETITIONS, ROUNDS = 20, 5


def vector(last: float = 0.0) -> bytes:
    """A body that is right up to its last weight."""
    weights = np.zeros(WEIGHTS, "<f4")
    weights[-1] = last
    return weights.tobytes()


def framed(**changes: Any) -> bytes:
    """A valid update but for these changes, in its frame."""
    return framed_small(**{"body": vector(), **changes})


def frame(**changes: Any) -> bytes:
    """The frame of a valid update, with changes of its own."""
    return encoding.encode({**encoding.decode(framed()), **changes})


def one_more(fields: bytes, value: bytes) -> bytes:
    """A map with one more field, which has these bytes as its value."""
    if fields[0] == 0xDE:  # a map with 16 bits for its length
        head, fields = fields[:1] + (int.from_bytes(fields[1:3]) + 1).to_bytes(2), fields[3:]
    else:
        assert 0x80 <= fields[0] < 0x8F
        head, fields = bytes([fields[0] + 1]), fields[1:]
    return head + fields + b"\xa5extra" + value


def with_raw(value: bytes) -> bytes:
    """A frame that has one more field."""
    return one_more(frame(data=b"."), value)


def in_update(value: bytes) -> bytes:
    """An update that has one more field, in its frame."""
    small = encoding.decode(framed(body=b""))["data"]
    return split(one_more(small, value))[0]


def ones(count: int) -> bytes:
    """An array of one-byte numbers: the most values in the fewest bytes."""
    return b"\xdd" + count.to_bytes(4, "big") + b"\x01" * count


CASES: dict[str, tuple[bytes, Reason]] = {
    "54_cut_short": (framed()[:-1], Reason.MALFORMED),
    "54_trailing_bytes": (framed() + bytes(9_000), Reason.MALFORMED),
    "55_bytes_of_2_32": (with_raw(b"\xc6\xff\xff\xff\xff" + bytes(FULL)), Reason.MALFORMED),
    "55_array_of_2_32": (with_raw(b"\xdd\xff\xff\xff\xff" + bytes(FULL)), Reason.MALFORMED),
    "55_map_of_2_32_in_the_update": (in_update(b"\xdf\xff\xff\xff\xff" + bytes(FULL)), Reason.MALFORMED),
    "56_nested_100000_deep": (with_raw(b"\x91" * 100_000 + b"\x90"), Reason.MALFORMED),
    "56_nested_in_the_update": (in_update(b"\x91" * 100_000 + b"\x90"), Reason.MALFORMED),
    "57_empty_maps": (with_raw(b"\xdc\xff\xff" + b"\x80" * 65_535), Reason.MALFORMED),
    "57_small_values": (with_raw(b"\x92" + 2 * ones(60_000)), Reason.MALFORMED),
    "57_small_values_in_the_update": (in_update(b"\x92" + 2 * ones(60_000)), Reason.MALFORMED),
    "58_extension": (with_raw(msgpack.packb(msgpack.ExtType(5, bytes(FULL)))), Reason.MALFORMED),
    "58_timestamps": (with_raw(b"\xdc\x40\x00" + b"\xd6\xff\0\0\0\1" * 16_384), Reason.MALFORMED),
    "59_duplicate_keys": (with_raw(b"\xdf\x00\x00\x80\x00" + b"\xa1a\x01" * 32_768), Reason.MALFORMED),
    "59_integer_keys": (with_raw(b"\xdf\x00\x00\xc0\x00" + b"\x01\x02" * 49_152), Reason.MALFORMED),
    "59_bad_utf_8": (with_raw(b"\xda\xff\xff" + b"\xff" * 65_535), Reason.MALFORMED),
    "60_another_length": (framed(body=bytes(FULL + 4)), Reason.WRONG_LENGTH),
    "60_a_weight_missing": (framed(body=bytes(FULL - 4)), Reason.WRONG_LENGTH),
    "60_another_codec": (framed(codec=">f4"), Reason.MALFORMED),
    "60_a_list_of_numbers": (framed(body=[0.5] * 13_000), Reason.MALFORMED),
    "61_nan": (framed(body=vector(np.nan)), Reason.NOT_FINITE),
    "61_infinite": (framed(body=vector(np.inf)), Reason.NOT_FINITE),
    "61_minus_infinite": (framed(body=vector(-np.inf)), Reason.NOT_FINITE),
    "62_no_sample": (framed(samples=0), Reason.BAD_SAMPLE_COUNT),
    "62_fewer_than_none": (framed(samples=-1), Reason.BAD_SAMPLE_COUNT),
    "62_nan": (framed(samples=float("nan")), Reason.MALFORMED),
    "62_true": (framed(samples=True), Reason.MALFORMED),
    "62_2_63": (framed(samples=2**63), Reason.BAD_SAMPLE_COUNT),
    "62_1000_times_the_bound": (framed(samples=1_000_000), Reason.BAD_SAMPLE_COUNT),
    "63_another_device": (framed(device="pi-2"), Reason.FOREIGN_DEVICE),
    "64_plus": (framed(device="+"), Reason.MALFORMED),
    "64_hash": (framed(device="#"), Reason.MALFORMED),
    "64_slash": (framed(device="pi/1"), Reason.MALFORMED),
    "65_few_bytes_for_many": (framed(body=bytes(8), padding=bytes(FULL)), Reason.WRONG_LENGTH),
    "66_beyond_the_last": (frame(i=3, data=bytes(FULL)), Reason.MALFORMED),
    "66_a_digest_of_other_bytes": (frame(id=b"z" * 32, data=bytes(FULL)), Reason.MALFORMED),
    "66_no_cut_gives_this": (frame(n=4_000, size=8_000, data=bytes(FULL)), Reason.MALFORMED),
    "66_endless": (frame(n=2**31, size=2**31, data=bytes(FULL)), Reason.MALFORMED),
    "67_version_2": (frame(v=2, data=bytes(FULL)), Reason.UNKNOWN_VERSION),
    "67_version_2_in_the_frame": (framed(v=2), Reason.UNKNOWN_VERSION),
    "67_a_text_for_a_version": (frame(v="x" * 65_000, data=b"."), Reason.MALFORMED),
}


def of(number: str) -> Callable[..., Any]:
    chosen = {name.removeprefix(f"{number}_"): row for name, row in CASES.items() if name[:2] == number}
    return pytest.mark.parametrize(("payload", "reason"), chosen.values(), ids=chosen)


def seconds(payload: bytes) -> float:
    """The CPU time of one message on its way."""
    began = time.process_time_ns()
    said_of(payload, LARGE)
    return (time.process_time_ns() - began) / 1e9


def ratio(hostile_s: Callable[[], float], valid_s: Callable[[], float]) -> float:
    """The time of a hostile message as a multiple of a valid one's.

    Both are measured by turns, and the least of each counts. On a busy machine it is measured longer.
    """
    pairs: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        pairs += [(hostile_s(), valid_s()) for _ in range(REPETITIONS)]
        slow, fast = map(min, zip(*pairs, strict=True))
        if slow <= SLOWER * fast:
            break
    return slow / fast


def assert_refused_cheaply(payload: bytes, reason: Reason) -> None:
    assert FULL // 2 < len(payload) <= encoding.MAX_PAYLOAD
    receipt, _ = said_of(payload, LARGE)
    assert (receipt.verdict, receipt.reason) == ("refused", reason)

    tracemalloc.start()
    try:
        said_of(payload, LARGE)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= LARGER * encoding.MAX_PAYLOAD

    assert ratio(lambda: seconds(payload), lambda: seconds(VALID)) <= SLOWER


VALID = framed()


def test_the_update_that_they_are_compared_with_is_admitted() -> None:
    receipt, said = said_of(VALID, LARGE)
    assert (receipt.verdict, said) == ("admitted", "")
    assert FULL < len(VALID) <= encoding.MAX_PAYLOAD


@of("54")
def test_fault_54_missing_or_trailing_bytes_cost_little(payload: bytes, reason: Reason) -> None:
    assert_refused_cheaply(payload, reason)


@of("55")
def test_fault_55_lengths_of_2_32_cost_little(payload: bytes, reason: Reason) -> None:
    assert_refused_cheaply(payload, reason)


@of("56")
def test_fault_56_nesting_cost_little(payload: bytes, reason: Reason) -> None:
    assert_refused_cheaply(payload, reason)


@of("57")
def test_fault_57_many_small_values_cost_little(payload: bytes, reason: Reason) -> None:
    assert_refused_cheaply(payload, reason)


@of("58")
def test_fault_58_extensions_cost_little(payload: bytes, reason: Reason) -> None:
    assert_refused_cheaply(payload, reason)


@of("59")
def test_fault_59_keys_and_texts_cost_little(payload: bytes, reason: Reason) -> None:
    assert_refused_cheaply(payload, reason)


@of("60")
def test_fault_60_vectors_of_another_shape_cost_little(payload: bytes, reason: Reason) -> None:
    assert_refused_cheaply(payload, reason)


@of("61")
def test_fault_61_numbers_that_are_not_finite_cost_little(payload: bytes, reason: Reason) -> None:
    assert_refused_cheaply(payload, reason)


@of("62")
def test_fault_62_sample_counts_cost_little(payload: bytes, reason: Reason) -> None:
    assert_refused_cheaply(payload, reason)


@of("63")
def test_fault_63_the_name_of_another_device_cost_little(payload: bytes, reason: Reason) -> None:
    assert_refused_cheaply(payload, reason)


@of("64")
def test_fault_64_names_that_mean_something_in_a_topic_cost_little(payload: bytes, reason: Reason) -> None:
    assert_refused_cheaply(payload, reason)


@of("65")
def test_fault_65_few_bytes_for_many_cost_little(payload: bytes, reason: Reason) -> None:
    assert_refused_cheaply(payload, reason)


@of("66")
def test_fault_66_frames_that_cannot_be_cost_little(payload: bytes, reason: Reason) -> None:
    assert_refused_cheaply(payload, reason)


@of("67")
def test_fault_67_unknown_versions_cost_little(payload: bytes, reason: Reason) -> None:
    assert_refused_cheaply(payload, reason)
