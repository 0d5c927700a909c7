"""Big messages are cut into frames; frames that contradict themselves or others are refused."""

import hashlib
import random
import re
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fedge.errors import ProtocolError
from fedge.wire import encoding, frames
from fedge.wire.frames import FRAME_BYTES, Partial, asking
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_COUNTER, MAX_FRAMES, MAX_SIZE
from fedge.wire.messages.frame import Frame, id_of, unpack_frame
from fedge.wire.messages.message import pack, unpack
from fedge.wire.reasons import Reason, Rejection
from tests.fedge.pieces import cuts, frame_of, messages, pieces

# Reading


def judged(read: Callable[[bytes], Frame], payload: bytes) -> Frame | tuple[Reason, str]:
    try:
        return read(payload)
    except ProtocolError as error:
        return error.reason, str(error)


@given(
    st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 2, 127, 128, 255, 256, 65_535, 65_536, MAX_FRAMES]),
    st.integers(0, 2**33) | st.integers(1, 3),
    st.integers(0, 2**33) | st.integers(0, 300),
    st.sampled_from([0, 1, 200, 255, 256, 65_536, encoding.MAX_PAYLOAD - 80]),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 130), st.integers(0, 255)), max_size=2),
    st.integers(-3, 3),
)
def test_a_frame_is_judged_in_the_short_way_as_in_the_long_one(
    i: int, n: int, size: int, length: int, fits: bool, changes: list[tuple[int, int]], longer: int
) -> None:
    fields = {"id": b"d" * 32, "i": i, "n": 1 if fits else n, "size": length if fits else size}
    payload = bytearray(encoding.encode({"v": 1, "type": "frame", **fields, "data": b"\x01" * length}))
    for at, value in changes:
        if at < len(payload):
            payload[at] = value
    payload = payload[:longer] if longer < 0 else payload + bytes(longer)
    packed = bytes(payload)
    assert judged(unpack_frame, packed) == judged(lambda each: unpack(each, Frame), packed)


@given(messages, cuts)
def test_the_id_of_a_frame_is_read_without_the_rest(message: bytes, cut: int) -> None:
    for packed in frames.split(message, cut):
        frame = unpack_frame(packed)
        assert (frame, id_of(packed)) == (unpack(packed, Frame), frame.id)
        assert id_of(b"x" + packed) is None


# Sending


def test_the_largest_frame_fits_the_largest_payload() -> None:
    """With every number at its widest, so nothing on the way has to be cut again."""
    widest = Frame(id=bytes(32), i=MAX_FRAMES - 2, n=MAX_FRAMES, size=MAX_SIZE, data=bytes(FRAME_BYTES))
    packed = pack(widest)
    assert len(packed) - FRAME_BYTES == 82
    asked = asking(packed, RoundId(MAX_COUNTER, MAX_COUNTER))
    # The key asks takes 5 bytes, its map 1; generation and round 11 and 6 with 5 bytes for each number.
    assert len(asked) - len(packed) == 5 + 1 + (11 + 5) + (6 + 5)
    assert len(asked) - FRAME_BYTES == frames.FRAME_HEAD
    assert len(asked) <= encoding.MAX_PAYLOAD
    assert len(packed) <= encoding.MAX_PAYLOAD


@given(messages, cuts)
def test_a_split_holds_the_whole_message_once_in_order(message: bytes, cut: int) -> None:
    split = frames.split(message, cut)
    received = pieces(message, cut)
    assert b"".join(frame.data for frame in received) == message
    assert [frame.i for frame in received] == list(range(frames.count(len(message), cut)))
    assert {(frame.id, frame.n, frame.size) for frame in received} == {
        (hashlib.sha256(message).digest(), len(split), len(message))
    }
    assert [len(frame.data) for frame in received[:-1]] == [cut] * (len(split) - 1)


def test_single_frames_are_those_of_the_split() -> None:
    message = bytes(range(250))
    split = frames.split(message, 100)
    assert [frames.frame(message, i, 100) for i in range(3)] == list(split) == split[:]
    assert split[-1] == split[2]
    assert split.id == hashlib.sha256(message).digest()
    with pytest.raises(IndexError):
        frames.frame(message, 3, 100)


def test_one_frame_of_a_big_message_is_made_without_copying_the_rest() -> None:
    split = frames.split(bytes(20_000_000))
    tracemalloc.start()
    try:
        assert len(split[5]) > FRAME_BYTES
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("size", "frame_bytes", "n"),
    [
        (1, 10, 1),
        (10, 10, 1),
        (11, 10, 2),
        (MAX_FRAMES * 10, 10, MAX_FRAMES),
        (200_000_000, FRAME_BYTES, 1551),
    ],
)
def test_the_number_of_frames(size: int, frame_bytes: int, n: int) -> None:
    assert frames.count(size, frame_bytes) == n


@pytest.mark.parametrize(
    ("size", "frame_bytes", "text"),
    [
        (0, 10, "1 byte"),
        (10, 0, "1 byte"),
        (MAX_FRAMES * 10 + 1, 10, "4097 frames.* 10 bytes.* 4096"),
        (MAX_SIZE + 1, MAX_SIZE, "2147483647"),
    ],
)
def test_messages_that_no_frames_can_carry(size: int, frame_bytes: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        frames.count(size, frame_bytes)


@pytest.mark.parametrize(
    ("size", "room", "n"),
    [
        (300_000, 131_072, FRAME_BYTES),  # as large as frames get
        (300_000, 20_000, 20_000 - 115),
        (300_000, 0, 1_024),  # no smaller, and the transport refuses to send it
        (MAX_FRAMES * 5_000, 4_096, 5_000),  # no more frames than a message may have
    ],
)
def test_a_frame_is_as_large_as_the_limits_allow(size: int, room: int, n: int) -> None:
    assert frames.frame_bytes(size, room) == n


@given(st.integers(1, 300_000), st.integers(1_024 + frames.FRAME_HEAD, encoding.MAX_PAYLOAD))
def test_a_frame_with_a_question_fits_where_frames_fit(size: int, room: int) -> None:
    split = frames.split(bytes(size), frames.frame_bytes(size, room))
    for i in {0, len(split) - 1}:
        assert len(asking(split[i], RoundId(MAX_COUNTER, MAX_COUNTER))) <= room


# The books


@given(messages, cuts, st.randoms(use_true_random=False))
def test_the_books_know_what_is_missing_in_any_order(message: bytes, cut: int, rng: random.Random) -> None:
    arriving = pieces(message, cut) * 2
    rng.shuffle(arriving)
    partial: Partial | None = None
    seen: set[int] = set()
    for frame in arriving:
        entered = frames.offer(partial, frame)
        assert isinstance(entered, Partial)
        if frame.i in seen:
            assert entered is partial
        partial = entered
        seen.add(frame.i)
        assert set(partial.missing) == set(range(frame.n)) - seen
        assert partial.complete == (not partial.missing)
    assert partial is not None
    assert partial.complete
    assert partial.frame_bytes == (cut if partial.n > 1 else len(message))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5), st.integers(1, 20), st.integers(1, 20))))
def test_what_the_books_accept_is_one_cut_of_one_message(told: list[tuple[int, int, int, int]]) -> None:
    """Whatever frames come: those entered have the lengths of one split, so they neither overlap nor gap."""
    partial: Partial | None = None
    lengths: dict[int, int] = {}
    for i, n, size, length in told:
        if i >= n or size < n or length > size:
            continue
        entered = frames.offer(partial, frame_of(i, n, size, length))
        if isinstance(entered, Partial):
            partial = entered
            assert lengths.setdefault(i, length) == length
    if partial is not None:
        cut = [len(data) for data in split_lengths(partial.size, partial.frame_bytes)]
        assert len(cut) == partial.n
        assert all(cut[i] == length for i, length in lengths.items())
        if partial.complete:
            assert sum(lengths.values()) == partial.size


def split_lengths(size: int, frame_bytes: int) -> list[range]:
    return [range(start, min(start + frame_bytes, size)) for start in range(0, size, frame_bytes)]


FAULT_66 = {
    "too_short_for_its_place": (
        None,
        frame_of(0, 3, 25, 8),
        "frame 0 .*8 bytes.* 25 bytes.* 3",
    ),
    "too_long_for_its_place": (None, frame_of(1, 3, 25, 13), "frame 1 .*13 bytes"),
    "longer_last_frame": (None, frame_of(2, 3, 25, 9), "frame 2 .*9 bytes"),
    "last_frame_that_no_cut_gives": (None, frame_of(2, 3, 25, 4), "frame 2 .*4 bytes"),
    "only_frame_too_short": (None, frame_of(0, 1, 25, 24), "frame 0 .*24 bytes"),
    "overlapping": (frame_of(0, 3, 25, 10), frame_of(1, 3, 25, 9), "3 frames of 9,"),
    "other_size": (frame_of(0, 3, 25, 10), frame_of(1, 3, 26, 10), "26 bytes .*3 frames of 10"),
    "other_count": (frame_of(0, 3, 25, 10), frame_of(1, 4, 25, 7), "25 bytes .*4 frames of 7"),
    "other_message": (
        frame_of(0, 3, 25, 10),
        frame_of(1, 3, 25, 10, digest=b"x" * 32),
        "another message",
    ),
}


@pytest.mark.parametrize(("first", "then", "text"), FAULT_66.values(), ids=FAULT_66)
def test_fault_66_frames_that_contradict_themselves_or_others(
    first: Frame | None, then: Frame, text: str
) -> None:
    partial = frames.offer(None, first) if first is not None else None
    assert not isinstance(partial, Rejection)
    refused = frames.offer(partial, then)
    assert isinstance(refused, Rejection)
    assert refused.reason is Reason.MALFORMED
    assert re.search(text, refused.detail)


@pytest.mark.parametrize(
    ("i", "n", "size", "data"),
    [(3, 3, 25, b"x"), (0, 3, 2, b"x"), (0, 1, 2, b"xyz"), (0, 4_097, 9_999, b"x")],
)
def test_fault_66_frames_that_cannot_be_are_not_even_messages(i: int, n: int, size: int, data: bytes) -> None:
    payload = encoding.encode(
        {"v": 1, "type": "frame", "id": bytes(32), "i": i, "n": n, "size": size, "data": data}
    )
    with pytest.raises(ProtocolError, match=r"frame: (message: frame \d of \d|n: .*4096)"):
        unpack(payload, Frame)


def test_a_spool_can_join_what_it_kept() -> None:
    message = bytes(range(250))
    kept = [frame.data for frame in pieces(message, 100)]
    assert frames.join(hashlib.sha256(message).digest(), kept) == message
    assert isinstance(frames.join(hashlib.sha256(message).digest(), kept[::-1]), Rejection)


@given(st.integers(1, 300_000), st.integers(1, 60_000), st.integers(1, 60_000))
def test_who_knows_the_number_of_frames_cuts_them_again_as_they_are(size: int, most: int, later: int) -> None:
    """Whatever the limit is by then, if they fit; and a smaller one gives more frames."""
    frames.FRAME_BYTES = 50_000  # so that some of these messages are cut as coarsely as can be
    try:
        assume(-(-size // most) < 2_000)
        assume(-(-size // later) < 2_000)
        each = frames.cut(size, most)
        n = frames.count(size, each)
        assert min(each, size) <= most
        again = frames.cut(size, later, n)
        assert min(again, size) <= later
        fits = min(each, size) <= later
        assert (again == each) == fits
        assert fits or frames.count(size, again) > n
    finally:
        frames.FRAME_BYTES = FRAME_BYTES
