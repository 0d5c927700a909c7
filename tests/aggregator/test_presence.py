"""What is seen of a federation before it is taken over."""

import pytest

from aggregator.core.presence import PATIENCE_S, QUIET_S, LeaderCheck
from fedge.algorithms.plan import Plan
from fedge.wire.capabilities import BASE
from fedge.wire.freshness import RoundId
from fedge.wire.messages.manifest import Manifest
from tests.aggregator.stories import EVERYBODY, LARGER, MODEL, SMALLER, blob, service, status
from tests.wording import assert_tells


def manifest(round_id: RoundId) -> Manifest:
    return Manifest(
        generation=round_id.generation,
        round=round_id.round,
        kind="train",
        state="open",
        seed=1,
        task=blob("task"),
        model=MODEL,
        plan=Plan(),
        cohort=EVERYBODY,
        seconds_left=1.0,
    )


def fleet(*seen: int) -> LeaderCheck:
    """Devices that have seen these rounds of generation 1."""
    watch = LeaderCheck(0.0)
    for i, number in enumerate(seen):
        watch = watch.status(f"pi-{i}", status(seen=RoundId(1, number)), 0.0)
    return watch


def test_silence_after_the_last_message_is_enough() -> None:
    watch = LeaderCheck(10.0)
    assert watch.over_s() == 10.0 + QUIET_S
    assert watch.status("a", status(), 10.3).over_s() == 10.3 + QUIET_S


def test_an_aggregator_that_says_it_is_online_is_watched_until_its_beat_would_have_moved() -> None:
    watch = LeaderCheck(10.0).service(service(SMALLER, beat=3), 10.1)
    assert (watch.over_s(), watch.moved) == (10.1 + PATIENCE_S, False)
    again = watch.service(service(SMALLER, beat=3), 12.0)  # the same words
    assert (again.over_s(), again.moved) == (10.1 + PATIENCE_S, False)
    assert again.service(service(SMALLER, beat=4), 19.0).moved


def test_who_looks_anew_waits_only_for_what_is_left() -> None:
    """An aggregator that is killed every 4 s, and each time finds what it said itself long ago."""
    said_s = 100.0
    for began_s in (105.0, 109.0, 113.0):
        watch = LeaderCheck(began_s).service(service(SMALLER, beat=3), began_s + 0.1, began_s + 0.1 - said_s)
        assert watch.over_s() == pytest.approx(said_s + PATIENCE_S)
        assert not watch.moved
    watch = LeaderCheck(117.0).service(service(SMALLER, beat=3), 117.1, 117.1 - said_s)
    assert watch.over_s() == 117.1 + QUIET_S


def test_another_instance_is_watched_anew() -> None:
    watch = LeaderCheck(10.0).service(service(SMALLER, beat=3), 10.1).service(service(LARGER, beat=4), 12.0)
    assert (watch.over_s(), watch.moved) == (12.0 + PATIENCE_S, False)


def test_an_aggregator_that_left_is_not_waited_for() -> None:
    watch = LeaderCheck(10.0).service(service(SMALLER), 10.1).service(service(SMALLER, online=False), 10.2)
    assert (watch.other, watch.over_s()) == (None, 10.2 + QUIET_S)


def test_who_is_online_is_what_was_said_last() -> None:
    watch = fleet(1, 1, 1).status("pi-1", status(online=False, seen=RoundId(1, 1)), 1.0)
    assert watch.online == {"pi-0", "pi-2"}
    assert set(watch.devices) == {"pi-0", "pi-1", "pi-2"}


@pytest.mark.parametrize(
    ("announced", "done", "known", "facts"),
    [
        (None, False, None, None),
        (RoundId(1, 4), False, None, ("round 1.4 ", "ledger is new")),
        (RoundId(1, 4), False, RoundId(1, 3), ("round 1.4 ", "1.3")),
        (RoundId(1, 4), False, RoundId(1, 4), None),
        (RoundId(1, 4), True, RoundId(1, 4), ("round 1.4 ", "done", "open")),
        (RoundId(1, 9), False, RoundId(2, 0), None),
        (RoundId(2, 0), False, RoundId(1, 9), ("round 2.0 ", "1.9")),
    ],
)
def test_an_announcement_beyond_the_ledger_is_told(
    announced: RoundId | None, done: bool, known: RoundId | None, facts: tuple[str, ...] | None
) -> None:
    watch = LeaderCheck(0.0)
    if announced is not None:
        state = "done" if done else "open"
        watch = watch.manifest(manifest(announced).model_copy(update={"state": state}), 0.0)
    found = watch.announced_beyond(known)
    assert (found is None) == (facts is None)
    assert_tells(found or "", *(facts or ()))


@pytest.mark.parametrize(
    ("signer", "key", "counts"),
    [
        (None, None, True),
        (b"s" * 32, None, True),
        (b"o" * 32, b"o" * 32, True),
        (b"s" * 32, b"o" * 32, False),
        (None, b"o" * 32, False),
    ],
)
def test_where_models_are_signed_only_rounds_seen_under_our_key_count(
    signer: bytes | None, key: bytes | None, counts: bool
) -> None:
    """A stolen key announced the last round there can be; who pins none takes whatever is announced."""
    last = RoundId(2**31 - 1, 2**31 - 1)
    told = status(seen=last).model_copy(update={"signer": signer})
    watch = LeaderCheck(0.0).status("a", told, 0.0, key)
    assert watch.devices == {"a": last if counts else (0, 0)}
    assert watch.online == {"a"}, "it takes part"


def test_on_a_slow_line_what_is_retained_is_waited_for_longer() -> None:
    """On packets that took up to 3 s, an older ledger was taken up as if nothing were retained."""
    assert LeaderCheck(100.0).subscribed(100.01).over_s() == 100.01 + QUIET_S
    assert LeaderCheck(100.0).subscribed(104.0).over_s() == 112.0
    assert LeaderCheck(100.0).subscribed(190.0).over_s() == 190.0 + PATIENCE_S


def test_what_devices_can_is_known_before_the_first_round_is_drawn() -> None:
    watch = LeaderCheck(0.0).status("old", status(), 0.0)
    watch = watch.status("new", status().model_copy(update={"can": ("codec:sparse",)}), 0.0)
    assert watch.abilities == {"old": BASE, "new": frozenset({"codec:sparse"})}
