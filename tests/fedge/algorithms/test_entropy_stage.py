"""The entropy stage of codecs: what it adds, and that no bytes make it take more memory than a vector."""

import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedge.algorithms.codecs.entropy import restored, shortened
from fedge.algorithms.registry import CODECS
from fedge.errors import ProtocolError
from fedge.testing import check_codec
from fedge.wire.reasons import Reason

NAMES = ("float16", "int8", "int4", "topk")
ZLIB = {"entropy": "zlib"}


def deflated(body: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(body) + stream.flush()


@pytest.mark.parametrize("name", NAMES)
def test_the_laws_hold_with_the_stage(name: str) -> None:
    check_codec(CODECS.entries()[name], ZLIB)


@given(st.binary(max_size=3_000) | st.builds(lambda b, n: b * n, st.binary(max_size=3), st.integers(0, 900)))
def test_bytes_come_back_and_are_longer_by_one_at_most(body: bytes) -> None:
    found = shortened(body, "zlib")
    assert restored(found, "zlib", len(body)) == body
    assert len(found) <= 1 + len(body)
    assert shortened(body, "none") == restored(body, "none", 0) == body


def test_what_does_not_become_shorter_stands_there_as_it_is() -> None:
    drawn = np.random.default_rng(0).bytes(1_000)
    assert shortened(drawn, "zlib") == b"\0" + drawn
    assert shortened(bytes(1_000), "zlib")[:1] == b"\1"
    assert len(shortened(bytes(1_000), "zlib")) < 30


@pytest.mark.parametrize("name", NAMES)
def test_the_vector_is_the_one_without_the_stage(name: str) -> None:
    """Changes that are 0 in most places, as where no row reaches a weight: the bytes are fewer."""
    plain, coded = CODECS.make(name), CODECS.make(name, ZLIB)
    given = np.zeros(20_000, np.float32)
    given[::9] = np.random.default_rng(1).normal(size=len(given[::9]))
    bodies = [codec.encode(given, codec.init(20_000), 3)[0] for codec in (plain, coded)]
    assert len(bodies[1]) < len(bodies[0])
    found = [codec.decode(body, 20_000, 3) for codec, body in zip((plain, coded), bodies, strict=True)]
    assert np.array_equal(*found)
    assert coded.max_bytes(20_000) == plain.max_bytes(20_000) + 1


BROKEN: dict[str, tuple[bytes, Reason]] = {
    "nothing": (b"", Reason.MALFORMED),
    "another first byte": (b"\2" + bytes(104), Reason.MALFORMED),
    "no stream": (b"\1" + b"\xff" * 50, Reason.MALFORMED),
    "cut": (b"\1" + deflated(bytes(104))[:-1], Reason.MALFORMED),
    "more behind it": (b"\1" + deflated(bytes(104)) + b"\0", Reason.MALFORMED),
    "a byte too many in it": (b"\1" + deflated(bytes(105)), Reason.WRONG_LENGTH),
    "a byte too few in it": (b"\1" + deflated(bytes(103)), Reason.WRONG_LENGTH),
    "a byte too many": (b"\0" + bytes(105), Reason.WRONG_LENGTH),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_encode_cannot_have_made_is_refused(case: str) -> None:
    """int8 has 104 bytes for 100 entries."""
    body, reason = BROKEN[case]
    with pytest.raises(ProtocolError) as caught:
        CODECS.make("int8", ZLIB).decode(body, 100, 0)
    assert caught.value.reason is reason


@pytest.mark.parametrize("name", NAMES)
def test_few_bytes_that_would_become_many_are_refused_before_they_do(name: str) -> None:
    """Zeros are deflated to about a thousandth: 32 MB in 32 KB, for a vector of 1,000 entries."""
    bomb = b"\1" + deflated(bytes(32_000_000))
    codec: Any = CODECS.make(name, ZLIB)
    assert len(bomb) < 40_000
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError) as caught:
            codec.decode(bomb, 1_000, 0)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()
    assert caught.value.reason is Reason.WRONG_LENGTH
