"""Whatever bytes come, nothing but ProtocolError is raised."""

from collections.abc import Iterator
from typing import Any

import msgpack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedge.errors import ProtocolError
from fedge.wire.messages.message import Message, pack, unpack
from fedge.wire.reasons import Reason
from tests.fedge.message_examples import EXAMPLES, examples, kinds, payloads, refusal
from tests.fedge.message_strategies import texts


def attempt(payload: bytes, kind: type[Message]) -> None:
    """Unpack for every kind; a message that is accepted must itself be one that can be packed."""
    try:
        message = unpack(payload, kind)
    except ProtocolError:
        return
    assert unpack(pack(message), kind) == message


@kinds
@given(st.binary(max_size=100))
def test_random_bytes_raise_only_protocol_errors(kind: type[Message], payload: bytes) -> None:
    attempt(payload, kind)


@examples
@settings(max_examples=30)
@given(
    cut=st.integers(0, 600),
    removed=st.integers(0, 5),
    put=st.binary(max_size=5),
)
def test_mutated_golden_bytes_raise_only_protocol_errors(
    name: str, cut: int, removed: int, put: bytes
) -> None:
    payload = payloads[name]
    at = cut % len(payload)
    attempt(payload[:at] + put + payload[at + removed :], type(EXAMPLES[name]))


@examples
def test_fault_54_every_cut_is_refused(name: str) -> None:
    for end in range(len(payloads[name])):
        assert refusal(payloads[name][:end], type(EXAMPLES[name])).reason is Reason.MALFORMED


def paths(value: object, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from paths(part, (*at, key))


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | texts
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)


@examples
@settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data(), value=plain)
def test_any_value_in_any_place_raises_only_protocol_errors(
    name: str, data: st.DataObject, value: object
) -> None:
    fields = msgpack.unpackb(payloads[name])
    *way, last = data.draw(st.sampled_from([path for path in paths(fields) if path]))
    place = fields
    for key in way:
        place = place[key]
    place[last] = value
    attempt(msgpack.packb(fields), type(EXAMPLES[name]))
