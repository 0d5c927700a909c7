"""How a device works while newer rounds are announced, where updates for older ones count."""

from dataclasses import replace

import pytest

from agent.core import effects as do
from agent.core import events as on
from agent.core.device import Device, Fetching, Idle, Reporting, Saved, Working
from agent.core.lifecycle import step
from agent.core.lifecycle.unsaved import give_up
from fedge.wire.freshness import RoundId
from fedge.wire.messages.manifest import Manifest
from fedge.wire.reasons import Reason
from tests.agent.lifecycle.stories import (
    HOLDS,
    UPDATE,
    announced,
    attempt,
    blob,
    digest,
    done,
    manifest,
    receipt,
    story,
)

STALE = 3


def version(number: int, **fields: object) -> on.RoundAnnounced:
    return announced(manifest(number, **{"max_staleness": STALE, **fields}))


def training() -> Device:
    return story(HOLDS, version(1))[0]


def late() -> Device:
    """It reports the update for version 1 while version 3 is open."""
    return story(training(), version(2), version(3), done())[0]


def test_work_goes_on_when_newer_versions_are_announced() -> None:
    state, effects = story(training(), version(2), version(3))
    assert state.work == Working(RoundId(1, 1))
    assert effects == []
    assert state.seen == attempt(1, 3)


@pytest.mark.parametrize(
    "other",
    [
        manifest(5, max_staleness=STALE),
        manifest(2),
        manifest(2, generation=2, task=blob("task 1"), max_staleness=STALE),
        manifest(2, task=blob("another task"), max_staleness=STALE),
        manifest(2, kind="evaluate", plan=None),
    ],
    ids=["too old", "rounds", "generation", "task", "evaluate"],
)
def test_work_that_cannot_count_any_more_is_dropped(other: Manifest) -> None:
    """Version 5 takes updates for 2, 3 and 4."""
    assert 5 - STALE == 2
    state, effects = step(training(), announced(other))
    assert do.CancelWork(RoundId(1, 1)) in effects
    assert state.work != Working(RoundId(1, 1))


def test_the_oldest_version_that_counts_goes_on() -> None:
    assert story(training(), version(1 + STALE))[0].work == Working(RoundId(1, 1))


def test_a_late_update_is_saved_with_its_own_round_and_the_newest_attempt() -> None:
    state, effects = story(training(), version(2), done())
    assert effects == [
        do.SaveUpdate(attempt(1, 2), UPDATE, b"payload", None, None, None, RoundId(1, 1)),
        do.PublishUpdate(UPDATE, None),
    ], "and the model is not kept, because a newer one is announced"
    assert state.saved == Saved(RoundId(1, 1), UPDATE)
    assert isinstance(state.work, Reporting)


@pytest.mark.parametrize("verdict", ["admitted", "refused"])
def test_after_the_verdict_it_begins_with_the_newest_version(verdict: str) -> None:
    state, effects = step(late(), receipt(verdict, round=3))
    assert effects[0] == do.SaveVerdict(UPDATE, verdict)
    assert isinstance(state.work, Fetching)
    assert state.work.to_work
    assert do.Fetch(manifest(3, max_staleness=STALE), False, True) in effects


def test_an_update_from_another_history_is_dropped_and_the_newest_version_begun() -> None:
    state, _ = step(late(), receipt("refused", round=3, reason=Reason.WRONG_BASE))
    assert state.saved is None
    assert isinstance(state.work, Fetching)


def test_a_device_in_quarantine_waits_for_the_next_version() -> None:
    state, _ = step(late(), receipt("refused", round=3, reason=Reason.QUARANTINED))
    assert state.work == Idle()
    again, effects = step(state, version(4))
    assert isinstance(again.work, Reporting)
    assert do.PublishUpdate(UPDATE, None) in effects


def test_one_update_for_each_version() -> None:
    """After the verdict on the update for the newest version there is nothing to do."""
    state, effects = story(training(), done(), receipt("admitted"))
    assert state.work == Idle()
    assert not [each for each in effects if isinstance(each, do.Fetch | do.StartWork)]


def test_an_update_that_is_sent_stays_when_a_newer_version_is_announced() -> None:
    state, effects = story(training(), done(), version(2))
    assert isinstance(state.work, Reporting)
    assert effects == [do.SaveSeen(attempt(1, 2))]


def test_an_update_that_had_to_wait_is_sent_with_the_next_version() -> None:
    busy = receipt("retry", after_s=5.0)
    state, effects = story(training(), done(), busy, version(2))
    assert effects == [do.SaveSeen(attempt(1, 2)), do.PublishUpdate(UPDATE, (0,))]
    assert story(state, version(3))[1] == [do.SaveSeen(attempt(1, 3))], "once"


def test_an_update_survives_a_restart() -> None:
    saved = Saved(RoundId(1, 1), UPDATE, ours=False)
    begun = replace(HOLDS, seen=attempt(1, 2), saved=saved)
    state, effects = step(begun, version(3))
    assert isinstance(state.work, Reporting)
    assert do.PublishUpdate(UPDATE, None) in effects
    too_old, _ = step(begun, version(5))
    assert isinstance(too_old.work, Fetching)


def test_a_late_update_that_cannot_be_saved_is_given_up() -> None:
    before = story(training(), version(2))[0]
    state, effects = step(before, done())
    assert isinstance(effects[0], do.SaveUpdate)
    retreat = give_up(before, state, effects[0], "disk full", 0.0)
    assert retreat is not None
    assert retreat[1] is not None
    state, effects = step(retreat[0], retreat[1])
    assert state.saved is None
    assert state.declined is not None
    assert (state.declined.round, state.declined.reason) == (2, Reason.FAILED)


def test_a_fresh_update_keeps_its_model_as_before() -> None:
    other = replace(HOLDS, kept=digest("an older model"))
    _, effects = story(other, version(1), done())
    assert [type(each) for each in effects] == [do.SaveUpdate, do.PublishUpdate, do.KeepModel]
