"""How a device reports its update and what it makes of a verdict, told as stories."""

from dataclasses import replace

import pytest

from agent.core import effects as do
from agent.core import events as on
from agent.core.device import Fetching, Idle, Reporting, Saved, Working
from agent.core.lifecycle import due_s, step
from agent.core.lifecycle.download import FETCH_RETRY_S, LONGEST_FETCH_RETRY_S
from agent.core.lifecycle.report import LONGEST_REPORT_RETRY_S, REPORT_RETRY_S
from fedge.wire.freshness import RoundId
from fedge.wire.reasons import Reason
from tests.agent.lifecycle.stories import (
    CONNECTED,
    TASK,
    UPDATE,
    announced,
    answered,
    attempt,
    blob,
    digest,
    manifest,
    receipt,
    reporting,
    story,
    working,
)
from tests.wording import assert_tells


@pytest.mark.parametrize("verdict", ["admitted", "refused"])
def test_a_verdict_is_saved_and_ends_the_reporting(verdict: str) -> None:
    state, effects = step(reporting(), receipt(verdict, detail="why"))
    assert state.work == Idle()
    assert state.saved == Saved(RoundId(1, 1), UPDATE, verdict)
    assert effects[0] == do.SaveVerdict(UPDATE, verdict)
    assert isinstance(effects[1], do.Log)
    assert ("not_finite: why" in effects[1].text) == (verdict == "refused")
    assert step(state, receipt("refused")) == (state, []), "the first verdict stands"
    assert story(state, announced(manifest()))[1] == [], "and its round is over for this device"


def test_a_round_of_the_same_number_from_another_model_is_answered_anew() -> None:
    """Two aggregators with copies of one ledger were at work: each has a history of its own."""
    other = manifest(model=blob("another model"))
    for state in (working(), reporting(), answered()):
        asked, effects = step(state, announced(other))
        assert isinstance(asked.work, Fetching)
        assert asked.saved is None
        assert (do.CancelWork(RoundId(1, 1)) in effects) == (state is working())
    over, _ = step(answered(), announced(manifest(state="done", attempt=1, model=blob("model 1.2"))))
    assert over.saved == answered().saved, (
        "the end is announced with the final model, and with no new question"
    )


def test_the_same_model_in_another_slot_is_no_other_question() -> None:
    moved = manifest(model=blob("model 1.1").model_copy(update={"slot": 1}))
    for state in (working(), reporting(), answered()):
        assert story(state, announced(moved)) == (replace(state, manifest=moved), [])


def test_a_round_that_is_announced_again_may_be_cut_otherwise() -> None:
    """The aggregator was restarted with another setting, or is at another broker."""
    finer = manifest(
        task=manifest().task.model_copy(update={"frames": 2}),
        model=blob("model 1.1").model_copy(update={"frames": 3}),
        max_payload_bytes=4_096,
    )
    for state in (working(), reporting(), answered()):
        after, effects = story(state, announced(finer))
        assert (after.manifest, effects) == (finer, [])


def test_an_update_made_from_another_model_is_forgotten_and_the_next_attempt_answered() -> None:
    state, effects = step(reporting(), receipt("refused", reason=Reason.WRONG_BASE))
    assert (state.saved, state.work) == (None, Idle())
    assert [type(effect) for effect in effects] == [do.Log]
    again, _ = step(state, announced(manifest(attempt=1)))
    assert isinstance(again.work, Working)


@pytest.mark.parametrize("reason", [Reason.ALREADY_ANSWERED, Reason.FUTURE_ROUND])
def test_an_aggregator_that_does_not_know_the_round_yet_is_no_judge_of_its_update(reason: Reason) -> None:
    """It serves an older copy of the ledger; the newest one is restored, and asks for the update."""
    state, effects = step(reporting(), receipt("refused", round=0, reason=reason))
    assert (state.saved, state.work) == (reporting().saved, Idle())
    assert [type(effect) for effect in effects] == [do.Log]
    assert step(state, receipt("refused", round=0, reason=reason)) == (state, []), "said once, not in a flood"
    again, effects = step(state, announced(manifest()))
    assert isinstance(again.work, Reporting)
    assert effects == [do.PublishUpdate(UPDATE, None)]
    assert step(again, receipt("refused", round=2))[0].saved == Saved(RoundId(1, 1), UPDATE, "refused")


def test_an_update_that_counted_in_another_history_is_forgotten_where_it_is_asked_for_anew() -> None:
    """One aggregator ended with this round; another one, whose model is another, is still in it."""
    done_elsewhere = manifest(state="done", attempt=1, model=blob("model 1.2"))
    other = manifest(attempt=2, model=blob("another model"))
    asking, effects = story(answered(), announced(done_elsewhere), announced(other))
    assert do.PublishUpdate(UPDATE, (0,)) in effects
    state, _ = step(asking, receipt("refused", reason=Reason.WRONG_BASE))
    assert (state.saved, state.work) == (None, Idle())
    unasked, effects = step(answered(), receipt("refused", reason=Reason.WRONG_BASE))
    assert (unasked, effects) == (answered(), []), "the first verdict stands"
    again, _ = step(state, announced(other.model_copy(update={"attempt": 3})))
    assert isinstance(again.work, Fetching)


def test_the_end_of_another_history_is_followed() -> None:
    """Two aggregators with copies of one ledger ended with the same round: the one that is left counts."""
    first, second = (
        manifest(state="done", attempt=1, model=blob(f"the end of {name}")) for name in ("one", "another")
    )
    held = replace(answered(), manifest=first, seen=attempt(1, 1, 1), kept=digest("the end of one"))
    state, effects = step(held, announced(second))
    assert isinstance(state.work, Fetching)
    assert do.Fetch(second, task=False, model=True) in effects
    assert step(held, announced(first)) == (replace(held, closes_s=60.0), []), (
        "said again, it asks for nothing"
    )


@pytest.mark.parametrize("reason", [Reason.NOT_CHOSEN, Reason.QUARANTINED])
def test_an_update_that_is_not_asked_for_yet_is_kept_and_sent_in_the_next_attempt(reason: Reason) -> None:
    state, effects = step(reporting(), receipt("refused", reason=reason))
    assert (state.saved, state.work) == (reporting().saved, Idle())
    assert [type(effect) for effect in effects] == [do.Log]
    assert due_s(state) == due_s(replace(reporting(), work=Idle())), "until then it is silent"
    again, effects = step(state, announced(manifest(attempt=1)))
    assert isinstance(again.work, Reporting)
    assert do.PublishUpdate(UPDATE, None) in effects


def test_a_verdict_on_an_earlier_round_is_saved_and_disturbs_nothing() -> None:
    waiting, _ = step(reporting(), announced(manifest(2)))
    assert isinstance(waiting.work, Fetching)
    state, effects = step(waiting, receipt("admitted"))
    assert state == replace(waiting, saved=Saved(RoundId(1, 1), UPDATE, "admitted"))
    assert effects[0] == do.SaveVerdict(UPDATE, "admitted")


def test_an_update_of_a_round_that_is_forgotten_is_over_and_the_next_round_is_answered() -> None:
    forgotten = receipt("refused", round=40, reason=Reason.FORGOTTEN, detail="round 1.1 is no longer kept")
    state, effects = step(reporting(), forgotten)
    assert state.work == Idle()
    assert effects[0] == do.SaveVerdict(UPDATE, "refused")
    assert isinstance(effects[1], do.Log)
    assert_tells(effects[1].text, "round 1.1 ", "no longer kept")
    state, effects = step(state, announced(manifest(40)))
    assert isinstance(state.work, Fetching)
    # An agent of 0.2.0 does not know the name: it is over for that one too.
    state, effects = step(reporting(), receipt("refused", round=40, reason=Reason.OTHER))
    assert (state.work, effects[0]) == (Idle(), do.SaveVerdict(UPDATE, "refused"))


def test_missing_frames_are_sent_at_once() -> None:
    state, effects = step(reporting(), receipt("retry", missing=(1, 5)))
    assert effects == [do.PublishUpdate(UPDATE, (1, 5))]
    assert state.work == Reporting((0,), REPORT_RETRY_S)


def test_a_busy_aggregator_is_left_alone_for_as_long_as_it_says() -> None:
    state, effects = step(reporting(), receipt("retry", missing=(1,), after_s=30.0))
    assert effects == []
    due = due_s(state)
    assert due is not None
    assert 30.0 <= due <= 45.0, "with jitter: others were told the same"
    assert step(state, on.Tick(29.9)) == (state, [])
    assert step(state, on.Tick(due))[1] == [do.PublishUpdate(UPDATE, (1,))]


def test_a_retry_that_names_nothing_is_no_ping_pong() -> None:
    state, effects = step(reporting(), receipt("retry"))
    assert effects == []
    due = due_s(state)
    assert due is not None
    assert due >= REPORT_RETRY_S


def test_repeating_backs_off_with_bounded_jitter() -> None:
    pauses = []
    state, now_s = reporting(), REPORT_RETRY_S
    for _ in range(12):
        assert step(state, on.Tick(now_s - 0.01)) == (state, [])
        state, effects = step(state, on.Tick(now_s))
        assert effects == [do.PublishUpdate(UPDATE, (0,))]
        due = due_s(state)
        assert due is not None
        pauses.append(due - now_s)
        now_s = due
    for tries, pause_s in enumerate(pauses):
        whole_s = min(LONGEST_REPORT_RETRY_S, REPORT_RETRY_S * 2**tries)
        assert 0.5 * whole_s <= pause_s <= 1.5 * whole_s
    assert len({pause_s / LONGEST_REPORT_RETRY_S for pause_s in pauses[6:]}) == 6, "each differs"
    another = replace(reporting(), saved=Saved(RoundId(1, 1), digest("another")))
    assert due_s(step(another, on.Tick(REPORT_RETRY_S))[0]) != REPORT_RETRY_S + pauses[0]


def test_fetching_is_asked_for_again() -> None:
    state, first = step(CONNECTED, announced(manifest()))
    assert step(state, on.Tick(FETCH_RETRY_S - 0.1)) == (state, [])
    state, effects = step(state, on.Tick(FETCH_RETRY_S))
    assert effects == first
    state, _ = step(state, on.Fetched(0.0, "task", TASK))
    assert step(state, on.Tick(3 * FETCH_RETRY_S - 0.1)) == (state, []), "less often each time"
    _, effects = step(state, on.Tick(3 * FETCH_RETRY_S))
    assert effects == [do.Fetch(manifest(), task=False, model=True)], "only what is still lacking"
    for _ in range(100):
        before, (state, effects) = state, step(state, on.Tick(due_s(state) or 0.0))
        assert len(effects) == 1
        assert isinstance(before.work, Fetching)
        assert isinstance(state.work, Fetching)
        assert state.work.due_s <= before.work.due_s + LONGEST_FETCH_RETRY_S
    state, _ = story(state, on.LinkDown(), on.LinkUp(10_000.0, 2))
    assert due_s(state) == 10_000.0 + FETCH_RETRY_S


def test_fetching_is_not_asked_for_again_while_frames_arrive() -> None:
    """A large model on a thin link: the broker would send it from the beginning, behind itself."""
    state, _ = step(CONNECTED, announced(manifest()))
    for now_s in range(10, 600, 10):
        state, effects = step(state, on.FrameArrived(float(now_s)))
        assert effects == []
        assert step(state, on.Tick(now_s + FETCH_RETRY_S - 0.1)) == (state, [])
    _, effects = step(state, on.Tick(now_s + FETCH_RETRY_S))
    assert effects == [do.Fetch(manifest(), task=True, model=True)]
    assert step(working(), on.FrameArrived(1.0)) == (working(), [])
