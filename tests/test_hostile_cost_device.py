"""Cases 54–67 on the topics that a device reads: what a refusal costs it, beside a valid frame of a model.

As `tests.test_hostile_cost` does for the aggregator: each hostile payload is about as long as one may be. It
is refused with its reason, in at most five times the CPU time of a valid frame of the same length, and takes
at its peak at most four times the largest payload in memory.
"""

import time
import tracemalloc
from typing import Any

import msgpack
import pytest

from fedge.transport import MessageArrived
from fedge.wire import encoding
from fedge.wire.frames import split
from fedge.wire.messages.envelope import Signed
from fedge.wire.messages.frame import Blob, Frame
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import Message, pack
from fedge.wire.messages.model import Model
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.status import Status
from fedge.wire.reasons import Reason
from tests.agent.lifecycle.stories import manifest
from tests.bad_input import TASK as TASK_MESSAGE
from tests.fuzz.receivers import MODEL, RECEIPT, ROUND, STATUS, TASK, Agent
from tests.test_hostile_cost import LARGER, SLOWER, WEIGHTS, one_more, ones, ratio

FULL = 4 * WEIGHTS
LEARNT = pack(Model(generation=1, round=1, body=bytes(FULL)))


def blob(message: bytes) -> Blob:
    pieces = split(message)
    return Blob(digest=pieces.id, slot=0, frames=len(pieces), size=len(message))


MANIFEST = manifest(2, task=blob(pack(TASK_MESSAGE)), model=blob(LEARNT))
VALID = split(LEARNT)[0]
ANNOUNCED = pack(Signed(body=pack(MANIFEST)))
MESSAGES: dict[bytes, Message] = {
    MODEL: Frame(id=blob(LEARNT).digest, i=0, n=1, size=len(LEARNT), data=b"."),
    ROUND: Signed(body=pack(MANIFEST)),
    RECEIPT: Receipt(generation=1, round=1, update=bytes(32), verdict="admitted"),
    STATUS: Status(online=True, boot=bytes(16), connection=1, version="0"),
}
TOPICS = {MODEL: "model", ROUND: "round", RECEIPT: "receipt", STATUS: "status"}

FIELDS: dict[str, bytes] = {
    "55_bytes_of_2_32": b"\xc6\xff\xff\xff\xff" + bytes(FULL),
    "55_array_of_2_32": b"\xdd\xff\xff\xff\xff" + bytes(FULL),
    "55_map_of_2_32": b"\xdf\xff\xff\xff\xff" + bytes(FULL),
    "56_nested": b"\x91" * 100_000 + b"\x90",
    "57_empty_maps": b"\xdc\xff\xff" + b"\x80" * 65_535,
    "57_small_values": b"\x92" + 2 * ones(60_000),
    "58_extension": msgpack.packb(msgpack.ExtType(5, bytes(FULL))),
    "58_timestamps": b"\xdc\x40\x00" + b"\xd6\xff\0\0\0\1" * 16_384,
    "59_duplicate_keys": b"\xdf\x00\x00\x80\x00" + b"\xa1a\x01" * 32_768,
    "59_integer_keys": b"\xdf\x00\x00\xc0\x00" + b"\x01\x02" * 49_152,
    "59_bad_utf_8": b"\xda\xff\xff" + b"\xff" * 65_535,
}


def frame(**changes: Any) -> bytes:
    """The valid frame, with changes of its own."""
    return encoding.encode({**encoding.decode(VALID), **changes})


def sealed(fields: bytes) -> bytes:
    """An announcement with this manifest."""
    return pack(Signed(body=fields))


def as_many_as_allowed(message: type[Message]) -> bytes:
    """Small values, as many as a message of this kind may have, behind a long one; the last one is wrong."""
    number = message.MAX_VALUES - 64
    long = b"\xc6" + FULL.to_bytes(4) + bytes(FULL)
    return b"\x92" + long + b"\xdc" + number.to_bytes(2) + b"\xa0" * (number - 1) + b"\xc1"


CASES: dict[str, tuple[bytes, bytes, Reason]] = {
    **{
        f"{name}_in_{TOPICS[topic]}": (topic, one_more(pack(message), value), Reason.MALFORMED)
        for name, value in FIELDS.items()
        for topic, message in MESSAGES.items()
    },
    **{
        f"{name}_in_manifest": (ROUND, sealed(one_more(pack(MANIFEST), value)), Reason.MALFORMED)
        for name, value in FIELDS.items()
    },
    **{
        f"57_as_many_as_allowed_in_{TOPICS[topic]}": (
            topic,
            one_more(pack(message), as_many_as_allowed(type(message))),
            Reason.MALFORMED,
        )
        for topic, message in MESSAGES.items()
    },
    "57_as_many_as_allowed_in_manifest": (
        ROUND,
        sealed(one_more(pack(MANIFEST), as_many_as_allowed(Manifest))),
        Reason.MALFORMED,
    ),
    "54_cut_short": (MODEL, VALID[:-1], Reason.MALFORMED),
    "54_trailing_bytes": (MODEL, VALID + bytes(9_000), Reason.MALFORMED),
    "66_beyond_the_last": (MODEL, frame(i=3), Reason.MALFORMED),
    "66_no_cut_gives_this": (MODEL, frame(n=4_000, size=8_000), Reason.MALFORMED),
    "66_endless": (MODEL, frame(n=2**31, size=2**31), Reason.MALFORMED),
    "66_other_bytes_than_announced": (MODEL, frame(data=bytes(len(LEARNT))), Reason.MALFORMED),
    "67_version_2": (MODEL, frame(v=2), Reason.UNKNOWN_VERSION),
    "67_version_2_of_a_manifest": (
        ROUND,
        sealed(encoding.encode({**encoding.decode(pack(MANIFEST)), "v": 2, "more": bytes(FULL)})),
        Reason.UNKNOWN_VERSION,
    ),
}


def heard(topic: bytes, payload: bytes) -> tuple[set[str], float]:
    """What a device that waits for the model does with a message, and the CPU time in seconds."""
    device = Agent()
    for before, said in ((ROUND, ANNOUNCED), (TASK, split(pack(TASK_MESSAGE))[0])):
        device.hear(MessageArrived(before.decode(), said, False, None, 1, 1))
    device.outcomes.clear()
    message = MessageArrived(topic.decode(), payload, False, None, 1, 1)
    began = time.process_time_ns()
    device.hear(message)
    return device.outcomes, (time.process_time_ns() - began) / 1e9


def assert_cheap(topic: bytes, payload: bytes) -> None:
    assert FULL // 2 < len(payload) <= encoding.MAX_PAYLOAD
    tracemalloc.start()
    try:
        heard(topic, payload)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= LARGER * encoding.MAX_PAYLOAD

    assert ratio(lambda: heard(topic, payload)[1], lambda: heard(MODEL, VALID)[1]) <= SLOWER


def test_the_frame_that_they_are_compared_with_completes_the_model() -> None:
    outcomes, _ = heard(MODEL, VALID)
    assert "StartWork" in outcomes
    assert FULL < len(VALID) <= encoding.MAX_PAYLOAD


@pytest.mark.parametrize(("topic", "payload", "reason"), CASES.values(), ids=CASES)
def test_a_device_refuses_cheaply(topic: bytes, payload: bytes, reason: Reason) -> None:
    assert heard(topic, payload)[0] == {f"agent {reason}"}
    assert_cheap(topic, payload)


@pytest.mark.parametrize("value", FIELDS.values(), ids=FIELDS)
def test_a_model_that_is_announced_and_hostile_costs_little_too(value: bytes) -> None:
    """Its digest is right, so it is read, once. The device takes no part in the round."""
    hostile = one_more(pack(Model(generation=1, round=1, body=bytes(16))), value)
    announcement = pack(Signed(body=pack(MANIFEST.model_copy(update={"model": blob(hostile)}))))
    device = Agent()
    pieces = [(MODEL, piece) for piece in split(hostile)]
    for topic, said in ((ROUND, announcement), (TASK, split(pack(TASK_MESSAGE))[0]), *pieces):
        device.hear(MessageArrived(topic.decode(), said, False, None, 1, 1))
    assert "StartWork" not in device.outcomes
    assert "model:unreadable" in str(device.state)
