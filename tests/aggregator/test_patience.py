"""Whom rounds no longer wait for: who is online and lets deadlines pass, and how it comes back."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.federation import Stage
from aggregator.core.patience import AGAIN, MISSES, given_up
from aggregator.core.verdicts import Missed
from fedge.wire.freshness import Attempt, RoundId
from tests.aggregator.stories import (
    DEADLINE_S,
    OPEN,
    Story,
    decline,
    federation,
    of,
    receipts,
    rules,
    running,
    status,
    update,
)
from tests.wording import assert_tells

FLEET = ("a", "b", "silent")


def fleet(*devices: str, **changes: object) -> Story:
    """Round 1.1 of a federation without a target, in which many rounds are to come."""
    stopping = replace(federation().stopping, rounds=100)
    return running(*(devices or FLEET), **{"rules": rules(target=None), "stopping": stopping, **changes})


def begin(story: Story) -> None:
    """The round that follows is announced."""
    story.closed()
    story.published()
    assert story.stage() == "collecting"


def finish(story: Story, *devices: str) -> bool:
    """These answer, and the round closes: at once, or only at its deadline (False)."""
    for device in devices or ("a", "b"):
        story.answers(device)
    if at_once := story.stage() == "closing":
        return at_once
    story.later(DEADLINE_S)
    assert story.stage() == "closing"
    return False


def rounds_of(story: Story, number: int, *devices: str) -> list[bool]:
    """Which of so many rounds close as soon as these devices have answered."""
    closed = []
    for _ in range(number):
        closed.append(finish(story, *devices))
        begin(story)
    return closed


def said(story: Story, word: str) -> list[str]:
    return [one.text for one in of(do.Log, story.log) if word in one.text]


def test_who_is_silent_delays_two_rounds_and_then_one_of_ten() -> None:
    story = fleet()
    assert rounds_of(story, 2 + 3 * AGAIN) == [
        *[False] * MISSES,
        *[*[True] * (AGAIN - 1), False] * 3,
    ]
    (first, *others) = said(story, "no longer wait for")
    assert_tells(first, "round 1.2: ", "silent", "silent", "1.12")
    assert len(others) == 3
    (before,) = said(story, "round 1.1: the deadline")
    assert_tells(before, "silent")
    assert "1.12" not in before
    assert given_up(story.state) == ["silent"]


def test_who_was_given_up_is_admitted_when_it_answers_and_then_awaited_again() -> None:
    story = fleet()
    rounds_of(story, MISSES)
    assert "silent" not in story.state.awaited
    story.answers("a")
    assert receipts(story.answers("silent")) == [("silent", "admitted", None)]
    assert said(story, "silent answers")
    assert of(do.SaveMissed, story.log)[-1] == do.SaveMissed("silent", None)
    assert story.state.missed == {}
    story.answers("b")
    begin(story)
    assert story.state.awaited == set(FLEET)
    assert rounds_of(story, 4) == [False, False, True, True]


def test_a_slow_device_is_not_excluded_for_ever() -> None:
    """Rounds that others close at once are too short for it; the tenth waits, and from then on all do."""
    story = fleet()
    assert rounds_of(story, MISSES + AGAIN - 1)[MISSES:] == [True] * (AGAIN - 1)
    assert finish(story, *FLEET), "it is awaited, and answers"
    begin(story)
    assert story.state.awaited == set(FLEET)


def test_two_misses_are_two_in_a_row() -> None:
    story = fleet()
    for _ in range(5):
        assert not finish(story)
        begin(story)
        assert finish(story, *FLEET)
        begin(story)
    assert not said(story, "no longer wait for")


def test_to_decline_or_to_be_offline_is_no_miss() -> None:
    story = fleet("a", "b", "declines", "sleeps")
    for _ in range(4):
        here = story.state.round
        story.sees("declines", status(declined=decline(here)))
        story.sees("sleeps", status(online=False))
        assert finish(story)
        begin(story)
        story.sees("sleeps")
    assert story.state.missed == {}
    assert story.state.awaited == {"a", "b", "declines", "sleeps"}


def test_who_comes_just_before_a_deadline_misses_nothing() -> None:
    story = fleet("a", "b", "late")
    for _ in range(4):
        story.sees("late", status(online=False))
        story.answers("a")
        story.later(DEADLINE_S - 1)
        story.sees("late")
        story.answers("b")
        story.later(1)
        begin(story)
    assert story.state.missed == {}


def goes_in_time(story: Story, device: str) -> None:
    story.sees(device, status(online=False))


def declines_in_time(story: Story, device: str) -> None:
    story.sees(device, status(declined=decline(story.state.round)))


@pytest.mark.parametrize("ends", [goes_in_time, declines_in_time])
def test_who_lets_rounds_wait_and_leaves_before_each_deadline_delays_them_by_two_deadlines_at_most(
    ends: Callable[[Story, str], None],
) -> None:
    story, delayed_s = fleet("a", "b", "flaps"), 0.0
    for _ in range(AGAIN):
        story.sees("flaps")
        story.answers("a")
        story.answers("b")
        if story.stage() == "collecting":
            story.later(0.4 * DEADLINE_S)
            delayed_s += 0.4 * DEADLINE_S
            ends(story, "flaps")
        assert story.stage() == "closing"
        begin(story)
    assert delayed_s <= MISSES * DEADLINE_S
    (first,) = said(story, "no longer wait for")
    assert_tells(first, "round 1.4: ", "flaps", "2 misses")


def test_who_comes_and_goes_within_a_round_that_waits_for_another_one_is_awaited_all_in_all() -> None:
    """It was awaited for three quarters of the deadline, and for less than half of it without a break."""
    story = fleet("a", "b", "flaps", "slow")
    for _ in range(MISSES):
        story.answers("a")
        story.answers("b")
        story.later(0.4 * DEADLINE_S)
        story.sees("flaps", status(online=False))
        story.later(0.25 * DEADLINE_S)
        story.sees("flaps")
        story.later(0.34 * DEADLINE_S)
        story.answers("slow")
        story.later(0.01 * DEADLINE_S)
        begin(story)
    assert given_up(story.state) == ["flaps"]


@pytest.mark.parametrize("ends", [goes_in_time, declines_in_time])
def test_who_leaves_while_a_round_waits_for_others_anyhow_misses_nothing(
    ends: Callable[[Story, str], None],
) -> None:
    """A night of short rounds, each of which a device declines as soon as it hears of it."""
    story = fleet("a", "b", "at night")
    for _ in range(60):
        story.sees("at night")
        story.answers("a")
        story.later(0.02 * DEADLINE_S)
        ends(story, "at night")
        story.later(0.1 * DEADLINE_S)
        assert finish(story, "b")
        begin(story)
    assert (story.state.missed, story.state.vain_s) == ({}, {})


def test_waiting_that_ends_with_an_update_is_not_in_vain() -> None:
    story = fleet("a", "b", "flaps")
    for _ in range(5):
        for answers in (False, True):
            story.sees("flaps")
            story.answers("a")
            story.answers("b")
            story.later(0.4 * DEADLINE_S)
            if answers:
                story.answers("flaps")
            else:
                goes_in_time(story, "flaps")
            assert story.stage() == "closing"
            begin(story)
    assert story.state.missed == {}
    assert story.state.vain_s == {}


def test_what_an_attempt_below_quorum_waits_for_is_held_against_nobody() -> None:
    story = fleet("a", "b", "flaps")
    for _ in range(3):
        story.sees("flaps")
        story.later(0.9 * DEADLINE_S)
        goes_in_time(story, "flaps")
        story.later(0.1 * DEADLINE_S)
    assert story.state.attempt == 3
    story.answers("a")
    story.answers("b")
    assert story.stage() == "closing"
    assert (story.state.missed, story.state.vain_s) == ({}, {})


@pytest.mark.parametrize("left_s", [DEADLINE_S / 2 - 1, DEADLINE_S / 2])
def test_after_a_broken_connection_a_device_misses_what_half_a_deadline_waits_for(left_s: float) -> None:
    """The broker was away, too: what it says of who is online may be older."""
    story = fleet()
    story.answers("a")
    story.answers("b")
    story.later(DEADLINE_S - left_s)
    story.tell(on.LinkDown(story.now_s, "the broker is away"))
    story.later(100)
    story.link_up()
    story.published()
    story.later(left_s)
    assert story.stage() == "closing"
    assert (story.state.missed == {}) == (left_s < DEADLINE_S / 2)


def test_who_is_not_chosen_or_not_able_or_not_listed_misses_nothing() -> None:
    story = fleet(roster=frozenset("ab"))
    assert rounds_of(story, 4) == [True] * 4
    assert story.state.missed == {}


@pytest.mark.parametrize("target", [None, 2])
def test_a_target_that_is_reached_at_the_deadline_blames_nobody(target: int | None) -> None:
    story = running(*FLEET, rules=rules(target=target))
    story.answers("a")
    story.now_s += DEADLINE_S
    story.answers("b")
    assert story.stage() == "closing"
    assert (story.state.missed == {}) == (target == 2)


def test_whose_answers_are_refused_is_given_up_too() -> None:
    story = fleet()
    for number in range(1, MISSES + 1):
        (verdict,) = receipts(story.answers("silent", samples=5_000))
        assert verdict[1:] == ("refused", "bad_sample_count")
        assert story.state.missed["silent"] == Missed(number, Attempt(story.state.round, 0))
        assert finish(story)
        begin(story)
    (words,) = said(story, "no longer wait for silent")
    assert_tells(words, "silent", "bad_sample_count")
    assert story.state.awaited == {"a", "b"}
    story.answers("silent", samples=5_000)
    assert story.state.missed["silent"].last.round == RoundId(1, 2), "it is not counted on"


def test_what_spends_no_answer_is_no_miss_before_the_deadline() -> None:
    story = fleet()
    story.send("silent", update("silent", OPEN, b"x" * 32))
    assert story.state.missed == {}
    assert "silent" in story.state.awaited


def test_a_round_that_needs_it_stays_open_until_its_deadline_and_says_so() -> None:
    story = fleet()
    rounds_of(story, MISSES)
    story.sees("b", status(online=False))
    story.answers("a")
    story.sees("b")
    story.answers("b")
    story.sees("b", status(online=False))
    begin(story)
    (words,) = said(story, "fewer than the 2")
    assert_tells(words, "round 1.4: ", "silent")
    story.answers("a")
    assert story.stage() == "collecting"
    story.later(DEADLINE_S)
    assert (story.stage(), story.state.attempt) == ("collecting", 1)
    story.answers("silent")
    assert story.stage() == "closing"


def test_who_cannot_count_does_not_make_a_round_look_as_if_it_could_close() -> None:
    missed = {"silent": Missed(MISSES, Attempt(OPEN, 0))}
    story = fleet("a", "silent", "stranger", missed=missed, roster=frozenset({"a", "silent"}))
    (words,) = said(story, "fewer than the 2")
    assert_tells(words, "other 1 devices")
    story = Story(
        replace(story.state, stage=Stage.PREPARING, roster=None, quarantined=frozenset({"stranger"}))
    )
    story.announce("a", "silent", "stranger")
    (words,) = said(story, "fewer than the 2")
    assert_tells(words, "other 1 devices")


def test_below_quorum_nobody_is_blamed() -> None:
    """There all may be slow: their training may last longer than several deadlines."""
    story = fleet()
    for _ in range(5):
        story.later(DEADLINE_S)
    assert (story.state.attempt, story.state.missed) == (5, {})
    assert not finish(story, "a", "b")
    assert story.state.missed == {"silent": Missed(1, Attempt(OPEN, 5))}


def test_an_attempt_that_ends_below_quorum_names_whom_it_waited_for() -> None:
    """Else nobody could see which of the devices online keep a large share from being reached."""
    story = fleet(*"abcdefgh", rules=rules(target=None, quorum=8))
    story.answers("a")
    story.later(DEADLINE_S)
    (words,) = said(story, "attempt 1 begins")
    assert_tells(words, "attempt 1", "b, c, d, e, f and 2 more")


def test_a_deadline_that_passes_once_more_after_a_restart_counts_once() -> None:
    story = fleet()
    story.answers("a")
    story.answers("b")
    story.later(DEADLINE_S)
    # It was killed while it closed: the same deadline passes once more.
    again = Story(replace(story.state, stage=Stage.PREPARING, elapsed_s=DEADLINE_S, since_s=None))
    again.announce(*FLEET)
    assert again.stage() == "closing"
    assert again.state.missed == {"silent": Missed(1, Attempt(OPEN, 0))}


def test_a_new_generation_waits_once_more() -> None:
    missed = {"silent": Missed(MISSES, Attempt(RoundId(1, 50), 0))}
    story = fleet(round=RoundId(2, 1), missed=missed)
    assert rounds_of(story, 3) == [False, True, True]


def test_what_is_remembered_does_not_grow_with_the_rounds() -> None:
    story = fleet()
    rounds_of(story, 40)
    assert len(story.state.missed) == 1


def test_a_cohort_is_drawn_of_those_who_answer() -> None:
    names = [f"d-{number}" for number in range(40)]
    silent = names[:20]
    missed = {name: Missed(MISSES, Attempt(RoundId(1, 0), 0)) for name in silent}
    reached = []
    for seed in range(30):
        online = frozenset(names)
        drawn = fleet(*names, rules=rules(fraction=0.3, target=8), missed=missed, seed=seed, online=online)
        reached.append(len(drawn.state.awaited))
        assert drawn.state.awaited.isdisjoint(silent)
    assert min(reached) >= 6


def test_all_that_is_said_because_of_one_device_is_within_its_allowance() -> None:
    """A liar that is refused twice and then admitted, again and again, fills no log."""
    story = fleet("a", "b", "liar")
    for number in range(12):
        story.answers("liar", samples=5_000 if number % 3 < MISSES else 10)
        assert finish(story, "a", "b")
        begin(story)
    found = [one for one in of(do.Log, story.log) if "liar" in one.text]
    assert {one.cause for one in found} >= {"given up", "awaited again"}
    assert {one.device for one in found} == {"liar"}
