"""A device's decisions, told as stories: an event, then the state and the effects."""

import os
from dataclasses import replace
from hashlib import sha256
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.core import effects as do
from agent.core import events as on
from agent.core import lifecycle
from agent.core.conditions import Readings
from agent.core.device import Device, Fetching, Idle, Reporting, Saved, Working
from agent.core.lifecycle import due_s, step
from agent.core.lifecycle.download import FETCH_RETRY_S, KEEP_AGAIN_S, LONGEST_FETCH_RETRY_S
from agent.core.lifecycle.link import CLONE_PAUSE_S
from agent.core.lifecycle.report import LONGEST_REPORT_RETRY_S, REPORT_RETRY_S
from agent.settings.conditions import ConditionsSettings
from agent.settings.limits import LimitsSettings
from fedge.algorithms.plan import Plan
from fedge.data.disclosure import Public, withheld
from fedge.wire.capabilities import can
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.status import Status
from fedge.wire.reasons import Reason

BOOT, OTHER_BOOT = b"b" * 16, b"o" * 16
FOLLOW_S = 100.0


def digest(text: str) -> bytes:
    return sha256(text.encode()).digest()


def blob(text: str) -> Blob:
    return Blob(digest=digest(text), slot=0, frames=2, size=200_000)


UPDATE, TASK = digest("update"), digest("task 1")


def manifest(round_: int = 1, *, chosen: bool = True, **fields: Any) -> Manifest:
    generation = fields.get("generation", 1)
    survey = round_ == 0
    return Manifest.model_validate(
        {
            "generation": generation,
            "round": round_,
            "kind": "survey" if survey else "train",
            "state": "open",
            "seed": 7,
            "task": blob(f"task {generation}"),
            "model": None if survey else blob(f"model {generation}.{round_}"),
            "plan": None if survey else Plan(),
            "cohort": Cohort(fraction=1.0 if chosen else 1e-12, seed=1),
            "seconds_left": 60.0,
            **fields,
        }
    )


def attempt(generation: int, round_: int, number: int = 0) -> Attempt:
    return Attempt(RoundId(generation, round_), number)


def model_of(round_: int) -> bytes:
    return digest(f"model 1.{round_}")


def announced(said: Manifest, *, now_s: float = 0.0, left_s: float = 60.0) -> on.RoundAnnounced:
    return on.RoundAnnounced(now_s, said, left_s)


def receipt(verdict: str, update: bytes = UPDATE, **fields: Any) -> on.ReceiptArrived:
    reason = Reason.NOT_FINITE if verdict == "refused" else None
    message = {"generation": 1, "round": 1, "update": update, "verdict": verdict, "reason": reason, **fields}
    return on.ReceiptArrived(fields.pop("now_s", 0.0), Receipt.model_validate(message))


def done(round_: int = 1, update: bytes = UPDATE) -> on.Done:
    return on.Done(0.0, RoundId(1, round_), update, b"payload", 100)


FRESH = Device(device="pi", boot=BOOT, version="0", follow_s=FOLLOW_S)
CONNECTED = replace(FRESH, link_up=True, connection=1)
HOLDS = replace(CONNECTED, task=TASK, model=model_of(1), kept=model_of(1), followed_s=0.0)


def story(state: Device, *events: on.Event) -> tuple[Device, list[do.Effect]]:
    """The state after all events, and the effects of the last one."""
    effects: list[do.Effect] = []
    for event in events:
        state, effects = step(state, event)
    return state, effects


def online(state: Device) -> do.PublishStatus:
    return do.PublishStatus(lifecycle.status(state))


WORKING, _ = story(HOLDS, announced(manifest()))
REPORTING, _ = story(WORKING, done())
ANSWERED, _ = story(REPORTING, receipt("admitted"))


# ── the link ───────────────────────────────────────────────────────────────────────────────────────


def test_a_new_connection_greets_first_and_then_says_who_is_there() -> None:
    state, effects = step(FRESH, on.LinkUp(0.0, 1))
    assert effects == [do.Subscribe(), online(state)]
    assert isinstance(effects[1], do.PublishStatus)
    assert effects[1].status == Status(
        online=True, boot=BOOT, connection=1, version="0", can=tuple(sorted(can()))
    )
    assert (state.link_up, state.returned) == (True, False)
    state, effects = story(state, on.LinkDown(), on.LinkUp(1.0, 2))
    assert effects == [do.Subscribe(), online(state)]
    assert state.returned


def test_a_dead_wifi_changes_only_the_link() -> None:
    for before in (HOLDS, WORKING, REPORTING, ANSWERED):
        after, effects = step(before, on.LinkDown())
        assert (after, effects) == (replace(before, link_up=False), [])
        assert due_s(after) is None, "nothing can be said while it is down"
    state, effects = story(WORKING, on.LinkDown(), done())
    assert state.work == REPORTING.work, "training goes on, and its result is saved"
    assert isinstance(effects[0], do.SaveUpdate)


def test_fetching_goes_on_after_a_reconnect() -> None:
    state, first = step(CONNECTED, announced(manifest()))
    state, effects = story(state, on.LinkDown(), on.LinkUp(9.0, 2))
    assert effects == [do.Subscribe(), online(state), *first]
    assert state.work == Fetching(to_work=True, due_s=9.0 + FETCH_RETRY_S)


def test_reporting_goes_on_with_frame_0_after_a_reconnect() -> None:
    state, effects = story(REPORTING, on.LinkDown(), on.LinkUp(9.0, 2))
    assert effects == [do.Subscribe(), online(state), do.PublishUpdate(UPDATE, (0,))]
    assert due_s(state) == 9.0 + REPORT_RETRY_S


# ── a round ────────────────────────────────────────────────────────────────────────────────────────


def test_a_chosen_device_fetches_what_it_lacks_then_works() -> None:
    said = manifest()
    state, effects = step(CONNECTED, announced(said))
    assert effects == [do.Fetch(said, task=True, model=True)]
    assert state.work == Fetching(to_work=True, due_s=FETCH_RETRY_S)
    state, effects = step(state, on.Fetched(1.0, "model", model_of(1)))
    assert effects == []
    state, effects = step(state, on.Fetched(2.0, "task", TASK))
    assert effects == [do.StopFetching(), do.StartWork(said)]
    assert state.work == Working(RoundId(1, 1))
    assert due_s(state) is None


def test_a_chosen_device_that_holds_both_works_at_once() -> None:
    state, effects = step(HOLDS, announced(manifest()))
    assert effects == [do.StartWork(manifest())]
    assert state.work == Working(RoundId(1, 1))
    _, effects = step(HOLDS, announced(manifest(2)))
    assert effects == [do.Fetch(manifest(2), task=False, model=True)]


def test_a_survey_needs_the_task_alone() -> None:
    state, effects = step(CONNECTED, announced(manifest(0)))
    assert effects == [do.Fetch(manifest(0), task=True, model=False)]
    state, effects = step(state, on.Fetched(0.0, "task", TASK))
    assert effects == [do.StopFetching(), do.StartWork(manifest(0))]
    state, effects = step(state, done(0))
    assert effects == [
        do.SaveUpdate(attempt(1, 0), UPDATE, b"payload"),
        do.PublishUpdate(UPDATE, None),
    ], "there is no model to keep"


def test_law_4_the_update_is_saved_before_it_is_published_and_then_the_model_kept() -> None:
    fetched = replace(HOLDS, kept=None)
    state, effects = story(fetched, announced(manifest()), done())
    assert effects == [
        do.SaveUpdate(attempt(1, 1), UPDATE, b"payload"),
        do.PublishUpdate(UPDATE, None),
        do.KeepModel(manifest()),
    ]
    assert state.work == Reporting((0,), REPORT_RETRY_S)
    assert state.saved == Saved(RoundId(1, 1), UPDATE)
    assert (state.kept, state.samples) == (model_of(1), 100)


def test_work_that_fails_is_declined() -> None:
    event = on.Failed(RoundId(1, 1), Reason.TOO_FEW_SAMPLES, "a.csv: line 4", Public("x" * 600))
    state, effects = step(WORKING, event)
    assert state.work == Idle()
    assert state.declined is not None
    assert (state.declined.reason, state.declined.attempt) == (Reason.TOO_FEW_SAMPLES, 0)
    assert state.declined.detail == "x" * 500
    assert [type(effect) for effect in effects] == [do.Log, do.SaveSeen, do.PublishStatus]
    assert effects[0] == do.Log("warning", "round 1.1: declined (too_few_samples): a.csv: line 4")
    assert effects[2] == online(state)
    again, effects = step(state, announced(manifest()))
    assert (again.work, effects) == (Idle(), []), "what was declined is not tried again"
    again, effects = step(state, announced(manifest(attempt=1)))
    assert effects == [do.StartWork(manifest(attempt=1))], "but in another attempt it is"
    assert again.declined is None


def test_what_only_the_device_knows_is_not_told_in_a_decline() -> None:
    name = os.fsdecode(b"caf\xe9.csv")
    state, effects = step(WORKING, on.Failed(RoundId(1, 1), Reason.BAD_DATA, f"{name}: line 2"))
    assert state.declined is not None
    assert state.declined.detail == withheld(Reason.BAD_DATA)
    assert effects[0] == do.Log("warning", f"round 1.1: declined (bad_data): {name}: line 2")
    assert unpack(pack(lifecycle.status(state)), Status).declined == state.declined


def test_an_update_that_cannot_be_saved_is_declined_and_forgotten() -> None:
    state, effects = step(REPORTING, on.Failed(RoundId(1, 1), Reason.FAILED, "disk full"))
    assert (state.work, state.saved) == (Idle(), None)
    assert state.kept is None, "what comes after the update was not performed either"
    assert effects[-1] == online(state)
    assert state.declined is not None


@pytest.mark.parametrize("verdict", ["admitted", "refused"])
def test_a_verdict_is_saved_and_ends_the_reporting(verdict: str) -> None:
    state, effects = step(REPORTING, receipt(verdict, detail="why"))
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
    for state in (WORKING, REPORTING, ANSWERED):
        asked, effects = step(state, announced(other))
        assert isinstance(asked.work, Fetching)
        assert asked.saved is None
        assert (do.CancelWork(RoundId(1, 1)) in effects) == (state is WORKING)
    over, _ = step(ANSWERED, announced(manifest(state="done", attempt=1, model=blob("model 1.2"))))
    assert over.saved == ANSWERED.saved, "the end is announced with the final model, and with no new question"


def test_the_same_model_in_another_slot_is_no_other_question() -> None:
    moved = manifest(model=blob("model 1.1").model_copy(update={"slot": 1}))
    for state in (WORKING, REPORTING, ANSWERED):
        assert story(state, announced(moved)) == (state, [])


def test_an_update_made_from_another_model_is_forgotten_and_the_next_attempt_answered() -> None:
    state, effects = step(REPORTING, receipt("refused", reason=Reason.WRONG_BASE))
    assert (state.saved, state.work) == (None, Idle())
    assert [type(effect) for effect in effects] == [do.Log]
    again, _ = step(state, announced(manifest(attempt=1)))
    assert isinstance(again.work, Working)


@pytest.mark.parametrize("reason", [Reason.ALREADY_ANSWERED, Reason.FUTURE_ROUND])
def test_an_aggregator_that_does_not_know_the_round_yet_is_no_judge_of_its_update(reason: Reason) -> None:
    """It serves an older copy of the ledger; the newest one is restored, and asks for the update."""
    state, effects = step(REPORTING, receipt("refused", round=0, reason=reason))
    assert (state.saved, state.work) == (REPORTING.saved, Idle())
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
    asking, effects = story(ANSWERED, announced(done_elsewhere), announced(other))
    assert do.PublishUpdate(UPDATE, (0,)) in effects
    state, _ = step(asking, receipt("refused", reason=Reason.WRONG_BASE))
    assert (state.saved, state.work) == (None, Idle())
    unasked, effects = step(ANSWERED, receipt("refused", reason=Reason.WRONG_BASE))
    assert (unasked, effects) == (ANSWERED, []), "the first verdict stands"
    again, _ = step(state, announced(other.model_copy(update={"attempt": 3})))
    assert isinstance(again.work, Fetching)


def test_the_end_of_another_history_is_followed() -> None:
    """Two aggregators with copies of one ledger ended with the same round: the one that is left counts."""
    first, second = (
        manifest(state="done", attempt=1, model=blob(f"the end of {name}")) for name in ("one", "another")
    )
    held = replace(ANSWERED, manifest=first, seen=attempt(1, 1, 1), kept=digest("the end of one"))
    state, effects = step(held, announced(second))
    assert isinstance(state.work, Fetching)
    assert do.Fetch(second, task=False, model=True) in effects
    assert step(held, announced(first)) == (replace(held, closes_s=60.0), []), (
        "said again, it asks for nothing"
    )


@pytest.mark.parametrize("reason", [Reason.NOT_CHOSEN, Reason.QUARANTINED])
def test_an_update_that_is_not_asked_for_yet_is_kept_and_sent_in_the_next_attempt(reason: Reason) -> None:
    state, effects = step(REPORTING, receipt("refused", reason=reason))
    assert (state.saved, state.work) == (REPORTING.saved, Idle())
    assert [type(effect) for effect in effects] == [do.Log]
    assert due_s(state) == due_s(replace(REPORTING, work=Idle())), "until then it is silent"
    again, effects = step(state, announced(manifest(attempt=1)))
    assert isinstance(again.work, Reporting)
    assert do.PublishUpdate(UPDATE, None) in effects


def test_a_verdict_on_an_earlier_round_is_saved_and_disturbs_nothing() -> None:
    waiting, _ = step(REPORTING, announced(manifest(2)))
    assert isinstance(waiting.work, Fetching)
    state, effects = step(waiting, receipt("admitted"))
    assert state == replace(waiting, saved=Saved(RoundId(1, 1), UPDATE, "admitted"))
    assert effects[0] == do.SaveVerdict(UPDATE, "admitted")


def test_an_update_of_a_round_that_is_forgotten_is_over_and_the_next_round_is_answered() -> None:
    forgotten = receipt("refused", round=40, reason=Reason.FORGOTTEN, detail="round 1.1 is no longer kept")
    state, effects = step(REPORTING, forgotten)
    assert state.work == Idle()
    assert effects[0] == do.SaveVerdict(UPDATE, "refused")
    assert isinstance(effects[1], do.Log)
    assert "nobody knows any more whether the update counted: round 1.1 is no longer kept" in effects[1].text
    state, effects = step(state, announced(manifest(40)))
    assert isinstance(state.work, Fetching)
    # An agent of 0.2.0 does not know the name: it is over for that one too.
    state, effects = step(REPORTING, receipt("refused", round=40, reason=Reason.OTHER))
    assert (state.work, effects[0]) == (Idle(), do.SaveVerdict(UPDATE, "refused"))


def test_missing_frames_are_sent_at_once() -> None:
    state, effects = step(REPORTING, receipt("retry", missing=(1, 5)))
    assert effects == [do.PublishUpdate(UPDATE, (1, 5))]
    assert state.work == Reporting((0,), REPORT_RETRY_S)


def test_a_busy_aggregator_is_left_alone_for_as_long_as_it_says() -> None:
    state, effects = step(REPORTING, receipt("retry", missing=(1,), after_s=30.0))
    assert effects == []
    due = due_s(state)
    assert due is not None
    assert 30.0 <= due <= 45.0, "with jitter: others were told the same"
    assert step(state, on.Tick(29.9)) == (state, [])
    assert step(state, on.Tick(due))[1] == [do.PublishUpdate(UPDATE, (1,))]


def test_a_retry_that_names_nothing_is_no_ping_pong() -> None:
    state, effects = step(REPORTING, receipt("retry"))
    assert effects == []
    due = due_s(state)
    assert due is not None
    assert due >= REPORT_RETRY_S


def test_repeating_backs_off_with_bounded_jitter() -> None:
    pauses = []
    state, now_s = REPORTING, REPORT_RETRY_S
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
    another = replace(REPORTING, saved=Saved(RoundId(1, 1), digest("another")))
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
    assert step(WORKING, on.FrameArrived(1.0)) == (WORKING, [])


# ── a newer round ──────────────────────────────────────────────────────────────────────────────────


def test_a_newer_round_drops_older_work() -> None:
    fetching, _ = step(CONNECTED, announced(manifest()))
    both = [do.Fetch(manifest(2), task=True, model=True)]
    assert step(fetching, announced(manifest(2)))[1] == [do.StopFetching(), *both]
    lacks = [do.Fetch(manifest(2), task=False, model=True)]
    assert step(WORKING, announced(manifest(2)))[1] == [do.CancelWork(RoundId(1, 1)), *lacks]
    state, effects = step(REPORTING, announced(manifest(2)))
    assert effects == lacks
    assert state.work == Fetching(to_work=True, due_s=FETCH_RETRY_S)


def test_the_result_of_cancelled_work_is_dropped() -> None:
    state, _ = step(WORKING, announced(manifest(2)))
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
    assert effects == [
        do.Log("warning", "ignored an announcement of round 1.9: this device has seen round 2.3"),
        online(state),
    ]
    assert step(after, announced(manifest(8))) == (after, []), "said once, however often it is replayed"


def test_another_attempt_goes_on_with_what_is_under_way() -> None:
    again = announced(manifest(attempt=1), now_s=5.0)
    fetching, _ = step(CONNECTED, announced(manifest()))
    for before, saves in ((fetching, []), (WORKING, []), (REPORTING, [do.SaveSeen(attempt(1, 1, 1))])):
        state, effects = step(before, again)
        assert (state.work, effects) == (before.work, saves)
        assert state.closes_s == 65.0
    _, effects = story(WORKING, again, done())
    assert effects[0] == do.SaveUpdate(attempt(1, 1, 1), UPDATE, b"payload")
    state, _ = story(WORKING, again, on.Failed(RoundId(1, 1), Reason.FAILED, "x"))
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
    state, _ = step(WORKING, announced(manifest(attempt=1)))
    assert step(state, announced(manifest(attempt=1))) == (state, [])
    assert step(state, announced(manifest(attempt=1, state="closed"))) == (state, [])


def test_an_older_attempt_is_ignored_and_said_also_after_a_restart() -> None:
    going_on, _ = step(WORKING, announced(manifest(attempt=1)))
    for state in (going_on, replace(HOLDS, seen=attempt(1, 1, 1))):
        after, effects = step(state, announced(manifest()))
        assert after == replace(state, passed_over=attempt(1, 1, 1))
        assert isinstance(effects[0], do.Log)
        assert effects[0].text.endswith("of round 1.1: this device has seen round 1.1, attempt 1")
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
    state, effects = step(WORKING, announced(manifest(2, state="paused")))
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
    state, effects = step(WORKING, announced(said))
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


# ── restarts ───────────────────────────────────────────────────────────────────────────────────────


def restarted(verdict: str | None) -> Device:
    """A device that saved an update of round 1 before its power was cut."""
    return replace(HOLDS, seen=attempt(1, 1), saved=Saved(RoundId(1, 1), UPDATE, verdict))


@pytest.mark.parametrize("left_s", [60.0, 0.0])
def test_after_a_restart_in_the_same_round_it_reports_again(left_s: float) -> None:
    state, effects = step(restarted(None), announced(manifest(), left_s=left_s))
    assert effects == [do.PublishUpdate(UPDATE, None), do.SaveSeen(attempt(1, 1))][::-1]
    assert state.work == Reporting((0,), REPORT_RETRY_S)


@pytest.mark.parametrize("verdict", ["admitted", "refused"])
def test_after_a_restart_an_answered_round_is_over(verdict: str) -> None:
    state, effects = step(restarted(verdict), announced(manifest()))
    assert (state.work, effects) == (Idle(), [do.SaveSeen(attempt(1, 1))])


def test_a_new_attempt_is_asked_whether_it_still_knows_the_admitted_update() -> None:
    """An aggregator that was restored from a backup of this very round would wait for ever."""
    state, effects = step(restarted("admitted"), announced(manifest(attempt=1)))
    assert effects == [do.SaveSeen(attempt(1, 1, 1)), do.PublishUpdate(UPDATE, (0,))]
    assert isinstance(state.work, Reporting)
    known, effects = step(state, receipt("admitted"))
    assert (known.work, effects) == (Idle(), []), "it does: once is enough"
    _, effects = step(state, receipt("retry", missing=(0, 1)))
    assert effects == [do.PublishUpdate(UPDATE, (0, 1))], "it does not: it gets the whole"
    state, effects = step(restarted("refused"), announced(manifest(attempt=1)))
    assert (state.work, effects) == (Idle(), [do.SaveSeen(attempt(1, 1, 1))])


def test_after_a_restart_an_old_update_never_answers_a_new_round() -> None:
    state, effects = step(replace(restarted(None), model=model_of(2)), announced(manifest(2)))
    assert effects == [do.StartWork(manifest(2))]
    state, effects = story(state, on.LinkDown(), on.LinkUp(1.0, 2))
    assert not any(isinstance(effect, do.PublishUpdate) for effect in effects)


# ── the own status ─────────────────────────────────────────────────────────────────────────────────


def status(boot: bytes, *, online: bool = True, connection: int = 1, live: bool = True) -> on.StatusSeen:
    return on.StatusSeen(0.0, Status(online=online, boot=boot, connection=connection, version="0"), live)


def test_fault_17_a_late_will_of_its_own_is_corrected() -> None:
    state = replace(CONNECTED, connection=2, returned=True)
    assert step(state, status(BOOT, online=False)) == (state, [online(state)])
    assert step(state, status(BOOT, connection=2)) == (state, [])
    assert step(state, status(BOOT, online=False, live=False)) == (state, []), "it is replaced anyway"


def test_fault_17_a_late_will_of_an_earlier_boot_is_corrected() -> None:
    state = replace(CONNECTED, own_boots=frozenset({OTHER_BOOT}))
    for was_online in (True, False):
        assert step(state, status(OTHER_BOOT, online=was_online)) == (state, [online(state)])
        assert step(state, status(OTHER_BOOT, online=was_online, live=False)) == (state, [])


def test_fault_10_two_devices_of_one_identity() -> None:
    state, effects = step(CONNECTED, status(OTHER_BOOT))
    assert state == replace(CONNECTED, link_up=False)
    assert isinstance(effects[0], do.Log)
    assert "another device uses the identity 'pi'" in effects[0].text
    assert isinstance(effects[1], do.Disconnect)
    assert CLONE_PAUSE_S <= effects[1].seconds <= 2 * CLONE_PAUSE_S
    _, later = step(replace(CONNECTED, returned=True), status(OTHER_BOOT, live=False))
    assert isinstance(later[1], do.Disconnect), "it took our place while we were away"


@pytest.mark.parametrize("returned", [False, True])
def test_fault_17_a_late_will_from_before_its_state_was_lost_is_corrected(*, returned: bool) -> None:
    """Its own boots of then are unknown to it: a wiped state folder, or an older copy of one."""
    state = replace(CONNECTED, returned=returned, own_boots=frozenset())
    assert step(state, status(OTHER_BOOT, online=False)) == (state, [online(state)])


def test_a_stranger_left_over_from_before_is_no_clone() -> None:
    assert step(CONNECTED, status(OTHER_BOOT, live=False)) == (CONNECTED, [])
    assert step(CONNECTED, status(OTHER_BOOT, online=False, live=False)) == (CONNECTED, [])
    down = replace(CONNECTED, link_up=False, returned=True)
    assert step(down, status(OTHER_BOOT)) == (down, [])


def test_what_does_not_fit_changes_nothing() -> None:
    strangers: list[on.Event] = [
        on.Fetched(0.0, "task", TASK),
        on.Fetched(0.0, "model", model_of(1)),
        done(7),
        on.Failed(RoundId(1, 7), Reason.FAILED, ""),
        receipt("admitted", digest("foreign")),
        receipt("retry", digest("foreign"), missing=(1,)),
        on.Tick(0.0),
        announced(manifest(0)),
    ]
    for state in (WORKING, REPORTING, ANSWERED):
        for event in strangers[:-1]:
            assert step(state, event) == (state, []), event
        assert step(state, strangers[-1])[0] == replace(state, passed_over=state.seen)
    assert step(ANSWERED, receipt("retry", missing=(1,))) == (ANSWERED, [])
    assert step(ANSWERED, done()) == (ANSWERED, [])
    fetching, _ = step(CONNECTED, announced(manifest()))
    for kind, found in (("model", digest("x")), ("task", model_of(1)), ("export", TASK)):
        assert step(fetching, on.Fetched(0.0, kind, found)) == (fetching, [])


# ── whatever happens ───────────────────────────────────────────────────────────────────────────────


class Life(RuleBasedStateMachine):
    """A device with a disk that may be full, a worker, and any events in any order."""

    @initialize()
    def start(self) -> None:
        self.now_s = 0.0
        self.readings = Readings()
        self.boots = 0
        self.disk_full = False
        self.seen = attempt(0, 0)
        self.outbox: Saved | None = None
        self.file: bytes | None = None
        self.boot()

    def boot(self) -> None:
        self.boots += 1
        self.connection = 0
        self.at_hand: dict[str, bytes | None] = {"task": TASK if self.file else None, "model": self.file}
        self.job: RoundId | None = None
        self.state = Device(
            device="pi",
            boot=self.boots.to_bytes(16, "big"),
            version="0",
            follow_s=FOLLOW_S,
            limits=LimitsSettings(epochs=10, bytes_per_day=1_000_000, sources=("data",)),
            conditions=ConditionsSettings(mains=True),
            offered=frozenset({"data", "heart"}),
            seen=self.seen,
            saved=self.outbox,
            task=self.at_hand["task"],
            model=self.file,
            kept=self.file,
        )

    def take(self, event: on.Event) -> None:
        """As the runtime does it."""
        before = self.state
        self.state, effects = step(before, event)
        kinds = [type(effect) for effect in effects]
        if isinstance(self.state.work, Working | Fetching) and isinstance(before.work, Idle):
            to_work = isinstance(self.state.work, Working) or self.state.work.to_work
            assert not (to_work and self.state.readings.battery), "no work is taken up on a battery"
        if do.SaveUpdate in kinds:
            assert kinds.index(do.SaveUpdate) < kinds.index(do.PublishUpdate)
        if do.SaveSeen in kinds and do.PublishStatus in kinds:
            assert kinds.index(do.SaveSeen) < kinds.index(do.PublishStatus)
        assert self.state.seen >= before.seen
        for effect in effects:
            if (failure := self.perform(effect)) is not None:
                self.take(failure)
                break

    def perform(self, effect: do.Effect) -> on.Failed | on.KeepFailed | None:
        """None, or that it failed, which the core hears at once."""
        match effect:
            case do.SaveUpdate(attempt=seen, digest=found):
                if self.disk_full:
                    return on.Failed(seen.round, Reason.FAILED, "disk full")
                self.outbox, self.seen = Saved(seen.round, found), seen
            case do.SaveSeen(attempt=seen) if not self.disk_full:
                assert seen >= self.seen
                self.seen = seen
            case do.SaveVerdict(digest=found, verdict=verdict):
                assert self.outbox is not None
                assert self.outbox.digest == found
                if not self.disk_full:
                    self.outbox = replace(self.outbox, verdict=verdict)
            case do.PublishUpdate(digest=found):
                assert self.state.saved is not None
                assert self.state.manifest is not None
                answered = self.state.saved.verdict
                assert answered is None or (answered == "admitted" and self.state.manifest.attempt > 0)
                assert self.outbox is not None
                assert self.outbox.digest == found, "only what is on the disk"
            case do.StartWork(manifest=said):
                assert self.job is None, "one piece of work at a time"
                assert said.plan is None or said.plan.epochs <= 10
                assert self.state.source in (None, "data")
                assert self.state.declined is None
                assert self.at_hand["task"] == said.task.digest
                assert said.model is None or self.at_hand["model"] == said.model.digest
                answered = self.state.saved
                round_id = RoundId(said.generation, said.round)
                assert not (answered and answered.verdict and answered.round == round_id)
                self.job = round_id
            case do.CancelWork(round=round_id):
                assert self.job == round_id
                self.job = None
            case do.KeepModel(manifest=said):
                assert said.model is not None
                assert self.at_hand["model"] == said.model.digest
                if self.disk_full:
                    return on.KeepFailed(self.now_s)
                self.file = said.model.digest
            case _:
                pass
        return None

    @rule(
        further=st.sampled_from([-1, 0, 0, 1, 1, 2]),
        anew=st.sampled_from([False] * 7 + [True]),
        attempt=st.sampled_from([0, 0, 1, 2]),
        state=st.sampled_from(["open"] * 5 + ["closed", "paused", "done"]),
        chosen=st.sampled_from([True, True, False]),
        left_s=st.sampled_from([60.0, 60.0, 0.0]),
        epochs=st.sampled_from([1, 10, 10, 11]),
        fetch=st.booleans(),
    )
    def announce(
        self,
        further: int,
        attempt: int,
        state: str,
        left_s: float,
        *,
        anew: bool,
        chosen: bool,
        fetch: bool,
        epochs: int = 1,
    ) -> None:
        generation = max(1, self.state.seen.round.generation) + anew
        round_ = 0 if anew else max(0, self.state.seen.round.round + further)
        plan = {"plan": Plan(epochs=epochs)} if round_ else {}
        said = manifest(round_, generation=generation, attempt=attempt, state=state, chosen=chosen, **plan)
        self.take(replace(announced(said, now_s=self.now_s, left_s=left_s), readings=self.readings))
        if fetch:
            for kind in ("task", "model"):
                if isinstance(self.state.work, Fetching):
                    self.fetched(kind)

    @precondition(lambda self: isinstance(self.state.work, Fetching))
    @rule(kind=st.sampled_from(["task", "model"]))
    def fetch(self, kind: str) -> None:
        self.fetched(kind)

    def fetched(self, kind: str) -> None:
        wanted = getattr(self.state.manifest, kind)
        if wanted is not None:
            self.at_hand[kind] = wanted.digest
            source = "heart" if self.state.seen.round.generation % 3 == 0 else None
            self.take(on.Fetched(self.now_s, kind, wanted.digest, source))

    @precondition(lambda self: self.job is not None)
    @rule(fails=st.booleans(), version=st.integers(0, 1))
    def finish(self, *, fails: bool, version: int) -> None:
        assert self.job is not None
        job, self.job = self.job, None
        found = digest(f"update {job} {version}")
        self.take(
            on.Failed(job, Reason.BAD_DATA, "x") if fails else on.Done(self.now_s, job, found, b"payload", 50)
        )

    @rule(verdict=st.sampled_from(["admitted", "refused"]))
    def a_round_goes_well(self, verdict: str) -> None:
        self.announce(1, 0, "open", 60.0, anew=False, chosen=True, fetch=True)
        if self.job is not None:
            self.finish(fails=False, version=0)
        self.answer(verdict, own=True, missing=(), after_s=0.0)

    @rule(earlier=st.integers(0, 2))
    def late_result(self, earlier: int) -> None:
        """Of work that was cancelled too late."""
        seen = self.state.seen.round
        job = seen._replace(round=max(0, seen.round - earlier))
        if self.job != job:
            before = self.state
            self.take(on.Done(self.now_s, job, digest("late"), b"payload", 50))
            assert self.state == before

    @rule(
        verdict=st.sampled_from(["admitted", "refused", "retry"]),
        own=st.booleans(),
        missing=st.sampled_from([(), (1, 2)]),
        after_s=st.sampled_from([0.0, 5.0]),
    )
    def answer(self, verdict: str, *, own: bool, missing: tuple[int, ...], after_s: float) -> None:
        # Only what was published can be answered.
        update = self.outbox.digest if own and self.outbox is not None else digest("foreign")
        more = {"missing": missing, "after_s": after_s} if verdict == "retry" else {}
        self.take(receipt(verdict, update, now_s=self.now_s, **more))

    @rule()
    def connect(self) -> None:
        self.connection += 1
        self.take(on.LinkUp(self.now_s, self.connection))

    @rule()
    def disconnect(self) -> None:
        self.take(on.LinkDown())

    @rule(boot=st.sampled_from([OTHER_BOOT, None]), is_online=st.booleans(), live=st.booleans())
    def see_status(self, boot: bytes | None, *, is_online: bool, live: bool) -> None:
        self.take(status(boot or self.state.boot, online=is_online, live=live))

    @rule(battery=st.sampled_from([None, None, "BAT0"]), spent=st.sampled_from([0, 0, 800_000, 1_000_000]))
    def change_conditions(self, battery: str | None, spent: int) -> None:
        self.readings = Readings(battery=battery, spent=spent)

    @rule(seconds=st.sampled_from([0.5, 5.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        due = due_s(self.state)
        if due is not None and due <= self.now_s:
            self.take(on.ConditionsChanged(self.now_s, self.readings))
        before = self.state
        self.take(on.Tick(self.now_s))
        if due is not None and due <= self.now_s:
            after = due_s(self.state)
            assert after is None or after > self.now_s, "a loop without a pause"
        else:
            assert self.state == before

    @rule(full=st.booleans())
    def change_disk(self, *, full: bool) -> None:
        self.disk_full = full

    @rule()
    def cut_the_power(self) -> None:
        self.boot()

    @invariant()
    def work_and_worker_agree(self) -> None:
        if hasattr(self, "state"):
            work = self.state.work
            assert (work.round if isinstance(work, Working) else None) == self.job
            assert isinstance(work, Reporting) <= (self.state.saved is not None)

    @invariant()
    def the_model_it_claims_is_in_the_file(self) -> None:
        if hasattr(self, "state"):
            assert self.state.kept in (None, self.file)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
