"""How a device follows announcements, told as stories."""

from dataclasses import replace

from agent.core import effects as do
from agent.core import events as on
from agent.core.device import Fetching, Idle, Working
from agent.core.lifecycle import due_s, step
from agent.core.lifecycle.download import FETCH_RETRY_S, KEEP_AGAIN_S
from fedge.wire.freshness import RoundId
from fedge.wire.reasons import Reason
from tests.agent.lifecycle.stories import (
    CONNECTED,
    FOLLOW_S,
    HOLDS,
    UPDATE,
    announced,
    attempt,
    blob,
    done,
    manifest,
    model_of,
    online,
    reporting,
    story,
    working,
)
from tests.wording import assert_tells

# ── a newer round ──────────────────────────────────────────────────────────────────────────────────


def test_a_newer_round_drops_older_work() -> None:
    fetching, _ = step(CONNECTED, announced(manifest()))
    both = [do.Fetch(manifest(2), task=True, model=True)]
    assert step(fetching, announced(manifest(2)))[1] == [do.StopFetching(), *both]
    lacks = [do.Fetch(manifest(2), task=False, model=True)]
    assert step(working(), announced(manifest(2)))[1] == [do.CancelWork(RoundId(1, 1)), *lacks]
    state, effects = step(reporting(), announced(manifest(2)))
    assert effects == lacks
    assert state.work == Fetching(to_work=True, due_s=FETCH_RETRY_S)


def test_the_result_of_cancelled_work_is_dropped() -> None:
    state, _ = step(working(), announced(manifest(2)))
    assert step(state, done()) == (state, [])
    assert step(state, on.Failed(RoundId(1, 1), Reason.FAILED, "")) == (state, [])


def test_a_new_generation_is_newer_whatever_its_round() -> None:
    late = replace(HOLDS, seen=attempt(1, 50))
    state, effects = step(late, announced(manifest(0, generation=2)))
    assert state.seen == attempt(2, 0)
    assert effects == [do.Fetch(manifest(0, generation=2), task=True, model=False)]


def test_an_older_announcement_is_ignored_and_said() -> None:
    state = replace(HOLDS, seen=attempt(2, 3))
    after, effects = step(state, announced(manifest(9)))
    assert after == replace(state, passed_over=attempt(2, 3))
    said, status = effects
    assert isinstance(said, do.Log)
    assert (said.level, status) == ("warning", online(state))
    assert_tells(said.text, "round 1.9", "round 2.3")
    assert step(after, announced(manifest(8))) == (after, []), "said once, however often it is replayed"


def test_another_attempt_goes_on_with_what_is_under_way() -> None:
    again = announced(manifest(attempt=1), now_s=5.0)
    fetching, _ = step(CONNECTED, announced(manifest()))
    for before, saves in ((fetching, []), (working(), []), (reporting(), [do.SaveSeen(attempt(1, 1, 1))])):
        state, effects = step(before, again)
        assert (state.work, effects) == (before.work, saves)
        assert state.closes_s == 65.0
    _, effects = story(working(), again, done())
    assert effects[0] == do.SaveUpdate(attempt(1, 1, 1), UPDATE, b"payload")
    state, _ = story(working(), again, on.Failed(RoundId(1, 1), Reason.FAILED, "x"))
    assert state.declined is not None
    assert state.declined.attempt == 1


def test_another_attempt_may_choose_a_device_that_only_followed() -> None:
    state, effects = step(CONNECTED, announced(manifest(chosen=False)))
    assert state.work == Fetching(to_work=False, due_s=FETCH_RETRY_S)
    state, effects = step(state, announced(manifest(attempt=1)))
    assert state.work == Fetching(to_work=True, due_s=FETCH_RETRY_S)
    assert effects == [do.StopFetching(), do.Fetch(manifest(attempt=1), task=True, model=True)]
    idle, _ = step(HOLDS, announced(manifest(chosen=False)))
    assert step(idle, announced(manifest(attempt=1)))[1] == [do.StartWork(manifest(attempt=1))]


def test_the_same_announcement_again_changes_nothing() -> None:
    state, _ = step(working(), announced(manifest(attempt=1)))
    assert step(state, announced(manifest(attempt=1))) == (state, [])
    assert step(state, announced(manifest(attempt=1, state="closed"))) == (state, [])


def test_a_repeated_announcement_says_anew_where_everything_is() -> None:
    """Another broker's limits give another cut."""
    names = ("task", "model", "coded", "key")
    said = manifest(**{name: blob(name) for name in names})
    anew = {name: blob(name).model_copy(update={"frames": 9}) for name in names}
    state, _ = story(CONNECTED, announced(said), announced(said.model_copy(update=anew)))
    assert state.manifest is not None
    assert {name: getattr(state.manifest, name) for name in names} == anew


def test_an_older_attempt_is_ignored_and_said_also_after_a_restart() -> None:
    going_on, _ = step(working(), announced(manifest(attempt=1)))
    for state in (going_on, replace(HOLDS, seen=attempt(1, 1, 1))):
        after, effects = step(state, announced(manifest()))
        assert after == replace(state, passed_over=attempt(1, 1, 1))
        assert isinstance(effects[0], do.Log)
        assert_tells(effects[0].text, "round 1.1", "round 1.1, attempt 1")
        assert step(after, announced(manifest())) == (after, [])


def test_an_announcement_said_again_in_time_is_decided_again() -> None:
    late, effects = step(HOLDS, announced(manifest(), left_s=0.0))
    assert (late.work, effects) == (Idle(), [do.SaveSeen(attempt(1, 1))])
    _, effects = step(late, announced(manifest()))
    assert effects == [do.StartWork(manifest())]


# ── not chosen, closed, done ───────────────────────────────────────────────────────────────────────


def test_a_device_that_is_not_chosen_publishes_nothing_and_follows_at_its_own_pace() -> None:
    state, effects = step(HOLDS, announced(manifest(2, chosen=False), now_s=FOLLOW_S - 1))
    assert (state.work, effects) == (Idle(), [do.SaveSeen(attempt(1, 2))])
    assert due_s(state) == FOLLOW_S
    assert step(state, on.Tick(FOLLOW_S - 0.1)) == (state, [])
    state, effects = step(state, on.Tick(FOLLOW_S))
    assert effects == [do.Fetch(manifest(2, chosen=False), task=False, model=True)]
    state, effects = step(state, on.Fetched(101.0, "model", model_of(2)))
    assert effects == [do.StopFetching(), do.KeepModel(manifest(2, chosen=False))]
    assert (state.work, state.kept, state.followed_s, due_s(state)) == (Idle(), model_of(2), 101.0, None)


def test_a_device_that_never_followed_does_so_at_once() -> None:
    _, effects = step(CONNECTED, announced(manifest(chosen=False)))
    assert effects == [do.SaveSeen(attempt(1, 1)), do.Fetch(manifest(chosen=False), task=True, model=True)]


def test_a_round_in_a_state_that_is_not_known_cancels_the_work_and_is_declined() -> None:
    state, effects = step(working(), announced(manifest(2, state="paused")))
    assert state.work == Idle()
    assert effects[:2] == [do.CancelWork(RoundId(1, 1)), do.SaveSeen(attempt(1, 2))]
    assert state.declined is not None
    assert (state.declined.round, state.declined.reason) == (2, Reason.UNSUPPORTED)
    assert "state:paused" in state.declined.detail


def test_done_follows_the_model_on_every_device() -> None:
    said = manifest(2, chosen=False, state="done")
    state, effects = step(HOLDS, announced(said))
    assert effects == [do.SaveSeen(attempt(1, 2)), do.Fetch(said, task=False, model=True)]
    state, effects = step(state, on.Fetched(3.0, "model", model_of(2)))
    assert effects == [do.StopFetching(), do.KeepModel(said), online(state)]
    assert isinstance(effects[2], do.PublishStatus)
    assert effects[2].status.holds == model_of(2)
    after, effects = step(state, announced(said))
    assert (after.work, effects) == (Idle(), [])


def test_done_is_the_last_round_announced_once_more() -> None:
    said = manifest(attempt=1, state="done", model=blob("model 1.2"))
    state, effects = step(working(), announced(said))
    assert effects == [
        do.CancelWork(RoundId(1, 1)),
        do.SaveSeen(attempt(1, 1, 1)),
        do.Fetch(said, task=False, model=True),
    ]
    assert state.work == Fetching(to_work=False, due_s=FETCH_RETRY_S)


def test_done_with_the_model_at_hand_saves_what_it_has_seen_before_it_says_so() -> None:
    said = manifest(state="done")
    state, effects = step(replace(HOLDS, kept=None), announced(said))
    assert effects == [do.SaveSeen(attempt(1, 1)), do.KeepModel(said), online(state)]


def test_who_has_measured_the_final_model_says_that_it_holds_it() -> None:
    """It kept it while it measured; when learning is done there is nothing to fetch, but something to say."""
    said = manifest(attempt=1, state="done")
    assert said.model is not None
    state, effects = step(replace(HOLDS, kept=said.model.digest), announced(said))
    assert effects == [do.SaveSeen(attempt(1, 1, 1)), online(state)]
    assert step(state, announced(said))[1] == [], "once"


def test_a_round_that_measures_is_work_on_the_model_at_hand() -> None:
    said = manifest(kind="evaluate", plan=None)
    state, effects = step(HOLDS, announced(said))
    assert (state.work, effects) == (Working(RoundId(1, 1)), [do.StartWork(said)])


def test_a_model_that_could_not_be_kept_is_kept_later() -> None:
    state, _ = step(replace(HOLDS, kept=None), announced(manifest(state="done")))
    state, effects = step(state, on.KeepFailed(50.0))
    assert (state.kept, effects) == (None, [])
    assert due_s(state) == 50.0 + KEEP_AGAIN_S < 50.0 + FOLLOW_S
    state, effects = step(state, on.Tick(50.0 + KEEP_AGAIN_S))
    assert effects == [do.KeepModel(manifest(state="done")), online(state)]


def test_an_aged_announcement_starts_nothing() -> None:
    state, effects = step(HOLDS, announced(manifest(), left_s=0.0))
    assert (state.work, effects) == (Idle(), [do.SaveSeen(attempt(1, 1))])
