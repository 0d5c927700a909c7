from hypothesis import given
from hypothesis import strategies as st

from fedge.wire.freshness import MANIFEST_EXPIRY_S, RoundId, round_of, seconds_left
from fedge.wire.messages.status import Decline
from fedge.wire.reasons import Reason

COUNTERS = st.integers(0, 2**31 - 1)


@given(COUNTERS, COUNTERS, COUNTERS, COUNTERS)
def test_a_generation_weighs_more_than_any_round(g: int, r: int, h: int, s: int) -> None:
    assert (RoundId(g, r) < RoundId(h, s)) == (g < h or (g == h and r < s))


def test_a_round_reads_as_generation_and_round() -> None:
    declined = Decline(generation=2, round=7, attempt=1, reason=Reason.FAILED)
    assert round_of(declined) == RoundId(2, 7)
    assert str(round_of(declined)) == "2.7"


def test_age_is_what_the_broker_has_counted_down() -> None:
    assert seconds_left(60.0, MANIFEST_EXPIRY_S) == 60.0
    assert seconds_left(60.0, MANIFEST_EXPIRY_S - 45) == 15.0
    assert seconds_left(60.0, MANIFEST_EXPIRY_S - 3 * 86_400) == 0.0, "three days late"
    assert seconds_left(60.0, 0) == 0.0


def test_without_an_expiry_an_announcement_is_taken_at_its_word() -> None:
    assert seconds_left(60.0, None) == 60.0


@given(st.floats(0, 1e9), st.none() | st.integers(0, 2**32 - 1))
def test_what_is_left_is_never_negative_nor_more_than_was_announced(
    announced_s: float, expiry_left_s: int | None
) -> None:
    assert 0.0 <= seconds_left(announced_s, expiry_left_s) <= announced_s
