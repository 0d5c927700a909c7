"""The short ways to read an update and to write a receipt: they come to the same as the long ones."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedge.errors import ProtocolError
from fedge.wire import encoding
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.receipt import Receipt, pack_receipt
from fedge.wire.messages.update import MOST_METRICS, Update, unpack_update
from tests.fedge.message_strategies import STRATEGIES

USUAL: dict[str, Any] = {
    "generation": 1,
    "round": 2,
    "base": b"b" * 32,
    "device": "pi-1",
    "samples": 3,
    "steps": 4,
    "kind": "weights",
    "codec": "float32",
    "body": b"1234",
    "metrics": {"loss": 1.0},
}
PROPERTY = settings(deadline=None, max_examples=300)


def the_long_way(payload: bytes) -> Update | None:
    try:
        return unpack(payload, Update)
    except ProtocolError:
        return None


@PROPERTY
@given(STRATEGIES[Update])
def test_every_update_is_read_in_the_short_way_as_in_the_long_one(update: Update) -> None:
    found = unpack_update(pack(update))
    assert found in (update, None)
    short = update.vectors is None and update.cluster is None and 0 <= update.samples < 2**32
    assert (found is not None) == (short and update.steps < 2**32)


@PROPERTY
@given(STRATEGIES[Receipt], st.booleans())
def test_a_receipt_is_written_in_the_short_way_as_in_the_long_one(receipt: Receipt, bare: bool) -> None:
    if bare:
        receipt = Receipt(
            generation=receipt.generation, round=receipt.round, update=receipt.update, verdict="admitted"
        )
    assert pack_receipt(receipt) == pack(receipt)


@PROPERTY
@given(
    STRATEGIES[Update],
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=2),
    st.integers(-3, 3),
)
def test_a_changed_byte_is_judged_in_the_short_way_as_in_the_long_one(
    update: Update, changes: list[tuple[int, int]], longer: int
) -> None:
    payload = bytearray(pack(update.model_copy(update={"vectors": None, "cluster": None})))
    for at, value in changes:
        payload[at % len(payload)] = value
    packed = bytes(payload[:longer] if longer < 0 else payload + bytes(longer))
    assert unpack_update(packed) in (the_long_way(packed), None)


def test_each_byte_is_judged_in_the_short_way_as_in_the_long_one() -> None:
    payload = pack(Update(**USUAL))
    for at in range(len(payload)):
        for value in range(256):
            packed = payload[:at] + bytes([value]) + payload[at + 1 :]
            found = unpack_update(packed)
            assert found is None or found == the_long_way(packed), (at, value)


@pytest.mark.parametrize(
    "change",
    [
        {"samples": 2**40},
        {"samples": -1},
        {"generation": 0},
        {"base": b"short"},
        {"device": "Not-A-Device"},
        {"device": "a" * 40},
        {"kind": "K"},
        {"body": "text"},
        {"metrics": {"Loss": 1.0}},
        {"metrics": {"loss": float("nan")}},
        {"metrics": {"loss": "high"}},
        {"metrics": {f"m{number}": 1.0 for number in range(33)}},
        {"metrics": [["loss", 1.0]]},
        {"metrics": {"loss": {"loss": 1.0}}},
        {"metrics": {"x" * MOST_METRICS: 1.0}},
    ],
    ids=repr,
)
def test_what_is_unusual_is_left_to_the_long_way(change: dict[str, object]) -> None:
    usual = {"v": 1, "type": "update", **USUAL}
    assert unpack_update(encoding.encode(usual)) is not None
    assert unpack_update(encoding.encode(usual | change)) is None
    twice = (
        encoding.encode(usual).replace(b"\x81\xa4loss", b"\x82\xa4loss") + encoding.encode({"loss": 1})[1:]
    )
    assert unpack_update(twice) is None
