"""What is seen of a federation before it is taken over."""

from dataclasses import replace

import pytest

from aggregator.presence import PATIENCE_S, QUIET_S, Watch
from fedge.freshness import RoundId
from fedge.messages import Manifest
from fedge.plan import Plan
from tests.aggregator.stories import EVERYBODY, LARGER, MODEL, SMALLER, blob, service, status


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


def fleet(*seen: int) -> Watch:
    """Devices that have seen these rounds of generation 1."""
    watch = Watch(0.0)
    for i, number in enumerate(seen):
        watch = watch.status(f"pi-{i}", status(seen=RoundId(1, number)), 0.0)
    return watch


def test_silence_after_the_last_message_is_enough() -> None:
    watch = Watch(10.0)
    assert watch.over_s() == 10.0 + QUIET_S
    assert watch.status("a", status(), 10.3).over_s() == 10.3 + QUIET_S


def test_an_aggregator_that_says_it_is_online_is_watched_until_its_beat_would_have_moved() -> None:
    watch = Watch(10.0).service(service(SMALLER, beat=3), 10.1)
    assert (watch.over_s(), watch.moved) == (10.1 + PATIENCE_S, False)
    again = watch.service(service(SMALLER, beat=3), 12.0)  # the same words
    assert (again.over_s(), again.moved) == (10.1 + PATIENCE_S, False)
    assert again.service(service(SMALLER, beat=4), 19.0).moved


def test_who_looks_anew_waits_only_for_what_is_left() -> None:
    """An aggregator that is killed every 4 s, and each time finds what it said itself long ago."""
    said_s = 100.0
    for began_s in (105.0, 109.0, 113.0):
        watch = Watch(began_s).service(service(SMALLER, beat=3), began_s + 0.1, began_s + 0.1 - said_s)
        assert watch.over_s() == pytest.approx(said_s + PATIENCE_S)
        assert not watch.moved
    watch = Watch(117.0).service(service(SMALLER, beat=3), 117.1, 117.1 - said_s)
    assert watch.over_s() == 117.1 + QUIET_S


def test_another_instance_is_watched_anew() -> None:
    watch = Watch(10.0).service(service(SMALLER, beat=3), 10.1).service(service(LARGER, beat=4), 12.0)
    assert (watch.over_s(), watch.moved) == (12.0 + PATIENCE_S, False)


def test_an_aggregator_that_left_is_not_waited_for() -> None:
    watch = Watch(10.0).service(service(SMALLER), 10.1).service(service(SMALLER, online=False), 10.2)
    assert (watch.other, watch.over_s()) == (None, 10.2 + QUIET_S)


def test_who_is_online_is_what_was_said_last() -> None:
    watch = fleet(1, 1, 1).status("pi-1", status(online=False, seen=RoundId(1, 1)), 1.0)
    assert watch.online == {"pi-0", "pi-2"}
    assert set(watch.devices) == {"pi-0", "pi-1", "pi-2"}


def test_the_newest_round_is_the_one_anybody_has_seen() -> None:
    assert Watch(0.0).newest() == (0, 0)
    assert fleet(3, 7, 5).newest() == (1, 7)
    assert fleet(3).manifest(manifest(RoundId(2, 1)), 0.0).newest() == (2, 1)


@pytest.mark.parametrize(
    ("watch", "known", "expected"),
    [
        (Watch(0.0), None, None),
        (fleet(0, 0), RoundId(1, 0), None),
        (fleet(1), None, "round 1.1 was announced, and this ledger is new"),
        (Watch(0.0).manifest(manifest(RoundId(1, 4)), 0.0), None, "round 1.4 was announced, and this"),
        (Watch(0.0).manifest(manifest(RoundId(1, 4)), 0.0), RoundId(1, 3), "this ledger only knows 1.3"),
        (Watch(0.0).manifest(manifest(RoundId(1, 4)), 0.0), RoundId(1, 4), None),
        (Watch(0.0).manifest(manifest(RoundId(1, 9)), 0.0), RoundId(2, 0), None),
        (fleet(9, 3, 3), RoundId(1, 3), None),  # one of three may lie
        (fleet(9, 3), RoundId(1, 3), "1 of 2 devices have seen rounds after 1.3: pi-0"),
        (fleet(4, 4, 3, 3), RoundId(1, 3), "2 of 4 devices have seen rounds after 1.3: pi-0, pi-1"),
        (fleet(*[4] * 8), RoundId(1, 3), "pi-3, pi-4, …"),
    ],
)
def test_who_is_ahead_of_the_ledger(watch: Watch, known: RoundId | None, expected: str | None) -> None:
    found = watch.ahead_of(known)
    assert (found is None) == (expected is None)
    assert found is None or (expected is not None and expected in found)


def test_what_another_key_has_announced_says_nothing_of_an_old_ledger() -> None:
    """A stolen key announced the last round there can be; its successor goes on where the ledger stands."""
    stolen, ours = b"s" * 32, b"o" * 32
    last = RoundId(2**31 - 1, 2**31 - 1)
    told = status(seen=last).model_copy(update={"signer": stolen})
    watch = Watch(0.0).status("a", told, 0.0, ours).status("b", told, 0.0, ours)
    assert watch.ahead_of(RoundId(1, 3)) is None
    assert watch.newest() == (0, 0), "so a generation can follow"
    found = watch.ahead_of(None)
    assert found is not None, "but a new ledger begins over nobody's memory"
    assert "this ledger is new" in found
    for signer, key in ((ours, ours), (None, ours), (stolen, None)):
        watch = Watch(0.0).status("a", told.model_copy(update={"signer": signer}), 0.0, key)
        assert watch.ahead_of(RoundId(1, 3)) is not None


def test_a_new_generation_is_ahead_of_all_rounds_before_it() -> None:
    watch = replace(fleet(500), announced=RoundId(1, 501))
    assert watch.ahead_of(RoundId(2, 0)) is None
    assert watch.ahead_of(RoundId(1, 500)) is not None
