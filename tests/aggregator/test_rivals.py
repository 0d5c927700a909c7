"""Other aggregators at the same federation, and a fleet that has seen more than the ledger."""

from dataclasses import replace

import pytest

from aggregator.core import effects as do
from aggregator.core import events as on
from fedge.wire.freshness import RoundId
from tests.aggregator.stories import (
    DEADLINE_S,
    LARGER,
    OURS,
    SMALLER,
    kinds,
    of,
    running,
    service,
    status,
)
from tests.wording import assert_tells


def test_our_own_will_does_not_stand_as_the_last_word() -> None:
    story = running("a")
    assert story.tell(on.ServiceSeen(service(OURS, online=True))) == []
    (repair,) = story.tell(on.ServiceSeen(service(OURS, online=False)))
    assert isinstance(repair, do.PublishService)
    assert repair.service.online


@pytest.mark.parametrize("instance", [SMALLER, LARGER])
def test_what_another_aggregator_left_behind_is_no_sign_of_life(instance: bytes) -> None:
    """After a power cut the broker keeps the `online` of a process that is long dead."""
    story = running("a")
    for _ in range(3):
        assert story.tell(on.ServiceSeen(service(instance, beat=4))) == []


def test_of_two_whose_beat_moves_the_smaller_instance_stays() -> None:
    story = running("a")
    story.tell(on.ServiceSeen(service(LARGER, beat=4)))
    assert kinds(story.tell(on.ServiceSeen(service(LARGER, beat=5)))) == [do.PublishService]
    story.tell(on.ServiceSeen(service(SMALLER, beat=4)))
    (effect,) = story.tell(on.ServiceSeen(service(SMALLER, beat=5)))
    assert isinstance(effect, do.Abort)
    assert effect.gave_way
    assert SMALLER.hex()[:8] in effect.text


@pytest.mark.parametrize("online", [True, False])
def test_two_that_push_each_other_out_of_the_broker_see_no_beat_and_one_gives_way(*, online: bool) -> None:
    """Both have one name there: what each hears of the other is its will, and what it says anew."""
    stories = {name: running("a", instance=name) for name in (SMALLER, LARGER)}
    gave_way = set()
    for pushes in range(2):
        for name, other in ((SMALLER, LARGER), (LARGER, SMALLER)):
            stories[name].tell(on.LinkDown(10.0, "taken over", taken_over=True))
            stories[name].tell(on.LinkUp(10.0))
            effects = stories[name].tell(on.ServiceSeen(service(other, beat=4, online=online)))
            gave_way |= {name for _ in of(do.Abort, effects)}
            assert kinds(effects) != [] or online
            assert gave_way <= ({LARGER} if pushes else set())
    assert gave_way == {LARGER}


def test_two_aggregators_never_give_way_to_each_other() -> None:
    stories = {name: running("a", instance=name) for name in (SMALLER, LARGER)}
    gave_way = set()
    for beat in range(4):
        for name, other in ((SMALLER, LARGER), (LARGER, SMALLER)):
            effects = stories[name].tell(on.ServiceSeen(service(other, beat)))
            gave_way |= {name for _ in of(do.Abort, effects)}
    assert gave_way == {LARGER}


def test_another_aggregator_that_left_leaves_our_presence_to_be_said_again() -> None:
    story = running("a")
    story.tell(on.ServiceSeen(service(SMALLER, beat=4)))
    assert kinds(story.tell(on.ServiceSeen(service(SMALLER, beat=4, online=False)))) == [do.PublishService]
    assert story.tell(on.ServiceSeen(service(SMALLER, beat=5))) == []  # counted anew


def test_when_more_than_half_of_the_fleet_has_seen_more_both_ways_on_are_named() -> None:
    story = running("a", "b", "c", "d")
    newer = RoundId(1, 7)
    (_, said) = story.sees("a", status(seen=newer))
    assert isinstance(said, do.Log)
    assert "1.7" in said.text
    assert of(do.Abort, story.sees("a", status(seen=newer))) == []  # it is counted once
    assert of(do.Abort, story.sees("b", status(online=False, seen=newer))) == []  # half is not more than half
    (give_up,) = of(do.Abort, story.sees("c", status(online=False, seen=RoundId(1, 8))))
    assert (give_up.gave_way, give_up.later) == (False, False)
    for words in ("3 of the 4 devices", "a (1.7), b (1.7), c (1.8)", "restore", "--new-generation"):
        assert words in give_up.text


def test_below_quorum_those_that_have_seen_newer_rounds_are_named_if_the_others_are_too_few() -> None:
    """They are no majority, so the aggregator does not end."""
    story = running("a", "b", "c", "d", "e")
    for device in "abc":
        story.sees(device, status(online=False))
    story.sees("a", status(seen=RoundId(1, 7)))
    story.sees("d", status(seen=RoundId(1, 8)))
    story.answers("e")
    assert of(do.Abort, story.log) == []
    (said,) = of(do.Log, story.later(DEADLINE_S))
    assert_tells(said.text, "a (1.7), d (1.8)", "newer rounds", "--new-generation")
    story.sees("b", status())
    (said,) = of(do.Log, story.later(DEADLINE_S))
    assert "newer rounds" not in said.text, "the quorum of two can be met"


@pytest.mark.parametrize(
    ("seen", "roster", "told"),
    [(RoundId(1, 7), "abcde", True), (RoundId(9, 7), "abcde", False), (RoundId(1, 7), "acde", False)],
)
def test_only_credible_claims_of_devices_that_may_count_are_named_below_quorum(
    seen: RoundId, roster: str, *, told: bool
) -> None:
    story = running("a", "b", "c", "d", "e", roster=frozenset(roster))
    for device in "acd":
        story.sees(device, status(online=False))
    story.answers("e")
    story.sees("b", status(seen=seen))
    (said,) = of(do.Log, story.later(DEADLINE_S))
    assert ("newer rounds" in said.text) is told


def test_what_another_key_has_announced_is_no_sign_of_an_old_ledger() -> None:
    story = running("a", "b")
    story.state = replace(story.state, signers=(b"0" * 32, b"1" * 32))
    newer = status(seen=RoundId(1, 7))
    for device in ("a", "b"):
        assert of(do.Abort, story.sees(device, newer.model_copy(update={"signer": b"0" * 32}))) == []
    assert story.state.devices_ahead == {}
    assert of(do.Log, story.log[-2:]) == [], "it has not heard of the change yet"
    assert story.sees("a", newer.model_copy(update={"signer": b"1" * 32}))
    assert story.state.devices_ahead == {"a": (1, 7)}
    assert story.sees("a", newer)  # it has lost its pin, and says nothing of our rounds any more
    assert story.state.devices_ahead == {}


def test_a_device_that_believes_a_foreign_key_is_named_once() -> None:
    story = running("a")
    story.state = replace(story.state, signers=(b"1" * 32,))
    foreign = status().model_copy(update={"signer": b"2" * 32})
    (said,) = of(do.Log, story.sees("a", foreign))
    assert said.level == "error"
    assert_tells(said.text, "a ", "key 32323232")
    assert of(do.Log, story.sees("a", foreign)) == []


def test_one_liar_is_outvoted_also_by_those_who_sleep() -> None:
    story = running("a", "b", "c", "d")
    for device in ("b", "c", "d"):
        story.sees(device, status(online=False))
    assert not of(do.Abort, story.sees("a", status(seen=RoundId(9, 9))))


def test_devices_that_the_ledger_knows_have_a_voice_before_they_have_spoken() -> None:
    """After the broker lost its memory the liar comes back first."""
    story = running(voters=frozenset("abcdef"))
    (_, said) = story.sees("a", status(seen=RoundId(1, 7)))
    assert isinstance(said, do.Log)
    assert not of(do.Abort, story.sees("b", status(seen=RoundId(1, 7))))


def test_in_a_fleet_of_two_one_does_not_stop_the_aggregator() -> None:
    story = running("a", "b")
    assert not of(do.Abort, story.sees("a", status(seen=RoundId(1, 7))))
    assert of(do.Abort, story.sees("b", status(seen=RoundId(1, 7))))


def test_what_cannot_be_is_no_evidence_and_is_named_once() -> None:
    story = running("a", "b")
    lie = RoundId(2**31 - 2, 0)
    (said,) = of(do.Log, story.sees("a", status(seen=lie)))
    assert (said.level, "a (2147483646.0)" in said.text) == ("warning", True)
    assert of(do.Log, story.sees("a", status(seen=lie._replace(round=9)))) == []
    assert not of(do.Abort, story.sees("b", status(seen=lie)))
    again = running("a", incredible=frozenset("a"))
    assert of(do.Log, again.sees("a", status(seen=lie))) == [], "it was said when this was taken up"


def test_a_young_ledger_stops_when_two_devices_have_a_memory() -> None:
    beginning = RoundId(1, 0)
    story = running("a", round=beginning, kind="survey", model=None, young=True)
    assert not of(do.Abort, story.sees("a", status(seen=RoundId(5, 9_000))))
    (give_up,) = of(do.Abort, story.sees("b", status(seen=RoundId(5, 9_001))))
    assert "a (5.9000), b (5.9001)" in give_up.text
    assert give_up.later, "others may come and say that there is nothing"


def test_a_claim_that_is_taken_back_or_overtaken_counts_no_more() -> None:
    story = running("a", "b", "c")
    story.sees("a", status(seen=RoundId(1, 7)))
    story.sees("a", status(seen=RoundId(1, 0)))
    assert story.state.devices_ahead == {}
    assert not of(do.Abort, story.sees("b", status(seen=RoundId(1, 7))))
    story.state = replace(story.state, round=RoundId(1, 7))
    assert not of(do.Abort, story.sees("c", status(seen=RoundId(1, 8))))
