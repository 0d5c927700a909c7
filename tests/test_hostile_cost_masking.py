"""What a refusal costs in secure aggregation, beside a valid message of the same kind and length.

As `tests.test_hostile_cost`: it is refused with its reason, in at most five times the CPU time of the valid
one, and takes at its peak at most four times the largest payload in memory.
"""

import time
import tracemalloc
from functools import cache
from typing import Any

import msgpack
import pytest

from fedge.masking.round_messages import Call
from fedge.transport import MessageArrived
from fedge.wire import encoding
from fedge.wire.frames import split
from fedge.wire.messages.kinds import KINDS
from fedge.wire.messages.message import unpack
from tests.fuzz import masked
from tests.fuzz.receivers import RECEIPT, UPDATE, Agent, Aggregator
from tests.test_hostile_cost import LARGER, SLOWER, one_more, ones, ratio

WEIGHTS = 60_000
"""Two bytes each, so a masked update is just short of the largest payload."""
LONG = bytes(120_000)
INPUT = 2
"""The phase of masked updates."""

FIELDS: dict[str, bytes] = {
    "55_bytes_of_2_32": b"\xc6\xff\xff\xff\xff" + LONG,
    "55_array_of_2_32": b"\xdd\xff\xff\xff\xff" + LONG,
    "56_nested": b"\x91" * 100_000 + b"\x90",
    "57_empty_maps": b"\xdc\xff\xff" + b"\x80" * 65_535,
    "57_small_values": b"\x92" + 2 * ones(55_000),
    "57_as_many_as_allowed": b"\x92\xc6" + (115_000).to_bytes(4) + bytes(115_000) + b"\x93\xa0\xa0\xc1",
    "58_extension": msgpack.packb(msgpack.ExtType(5, LONG)),
    "59_duplicate_keys": b"\xdf\x00\x00\x70\x00" + b"\xa1a\x01" * 28_672,
    "59_bad_utf_8": b"\xda\xff\xff" + b"\xff" * 65_535,
}
WRONG: dict[str, dict[str, Any]] = {
    "another_attempt": {"terms": bytes(32)},
    "another_device": {"device": "pi-2"},
    "no_device": {"device": "pi/1"},
    "another_signature": {"signature": bytes(64)},
    "a_longer_list": {"sealed": bytes(1_000), "shares": bytes(1_000), "values": LONG + b"0"},
    "no_list": {"sealed": b"", "shares": b"", "values": b""},
    "version_2": {"v": 2},
}
KIND = ("masking_advertise", "masking_share", "masking_input", "masking_consistency", "masking_unmask")


WRONG_CASES = {
    f"{name}_{kind}": (phase, fields)
    for phase, kind in enumerate(KIND)
    for name, fields in WRONG.items()
    if fields.keys() & {"v", *KINDS[kind].model_fields}
}
"""Those with a field that the kind has."""


def small(phase: int) -> masked.Waiting:
    return masked.aggregators()[phase]


@cache
def large() -> masked.Waiting:
    return masked.aggregators(WEIGHTS)[INPUT]


def heard(waiting: masked.Waiting, message: bytes) -> tuple[set[str], float]:
    """What an aggregator that waits for all devices does with a message, and the CPU time in seconds."""
    aggregator = Aggregator(masked.FIRST)
    aggregator.state = waiting.early
    arrived = [MessageArrived(UPDATE.decode(), piece, False, None, 1, 1) for piece in split(message)]
    began = time.process_time_ns()
    for each in arrived:
        aggregator.hear(each)
    return aggregator.outcomes, (time.process_time_ns() - began) / 1e9


def told(phase: int, message: bytes) -> tuple[set[str], float]:
    """What a device in a phase does with a message of the server, and the CPU time in seconds."""
    agent = Agent(masked.FIRST + phase)
    arrived = [MessageArrived(RECEIPT.decode(), piece, False, None, 1, 1) for piece in split(message)]
    began = time.process_time_ns()
    for each in arrived:
        agent.hear(each)
    return agent.outcomes, (time.process_time_ns() - began) / 1e9


def peak(act: Any) -> int:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def changed(message: bytes, **fields: Any) -> bytes:
    """The message with these fields, of those that it has."""
    found = encoding.decode(message)
    return encoding.encode(found | {name: value for name, value in fields.items() if name in found})


def test_the_messages_that_they_are_compared_with_are_taken() -> None:
    assert "KeepMasking" in heard(large(), large().answer)[0]
    assert 100_000 < len(large().answer) <= encoding.MAX_PAYLOAD
    for phase, kind in enumerate(KIND):
        assert "KeepMasking" in heard(small(phase), small(phase).answer)[0]
        assert kind in told(phase, masked.devices()[phase].message)[0]


@pytest.mark.parametrize("value", FIELDS.values(), ids=FIELDS)
@pytest.mark.parametrize("phase", range(masked.PHASES), ids=KIND)
def test_a_hostile_message_of_a_device_costs_little(phase: int, value: bytes) -> None:
    """Each kind, in the attempt with a large model, where messages may be as long."""
    message = one_more(small(phase).answer, value)
    assert len(message) > 60_000
    assert heard(large(), message)[0] == {"masking malformed"}
    assert peak(lambda: heard(large(), message)) <= LARGER * encoding.MAX_PAYLOAD
    valid = large()
    assert ratio(lambda: heard(valid, message)[1], lambda: heard(valid, valid.answer)[1]) <= SLOWER


@pytest.mark.parametrize(("phase", "fields"), WRONG_CASES.values(), ids=WRONG_CASES)
def test_a_wrong_message_of_a_device_costs_little(phase: int, fields: dict[str, Any]) -> None:
    valid = large() if phase == INPUT else small(phase)
    message = changed(valid.answer, **fields)
    assert message != valid.answer
    outcomes, _ = heard(valid, message)
    assert outcomes
    assert all(each.startswith(("masking ", "refused ")) for each in outcomes), outcomes
    assert ratio(lambda: heard(valid, message)[1], lambda: heard(valid, valid.answer)[1]) <= SLOWER


@pytest.mark.parametrize("value", FIELDS.values(), ids=FIELDS)
@pytest.mark.parametrize("phase", range(masked.PHASES), ids=KIND)
def test_a_hostile_message_of_a_server_costs_little(phase: int, value: bytes) -> None:
    """Beside the phase's valid message, which is shorter: the bound is stricter than promised."""
    valid = masked.devices()[phase].message
    message = one_more(valid, value)
    assert told(phase, message)[0] == {"agent malformed"}
    assert peak(lambda: told(phase, message)) <= LARGER * encoding.MAX_PAYLOAD
    assert ratio(lambda: told(phase, message)[1], lambda: told(phase, valid)[1]) <= SLOWER


@pytest.mark.parametrize("certificates", [(b"x",) * 1_000, (b"\x30\x80" * 60,) * 1_000, ()])
def test_a_call_with_what_are_no_certificates_costs_little(certificates: tuple[bytes, ...]) -> None:
    valid = masked.devices()[0].message
    call = unpack(valid, Call)
    message = encoding.encode(
        {"v": 1, "type": Call.TYPE, "terms": call.terms, "certificates": list(certificates)}
    )
    assert told(0, message)[0] == {"objects malformed"}
    assert ratio(lambda: told(0, message)[1], lambda: told(0, valid)[1]) <= SLOWER
