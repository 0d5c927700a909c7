"""Other aggregators at the same federation, and a fleet that has seen more than the ledger."""

from dataclasses import replace

import pytest

from aggregator import effects as do
from aggregator import events as on
from fedge.freshness import RoundId
from tests.aggregator.stories import (
    LARGER,
    OURS,
    SMALLER,
    kinds,
    of,
    running,
    service,
    status,
)


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
    assert isinstance(effect, do.GiveUp)
    assert effect.gave_way
    assert SMALLER.hex()[:8] in effect.text


def test_two_aggregators_never_give_way_to_each_other() -> None:
    stories = {name: running("a", instance=name) for name in (SMALLER, LARGER)}
    gave_way = set()
    for beat in range(4):
        for name, other in ((SMALLER, LARGER), (LARGER, SMALLER)):
            effects = stories[name].tell(on.ServiceSeen(service(other, beat)))
            gave_way |= {name for _ in of(do.GiveUp, effects)}
    assert gave_way == {LARGER}


def test_another_aggregator_that_left_leaves_our_presence_to_be_said_again() -> None:
    story = running("a")
    story.tell(on.ServiceSeen(service(SMALLER, beat=4)))
    assert kinds(story.tell(on.ServiceSeen(service(SMALLER, beat=4, online=False)))) == [do.PublishService]
    assert story.tell(on.ServiceSeen(service(SMALLER, beat=5))) == []  # counted anew


def test_when_half_of_the_fleet_has_seen_more_both_ways_on_are_named() -> None:
    story = running("a", "b", "c", "d")
    newer = RoundId(1, 7)
    (_, said) = story.sees("a", status(seen=newer))
    assert isinstance(said, do.Say)
    assert "1.7" in said.text
    assert of(do.GiveUp, story.sees("a", status(seen=newer))) == []  # it is counted once
    (give_up,) = of(do.GiveUp, story.sees("b", status(online=False, seen=newer)))
    assert not give_up.gave_way
    for way in ("restore", "--new-generation"):
        assert way in give_up.text


def test_what_another_key_has_announced_is_no_sign_of_an_old_ledger() -> None:
    story = running("a", "b")
    story.state = replace(story.state, signers=(b"0" * 32, b"1" * 32))
    newer = status(seen=RoundId(1, 7))
    for device in ("a", "b"):
        assert of(do.GiveUp, story.sees(device, newer.model_copy(update={"signer": b"0" * 32}))) == []
    assert story.state.ahead == frozenset()
    assert of(do.Say, story.log[-2:]) == [], "it has not heard of the change yet"
    assert story.sees("a", newer.model_copy(update={"signer": b"1" * 32}))
    assert story.state.ahead == {"a"}


def test_a_device_that_believes_a_foreign_key_is_named_once() -> None:
    story = running("a")
    story.state = replace(story.state, signers=(b"1" * 32,))
    foreign = status().model_copy(update={"signer": b"2" * 32})
    (said,) = of(do.Say, story.sees("a", foreign))
    assert said.level == "error"
    assert said.text.startswith("a believes the signing key 32323232")
    assert of(do.Say, story.sees("a", foreign)) == []


def test_one_liar_is_outvoted_also_by_those_who_sleep() -> None:
    story = running("a", "b", "c", "d")
    for device in ("b", "c", "d"):
        story.sees(device, status(online=False))
    assert not of(do.GiveUp, story.sees("a", status(seen=RoundId(9, 9))))
