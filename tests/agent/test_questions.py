"""What a device does with an algorithm's state, told as stories: learnt, never guessed, and applied once."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from agent.core import effects as do
from agent.core import events as on
from agent.core.device import Asking, Device, Fetching, Idle, Reporting, Saved, Working
from agent.core.lifecycle import due_s, step
from agent.core.lifecycle.report import LONGEST_REPORT_RETRY_S, NOT_KNOWN, REPORT_RETRY_S
from agent.core.state import AlgorithmState
from fedge.algorithms.plan import Plan
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.receipt import Receipt
from fedge.wire.reasons import Reason

ONE, TWO, THREE = RoundId(1, 1), RoundId(1, 2), RoundId(1, 3)
UPDATE = sha256(b"update").digest()


def blob(text: str) -> Blob:
    return Blob(digest=sha256(text.encode()).digest(), slot=0, frames=2, size=200_000)


def manifest(round_: int, *, chosen: bool = True, **fields: Any) -> Manifest:
    generation = fields.get("generation", 1)
    return Manifest.model_validate(
        {
            "generation": generation,
            "round": round_,
            "kind": "train",
            "state": "open",
            "seed": 7,
            "task": blob(f"task {generation}"),
            "model": blob(f"model {generation}.{round_}"),
            "plan": Plan(),
            "cohort": Cohort(fraction=1.0 if chosen else 1e-9, seed=1),
            "seconds_left": 60.0,
            **fields,
        }
    )


def announced(round_: int, *, now_s: float = 0.0, **fields: Any) -> on.RoundAnnounced:
    return on.RoundAnnounced(now_s, manifest(round_, **fields), 60.0)


def receipt(verdict: str, *, now_s: float = 0.0, **fields: Any) -> on.ReceiptArrived:
    said = {"generation": 1, "round": 2, "update": UPDATE, "verdict": verdict, **fields}
    return on.ReceiptArrived(now_s, Receipt.model_validate(said))


def refused(reason: Reason, **fields: Any) -> on.ReceiptArrived:
    return receipt("refused", reason=reason, **fields)


def state_of(round_id: RoundId) -> AlgorithmState:
    return AlgorithmState(round_id, bytes(32), f"state of {round_id}".encode())


def done(round_: int = 1, update: bytes = UPDATE) -> on.Done:
    here = RoundId(1, round_)
    return on.Done(0.0, here, update, b"payload", 100, pending=state_of(here))


def story(state: Device, *events: on.Event) -> tuple[Device, list[do.Effect]]:
    effects: list[do.Effect] = []
    for event in events:
        state, effects = step(state, event)
    return state, effects


def holding(state: Device, round_: int, generation: int = 1) -> Device:
    """With the task and the model of a round at hand, so that work begins without fetching."""
    said = manifest(round_, generation=generation)
    assert said.model is not None
    return replace(state, task=said.task.digest, model=said.model.digest)


FRESH = Device(device="pi", boot=bytes(16), version="0", follow_s=100.0, link_up=True, connection=1)
QUESTION = do.PublishUpdate(UPDATE, (0,), ONE)


def working() -> Device:
    return story(holding(FRESH, 1), announced(1))[0]


def reporting() -> Device:
    return story(working(), done())[0]


def undecided() -> Device:
    """It slept before a receipt came."""
    return replace(reporting(), work=Idle())


def asking() -> Device:
    return story(holding(undecided(), 2), announced(2))[0]


def logs(effects: list[do.Effect]) -> list[str]:
    return [effect.level for effect in effects if isinstance(effect, do.Log)]


def without_logs(effects: list[do.Effect]) -> list[do.Effect]:
    return [effect for effect in effects if not isinstance(effect, do.Log)]


# ── pending with the update, current with its verdict ──────────────────────────────────────────────


def test_a_new_state_is_saved_with_its_update_before_that_is_seen() -> None:
    state, effects = step(working(), done())
    assert effects[:2] == [
        do.SaveUpdate(Attempt(ONE, 0), UPDATE, b"payload", None, state_of(ONE)),
        do.PublishUpdate(UPDATE, None),
    ]
    assert state.saved == Saved(ONE, UPDATE, pending=True)
    assert state.remembers is None, "nothing was admitted yet"


def test_with_the_verdict_admitted_it_is_the_current_one() -> None:
    state, effects = step(reporting(), receipt("admitted", round=1))
    assert without_logs(effects) == [do.SaveVerdict(UPDATE, "admitted")]
    assert (state.remembers, state.saved) == (ONE, Saved(ONE, UPDATE, "admitted"))


@pytest.mark.parametrize("reason", sorted(set(Reason) - NOT_KNOWN - {
    Reason.WRONG_BASE, Reason.NOT_CHOSEN, Reason.QUARANTINED}))  # fmt: skip
def test_a_refusal_drops_it_and_the_one_before_stays(reason: Reason) -> None:
    before = replace(reporting(), remembers=RoundId(1, 0))
    state, effects = step(before, refused(reason, round=1))
    assert without_logs(effects) == [do.SaveVerdict(UPDATE, "refused")]
    assert (state.remembers, state.saved) == (RoundId(1, 0), Saved(ONE, UPDATE, "refused"))


def test_after_which_refusals_nobody_knows_what_counted() -> None:
    unknown = {Reason.FORGOTTEN, Reason.ALREADY_ANSWERED, Reason.UNKNOWN_DEVICE, Reason.OTHER}
    assert unknown == NOT_KNOWN


@pytest.mark.parametrize("reason", sorted(NOT_KNOWN))
def test_where_nobody_knows_what_counted_it_begins_anew_and_says_so(reason: Reason) -> None:
    before = replace(reporting(), remembers=RoundId(1, 0))
    state, effects = step(before, refused(reason, round=1))
    assert effects[0] == do.SaveVerdict(UPDATE, "refused", resets=True)
    assert "warning" in logs(effects)
    assert state.remembers is None


def test_an_update_without_a_state_resets_nothing() -> None:
    stateless = replace(reporting(), saved=Saved(ONE, UPDATE), remembers=RoundId(1, 0))
    state, effects = step(stateless, refused(Reason.FORGOTTEN, round=1))
    assert effects[0] == do.SaveVerdict(UPDATE, "refused")
    assert state.remembers == RoundId(1, 0)


# ── the verdict is learnt before the next update is made ───────────────────────────────────────────


def test_before_it_works_anew_a_device_asks_what_became_of_its_update() -> None:
    state, effects = step(holding(undecided(), 2), announced(2))
    assert state.work == Asking((0,), REPORT_RETRY_S)
    assert effects == [do.SaveSeen(Attempt(TWO, 0)), QUESTION]


def test_it_still_asks_when_another_aggregator_announces_the_next_round_with_another_model() -> None:
    other = blob("model of another history")
    state, effects = step(holding(undecided(), 2), announced(2, chosen=False))
    assert QUESTION not in effects
    state, effects = step(state, announced(2, model=other))
    assert state.saved == Saved(ONE, UPDATE, pending=True)
    assert QUESTION in effects
    there, _ = step(holding(undecided(), 1), announced(1, chosen=False))
    there, _ = step(there, announced(1, model=other))
    assert there.saved is None, "an update for this very round does not answer it with another model"


@pytest.mark.parametrize("plan", [Plan(), Plan(codec="float32", local="sgd", local_options={})])
def test_after_a_restart_it_asks_whatever_the_plan_is(plan: Plan) -> None:
    """Also in a round that asks for more than 0.2.0 knew: no program of that version left a state."""
    asleep = replace(undecided(), saved=Saved(ONE, UPDATE, ours=False, pending=True))
    _, effects = step(holding(asleep, 2), announced(2, plan=plan))
    assert QUESTION in effects
    _, effects = step(holding(asleep, 1), announced(1, plan=plan))
    assert effects[0] == do.PublishUpdate(UPDATE, None), "in its own round it is sent again"


def test_admitted_the_new_state_is_the_current_one_and_the_round_is_taken_up() -> None:
    state, effects = step(asking(), receipt("admitted", round=1))
    assert without_logs(effects) == [do.SaveVerdict(UPDATE, "admitted"), do.StartWork(manifest(2))]
    assert (state.work, state.remembers) == (Working(TWO), ONE)


def test_refused_the_round_is_taken_up_with_the_state_before() -> None:
    before = replace(asking(), remembers=RoundId(1, 0))
    state, effects = step(before, refused(Reason.STALE_ROUND))
    assert without_logs(effects) == [do.SaveVerdict(UPDATE, "refused"), do.StartWork(manifest(2))]
    assert (state.work, state.remembers) == (Working(TWO), RoundId(1, 0))


def test_forgotten_the_round_is_taken_up_from_the_beginning() -> None:
    before = replace(asking(), remembers=RoundId(1, 0))
    state, effects = step(before, refused(Reason.FORGOTTEN))
    assert without_logs(effects) == [
        do.SaveVerdict(UPDATE, "refused", resets=True),
        do.StartWork(manifest(2)),
    ]
    assert (state.work, state.remembers) == (Working(TWO), None)


def test_the_answer_may_come_when_the_round_is_over() -> None:
    state, effects = step(asking(), receipt("admitted", round=1, now_s=61.0))
    assert without_logs(effects)[0] == do.SaveVerdict(UPDATE, "admitted")
    assert not any(isinstance(effect, do.StartWork) for effect in effects)
    assert (state.remembers, isinstance(state.work, Working)) == (ONE, False)


def test_a_question_is_repeated_with_bounded_pauses_and_over_each_connection() -> None:
    state, now_s = asking(), 0.0
    for _ in range(12):
        due = due_s(state)
        assert due is not None
        assert 0 < due - now_s <= 1.5 * LONGEST_REPORT_RETRY_S
        now_s = due
        state, effects = step(state, on.Tick(now_s))
        assert effects == [QUESTION]
        assert isinstance(state.work, Asking)
    state, effects = story(state, on.LinkDown(), on.LinkUp(now_s, 2))
    assert QUESTION in effects
    assert isinstance(state.work, Asking)


def test_only_the_newest_round_is_answered_once_the_question_is() -> None:
    state, effects = step(asking(), announced(3))
    assert effects == [do.SaveSeen(Attempt(THREE, 0)), QUESTION]
    state, effects = step(holding(state, 3), receipt("admitted", round=1))
    assert do.StartWork(manifest(3)) in effects


def test_a_busy_aggregator_is_asked_again_later() -> None:
    state, effects = step(asking(), receipt("retry", after_s=30.0))
    assert effects == []
    assert isinstance(state.work, Asking)
    assert state.work.due_s >= 30.0
    assert step(state, on.Tick(state.work.due_s))[1] == [QUESTION]


def test_one_of_0_2_0_gets_the_frames_it_asks_for_and_answers_then() -> None:
    state, effects = step(asking(), receipt("retry", missing=(1, 2)))
    assert effects == [do.PublishUpdate(UPDATE, (1, 2), ONE)], "of these frames none is the one that asks"
    assert isinstance(state.work, Asking)
    state, effects = step(state, refused(Reason.STALE_ROUND))
    assert do.StartWork(manifest(2)) in effects


@pytest.mark.parametrize("reason", [Reason.QUARANTINED, Reason.NOT_CHOSEN])
def test_what_is_no_last_word_leaves_the_question_to_the_next_announcement(reason: Reason) -> None:
    state, effects = step(asking(), refused(reason))
    assert without_logs(effects) == []
    assert (state.work, state.saved) == (Idle(), Saved(ONE, UPDATE, pending=True))
    assert QUESTION in step(state, announced(2, attempt=1))[1]


def test_an_older_copy_of_the_ledger_is_no_judge() -> None:
    state, effects = step(asking(), refused(Reason.FUTURE_ROUND, round=0))
    assert without_logs(effects) == []
    assert state.saved == Saved(ONE, UPDATE, pending=True)


def test_a_receipt_that_comes_late_decides_without_a_question() -> None:
    state, _ = step(undecided(), receipt("admitted", round=1))
    state, effects = step(holding(state, 2), announced(2))
    assert effects == [do.StartWork(manifest(2))]
    assert (state.work, state.remembers) == (Working(TWO), ONE)


@pytest.mark.parametrize(
    ("saved", "event"),
    [
        (Saved(ONE, UPDATE), announced(2)),  # nothing waits for the verdict
        (Saved(ONE, UPDATE, "refused"), announced(2)),
        # There it begins anew whatever the verdict is.
        (Saved(ONE, UPDATE, pending=True), announced(1, generation=2)),
    ],
    ids=["stateless", "answered", "another generation"],
)
def test_no_question_where_nothing_depends_on_it(saved: Saved, event: on.RoundAnnounced) -> None:
    state, effects = step(replace(undecided(), saved=saved), event)
    assert isinstance(state.work, Fetching)
    assert not any(isinstance(effect, do.PublishUpdate) for effect in effects)


@pytest.mark.parametrize("event", [announced(2, chosen=False), announced(2, state="done")])
def test_no_question_where_no_work_is_asked_for(event: on.RoundAnnounced) -> None:
    state, effects = step(undecided(), event)
    assert not isinstance(state.work, Asking)
    assert not any(isinstance(effect, do.PublishUpdate) for effect in effects)


def test_a_round_that_only_measures_replaces_the_update_too() -> None:
    state, effects = step(undecided(), announced(2, kind="evaluate", plan=None))
    assert isinstance(state.work, Asking)
    assert QUESTION in effects


def test_a_change_of_keys_that_cannot_be_saved_ends_the_question_for_now() -> None:
    state, _ = step(asking(), on.SignersUnsaved())
    assert (state.work, state.saved) == (Idle(), Saved(ONE, UPDATE, pending=True))


# ── histories ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("remembers", [TWO, THREE, RoundId(2, 1)])
def test_a_state_of_another_history_is_reset_before_the_work_begins(remembers: RoundId) -> None:
    state, effects = step(holding(replace(FRESH, remembers=remembers), 2), announced(2))
    assert [type(effect) for effect in effects] == [do.ResetState, do.Log, do.StartWork]
    assert logs(effects) == ["warning"]
    assert state.remembers is None


def test_another_history_of_a_round_that_was_admitted_begins_anew() -> None:
    admitted, _ = step(reporting(), receipt("admitted", round=1))
    other = manifest(1, model=blob("another model"), attempt=1)
    state, effects = step(admitted, on.RoundAnnounced(0.0, other, 60.0))
    assert isinstance(state.work, Fetching)
    assert other.model is not None
    state, effects = step(state, on.Fetched(0.0, "model", other.model.digest))
    assert do.ResetState() in effects
    assert state.remembers is None


def test_a_later_round_goes_on_with_the_state() -> None:
    state, effects = step(holding(replace(FRESH, remembers=ONE), 2), announced(2))
    assert effects == [do.StartWork(manifest(2))]
    assert state.remembers == ONE


def test_a_round_that_only_measures_leaves_the_state_alone() -> None:
    state, effects = step(holding(replace(FRESH, remembers=TWO), 2), announced(2, kind="evaluate", plan=None))
    assert not any(isinstance(effect, do.ResetState) for effect in effects)
    assert (state.work, state.remembers) == (Working(TWO), TWO)


def test_its_own_admitted_update_is_said_again_and_resets_nothing() -> None:
    admitted, _ = step(reporting(), receipt("admitted", round=1))
    state, effects = step(admitted, announced(1, attempt=1))
    assert do.PublishUpdate(UPDATE, (0,)) in effects
    assert isinstance(state.work, Reporting)
    assert not isinstance(state.work, Asking)
    assert state.remembers == ONE


def test_a_plan_that_changes_while_the_answer_is_awaited_is_the_one_that_is_worked_by() -> None:
    before = asking()
    changed, effects = step(before, announced(2, plan=Plan(epochs=9)))
    assert (changed.work, effects) == (before.work, [])
    _, effects = step(changed, receipt("admitted", round=1))
    assert [effect.manifest.plan for effect in effects if isinstance(effect, do.StartWork)] == [
        Plan(epochs=9)
    ]
