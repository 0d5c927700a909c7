"""Frames are put together in memory, which is bounded for each sender and in all."""

import random
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from fedge.wire import frames
from fedge.wire.assembly import Assembler, Limits
from fedge.wire.reasons import Reason, Rejection
from tests.fedge.pieces import cuts, frame_of, messages, pieces

ROOMY = Limits(per_key=10_000_000, total=50_000_000)


@given(st.lists(messages, min_size=1, max_size=5), cuts, st.randoms(use_true_random=False))
def test_messages_come_through_whatever_the_order(texts: list[bytes], cut: int, rng: random.Random) -> None:
    """Several senders, several messages each, frames shuffled and mixed, each in its place at least once."""
    arriving = [(key % 2, frame) for key, text in enumerate(texts) for frame in pieces(text, cut)]
    arriving += rng.choices(arriving, k=len(arriving) // 2)
    rng.shuffle(arriving)
    assembler = Assembler(ROOMY)
    came = set()
    for key, frame in arriving:
        result = assembler.offer(key, frame)
        assert not isinstance(result, Rejection)
        if result is not None:
            came.add((key, result))
    assert came == {(key % 2, text) for key, text in enumerate(texts)}


def test_fault_66_a_missing_frame_can_be_named_and_sent_again() -> None:
    message = bytes(range(250))
    first, second, third = pieces(message, 100)
    assembler = Assembler(ROOMY)
    assert assembler.missing("model", first.id) is None
    assert assembler.offer("model", third) is None
    assert assembler.offer("model", first) is None
    assert assembler.offer("model", first) is None
    assert assembler.missing("model", first.id) == (1,)
    assert assembler.offer("model", second) == message
    assert assembler.held == 0
    assert assembler.missing("model", first.id) is None


@given(st.integers(0, 249), st.integers(1, 255), st.permutations(range(3)))
def test_a_flipped_byte_is_found_and_everything_is_dropped(at: int, flip: int, order: list[int]) -> None:
    message = bytes(range(250))
    arriving = pieces(message, 100)
    damaged = bytearray(arriving[at // 100].data)
    damaged[at % 100] ^= flip
    arriving[at // 100] = arriving[at // 100].model_copy(update={"data": bytes(damaged)})
    assembler = Assembler(ROOMY)
    *before, last = [assembler.offer("model", arriving[i]) for i in order]
    assert before == [None, None]
    assert isinstance(last, Rejection)
    assert last.reason is Reason.MALFORMED
    assert assembler.held == 0
    assert [assembler.offer("model", frame) for frame in pieces(message, 100)] == [None, None, message]


def test_a_refused_frame_leaves_what_was_held_as_it_was() -> None:
    message = bytes(range(250))
    first, second, third = pieces(message, 100)
    assembler = Assembler(ROOMY)
    assembler.offer("model", first)
    held = assembler.held
    assert isinstance(assembler.offer("model", second.model_copy(update={"size": 251})), Rejection)
    assert assembler.held == held
    assert [assembler.offer("model", frame) for frame in (second, third)] == [None, message]


def test_fault_66_a_message_that_never_could_be_held_is_refused_with_its_first_frame() -> None:
    assembler = Assembler(Limits(per_key=100_000, total=1_000_000))
    refused = assembler.offer("a", frame_of(0, 2, 200_000, 100_000))
    assert isinstance(refused, Rejection)
    assert refused.reason is Reason.OVERSIZE
    assert "201024" in refused.detail
    assert "100000" in refused.detail
    assert assembler.held == 0
    narrow = Assembler(Limits(per_key=1_000_000, total=100_000))
    refused = narrow.offer("a", frame_of(0, 2, 200_000, 100_000))
    assert isinstance(refused, Rejection)
    assert refused.reason is Reason.OVERSIZE
    assert "100000" in refused.detail


def test_fault_53_what_one_sender_begins_and_never_ends_takes_no_room_from_others() -> None:
    limits = Limits(per_key=100_000, total=250_000)
    assembler = Assembler(limits)

    def begin(key: str, number: int) -> Rejection | bytes | None:
        return assembler.offer(key, frame_of(0, 2, 40_000, 20_000, digest=bytes([number]) * 32))

    assert begin("liar", 1) is begin("liar", 2) is None
    full = begin("liar", 3)
    assert isinstance(full, Rejection)
    assert full.reason is Reason.TOO_MANY_PARTIAL
    assert "41024" in full.detail
    assert "82048" in full.detail
    assert begin("other", 1) is begin("other", 2) is begin("third", 1) is begin("third", 2) is None
    assert isinstance(begin("fourth", 5), Rejection | None)
    assert begin("fifth", 6) is not None  # in all: six messages fit in 250,000 bytes, not seven
    assembler.drop("liar")
    assert begin("fifth", 6) is None
    assembler.drop("nobody")


def test_fault_66_endless_beginnings_stay_within_the_limit() -> None:
    """A flood of two-byte messages that never end: the charge for a frame covers what Python takes for it."""
    limits = Limits(per_key=1_000_000, total=1_000_000)
    assembler = Assembler(limits)
    flood = [frame_of(i % 2, 2, 2, 1, digest=i.to_bytes(32, "big")) for i in range(5_000)]
    tracemalloc.start()
    try:
        refused = [isinstance(assembler.offer("liar", frame), Rejection) for frame in flood]
        current = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert sum(refused) == 5_000 - 1_000_000 // frames.cost(2, 2)
    assert current < limits.total
    assert assembler.held <= limits.total


def test_a_message_that_is_cut_anew_is_assembled_from_one_cut() -> None:
    message = bytes(range(250))
    assembler = Assembler(ROOMY)
    for frame in pieces(message, 100)[:2]:
        assert assembler.offer("model", frame) is None
    finer = pieces(message, 90)
    assert assembler.offer("model", finer[1]) is None
    assert assembler.missing("model", finer[0].id) == (0, 2)
    assert assembler.held == frames.cost(250, 3)
    assert assembler.offer("model", finer[0]) is None
    assert assembler.offer("model", finer[2]) == message
    assert assembler.held == 0
