"""The messages of secure aggregation come back as they were, and nothing beyond their limits is read."""

import pytest

from benchmarks.masked_cohort import Cohort, carried, terms_of
from fedge.errors import ProtocolError
from fedge.masking.messages import (
    Advertise,
    Agreement,
    Consistency,
    Delivery,
    MaskedInput,
    MaskingMessage,
    Roster,
    Share,
    Survivors,
    Terms,
    Unmask,
)
from fedge.wire.messages.message import pack, unpack

KIND = (Advertise, Roster, Share, Delivery, MaskedInput, Survivors, Consistency, Agreement, Unmask)


def every() -> dict[type[MaskingMessage], MaskingMessage]:
    """One of each kind, from an attempt."""
    found: dict[type[MaskingMessage], MaskingMessage] = {}

    class Kept(Cohort):
        def changed(self, to: str, message: MaskingMessage) -> MaskingMessage:
            found[type(message)] = message
            return message

    cohort = Kept(terms_of(4))
    cohort.run()
    found |= {type(message): message for message in cohort.seen.values()}
    assert found.keys() == set(KIND)
    return found


def test_each_message_comes_back() -> None:
    for message in every().values():
        assert carried(message) == message
    assert unpack(pack(terms_of(1_000)), Terms) == terms_of(1_000)


def test_a_field_that_is_missing_or_too_long_is_refused() -> None:
    for kind, message in every().items():
        for name, value in message.model_dump().items():
            for other in (None, value + type(value)(b"x" if isinstance(value, bytes) else "x") * 100_001):
                fields = {**message.model_dump(), name: other}
                longest = isinstance(message, MaskedInput) and name == "values" and other is not None
                if longest:
                    continue  # as long as any update; the server asks for its exact length
                with pytest.raises(ProtocolError):
                    unpack(pack(kind.model_construct(**fields)), kind, max_bytes=2**21)


@pytest.mark.parametrize(
    "changes",
    [
        {"cohort": ("a", "b")},
        {"cohort": ("b", "a", "c")},
        {"cohort": ("a", "a", "b")},
        {"cohort": tuple(f"d{at:04d}" for at in range(1_001))},
        {"federation": "Pumps"},
        {"base": b"short"},
        {"value_bits": 17},
        {"value_bits": 1},
        {"clip": 0.0},
        {"clip": float("inf")},
        {"max_weight": 0},
        {"threshold": 1},
        {"size": 0},
        {"attempt": -1},
        {"server": "none"},
    ],
)
def test_terms_that_cannot_be(changes: dict[str, object]) -> None:
    fields = {**terms_of(3).model_dump(), **changes}
    with pytest.raises(ProtocolError):
        unpack(pack(Terms.model_construct(**fields)), Terms)
