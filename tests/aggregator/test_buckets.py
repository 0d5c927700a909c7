"""How much of what a device sends is worked on: generous to honest devices, and bounded for the others."""

import pytest

from aggregator.core.buckets import LINES, MESSAGE_COST, STATUSES, Buckets, Rate, updates
from fedge.wire.frames import FRAME_BYTES, count


def test_a_bucket_is_full_at_first_gives_what_it_holds_and_fills_again() -> None:
    buckets, rate = Buckets(), Rate(burst=3, per_s=0.5)
    assert [buckets.take("a", 1, rate, 0.0) for _ in range(4)] == [True, True, True, False]
    assert buckets.take("b", 3, rate, 0.0), "each has its own"
    assert not buckets.take("a", 1, rate, 1.9)
    assert buckets.take("a", 1, rate, 2.0)
    assert [buckets.take("a", 1, rate, 1_000.0) for _ in range(4)] == [True, True, True, False]
    buckets.fill("a")
    assert buckets.take("a", 3, rate, 1_000.0)
    assert not buckets.take("c", 4, rate, 0.0), "never more than it holds"


@pytest.mark.parametrize("size", [100, 70_000, 10**6, 2 * 10**8])
def test_an_honest_device_sends_three_whole_updates_at_once_and_repeats_its_question_for_a_day(
    size: int,
) -> None:
    """Line speed does not matter, nor a session that was lost twice; the question is one frame a minute."""
    buckets, rate = Buckets(), updates(size)
    for _ in range(3):
        for _ in range(count(size)):
            assert buckets.take("pi", min(size, FRAME_BYTES) + MESSAGE_COST, rate, 0.0)
    for minute in range(1, 1_441):
        assert buckets.take("pi", min(size, 65_536) + MESSAGE_COST, rate, 60.0 * minute)


def test_a_network_that_no_update_could_carry_has_an_allowance_too() -> None:
    assert updates(2**34).burst > 2**36


def test_a_round_a_second_takes_nothing_from_who_is_answered_in_each() -> None:
    buckets, rate = Buckets(), updates(70_000)
    for second in range(1_000):
        assert buckets.take("pi", 70_000 + MESSAGE_COST, rate, float(second))
        buckets.fill("pi")


def test_what_a_liar_has_worked_on_in_a_day_is_bounded() -> None:
    """Of the smallest task: some 70 KB an update at most."""
    buckets, rate = Buckets(), updates(70_000)
    worked = sum(buckets.take("liar", MESSAGE_COST, rate, tenth / 10) for tenth in range(864_000))
    assert worked == pytest.approx(86_400 * rate.per_s / MESSAGE_COST + rate.burst / MESSAGE_COST, abs=2)
    assert 86_000 < worked < 90_000, "about one message a second"
    assert (STATUSES.burst, STATUSES.per_s) == (200, 20)
    assert LINES.burst + 86_400 * LINES.per_s == 1_470


def test_one_number_pair_is_remembered_for_each_name() -> None:
    buckets = Buckets()
    for number in range(10_000):
        buckets.take(f"pi-{number % 50}", 1, STATUSES, float(number))
    assert len(buckets) == 50
