"""The aggregator's core as stories: what happens, then what it does and where it stands."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator import collecting, rounds
from aggregator import effects as do
from aggregator import events as on
from aggregator.effects import DURABLE, Effect
from aggregator.events import Event
from aggregator.federation import Federation, Phase
from aggregator.stopping import Progress, Stopping
from fedge.frames import Refused, cost
from fedge.freshness import RoundId
from fedge.messages import Cohort
from fedge.reasons import Reason
from fedge.selection import chosen
from tests.aggregator.stories import (
    DEADLINE_S,
    EVERYBODY,
    LARGER,
    MODEL,
    OPEN,
    OURS,
    SMALLER,
    TASK,
    Story,
    blob,
    chosen_in,
    decline,
    digest_of,
    federation,
    frames,
    kinds,
    of,
    only_manifest,
    only_receipt,
    receipts,
    rules,
    service,
    status,
    survey,
    update,
)

HELLO = [do.Greet, do.PublishService]


def running(*devices: str, **changes: object) -> Story:
    """A story whose round is announced to these devices."""
    story = Story(federation(**changes))
    story.announce(*devices)
    assert story.phase() == "collecting"
    return story


# ── announcing ─────────────────────────────────────────────────────────────────────────────────────


def test_a_round_is_saved_then_carried_to_the_broker_then_announced() -> None:
    story = Story(federation())
    assert story.start() == [do.SaveRound(OPEN, "train", story.state.cohorts)]
    assert kinds(story.link_up()) == [*HELLO, do.PublishBlobs]
    assert story.phase() == "preparing"
    effects = story.published()
    assert kinds(effects) == [do.PublishManifest, do.ClearSlots, do.ExportModel]
    assert story.phase() == "collecting"
    manifest = only_manifest(effects)
    assert (manifest.generation, manifest.round, manifest.attempt) == (*OPEN, 0)
    assert (manifest.state, manifest.model, manifest.seconds_left) == ("open", MODEL, DEADLINE_S)
    assert manifest.cohort == story.state.cohorts[-1]
    assert of(do.ExportModel, effects) == [do.ExportModel(RoundId(1, 0))]  # of the round before
    assert saved_before_announced(story.log)


def saved_before_announced(log: list[Effect]) -> bool:
    """No cohort is announced that was not saved before."""
    saved: set[tuple[Cohort, ...]] = set()
    for effect in log:
        if isinstance(effect, do.SaveRound):
            saved.add(effect.cohorts[-1:])
        elif isinstance(effect, do.PublishManifest) and (effect.manifest.cohort,) not in saved:
            return False
    return True


def test_the_survey_is_announced_without_a_model_and_exports_nothing() -> None:
    story = Story(federation(round=RoundId(1, 0), kind="survey", model=None))
    effects = story.announce("a")
    manifest = only_manifest(effects)
    assert (manifest.kind, manifest.model, manifest.plan) == ("survey", None, None)
    assert of(do.ClearSlots, effects) == [do.ClearSlots(0, None)]
    assert not of(do.ExportModel, effects)


def test_frames_of_another_round_announce_nothing() -> None:
    story = Story(federation())
    story.start()
    story.link_up()
    before = story.state
    assert story.tell(on.BlobsPublished(story.now_s, OPEN._replace(round=9), None)) == []
    assert story.state == before


def test_a_broker_that_refuses_the_model_is_named_and_nothing_is_announced() -> None:
    story = Story(federation())
    story.start()
    story.link_up()
    (said,) = story.tell(on.BlobsPublished(story.now_s, OPEN, "packet too large"))
    assert isinstance(said, do.Say)
    assert "packet too large" in said.text
    assert story.phase() == "preparing"
    story.tell(on.LinkDown("the broker restarts"))
    assert kinds(story.link_up())[-1] is do.PublishBlobs


def test_a_broker_that_kept_the_session_hears_the_manifest_with_the_time_that_is_left() -> None:
    story = running("a", "b", "c")
    story.tell(on.ExportPublished(RoundId(1, 0)))
    story.now_s += 20
    story.tell(on.LinkDown("cable"))
    effects = story.link_up(session_present=True)
    assert kinds(effects) == [*HELLO, do.PublishManifest]
    assert only_manifest(effects).seconds_left == DEADLINE_S - 20


def test_a_broker_that_forgot_gets_everything_again_the_export_too() -> None:
    story = running("a", "b", "c")
    story.tell(on.ExportPublished(RoundId(1, 0)))
    assert kinds(story.link_up()) == [*HELLO, do.PublishBlobs]
    assert kinds(story.published()) == [do.PublishManifest, do.ClearSlots, do.ExportModel]


def test_an_export_that_was_cut_off_is_made_again_until_the_broker_holds_it() -> None:
    story = running("a", "b", "c")
    assert of(do.ExportModel, story.link_up(session_present=True)) == [do.ExportModel(RoundId(1, 0))]
    story.tell(on.ExportPublished(RoundId(1, 7)))  # not the one that is wanted
    assert of(do.ExportModel, story.link_up(session_present=True))
    story.tell(on.ExportPublished(RoundId(1, 0)))
    assert not of(do.ExportModel, story.link_up(session_present=True))


def test_the_cohort_is_drawn_again_until_enough_of_it_is_online() -> None:
    online = frozenset(f"pi-{i}" for i in range(20))
    reached = []
    for seed in range(40):
        story = Story(federation(rules=rules(0.25, target=5), online=online, seed=seed))
        story.start()
        reached.append(sum(chosen(story.state.cohorts[0], *OPEN, 0, device) for device in online))
    # One draw reaches 5 of 20 with probability 0.585 (binomial, 1/4); 32 draws fail with 6e-13.
    assert min(reached) >= 5


def test_drawing_is_a_function_of_seed_round_and_attempt() -> None:
    cohorts = set()
    for seed in (1, 1, 2):
        story = Story(federation(rules=rules(0.25), seed=seed))
        story.start()
        cohorts.add(story.state.cohorts)
    assert len(cohorts) == 2


# ── answering ──────────────────────────────────────────────────────────────────────────────────────


def test_an_update_is_spooled_read_saved_and_then_its_receipt_is_sent() -> None:
    story = running("a", "b", "c")
    effects = story.answers("a")
    assert kinds(effects) == [do.SpoolFrame, do.ReadUpdate, do.SaveAnswer, do.SendReceipt]
    assert only_receipt(effects).verdict == "admitted"
    assert (story.state.admitted, "a" in story.state.awaited) == (1, False)


def test_a_known_update_gets_its_first_verdict_again_and_is_not_counted_twice() -> None:
    story = running("a", "b", "c")
    first = only_receipt(story.answers("a"))
    (again,) = story.send("a", update("a"))
    assert isinstance(again, do.SendReceipt)
    assert again.receipt == first
    assert story.state.admitted == 1


def test_a_refusal_is_repeated_as_well() -> None:
    story = running("a", "b", "c")
    effects = story.answers("a", samples=0)
    first = only_receipt(effects)
    assert (first.verdict, first.reason) == ("refused", Reason.BAD_SAMPLE_COUNT)
    assert do.CountRefusal("a", Reason.BAD_SAMPLE_COUNT) in effects
    assert do.DropSpool("a", first.update) in effects
    assert only_receipt(story.answers("a", samples=0)) == first
    assert story.state.admitted == 0


def test_another_update_in_the_same_round_is_already_answered() -> None:
    story = running("a", "b", "c")
    story.answers("a")
    effects = story.answers("a", samples=11)
    assert receipts(effects) == [("a", "refused", Reason.ALREADY_ANSWERED)]
    assert not of(do.SpoolFrame, effects)
    assert story.state.answers["a"].samples == 10


def test_an_update_of_the_round_before_gets_its_first_verdict_again() -> None:
    story = running("a", "b")
    first = only_receipt(story.answers("a"))
    story.answers("b")
    story.closed()
    story.published()
    assert story.state.round == (1, 2)
    assert only_receipt(story.send("a", update("a"))) == first
    story.answers("a")
    assert only_receipt(story.send("a", update("a"))) == first


def test_an_update_of_a_round_long_closed_is_stale_and_does_not_spend_the_answer() -> None:
    story = running("a", "b", round=RoundId(1, 5), stopping=Stopping(rounds=99))
    effects = story.send("a", update("a", RoundId(1, 2)))
    assert receipts(effects) == [("a", "refused", Reason.STALE_ROUND)]
    assert not of(do.SaveAnswer, effects)
    assert receipts(story.answers("a")) == [("a", "admitted", None)]


def test_an_update_in_another_devices_name_does_not_spend_anybodys_answer() -> None:
    story = running("a", "b", "c")
    assert receipts(story.send("b", update("a"))) == [("b", "refused", Reason.FOREIGN_DEVICE)]
    assert receipts(story.answers("b")) == [("b", "admitted", None)]
    assert receipts(story.answers("a")) == [("a", "admitted", None)]


def test_who_is_not_on_the_roster_is_refused_at_the_first_frame() -> None:
    story = running("a", "b", roster=frozenset({"a", "b"}))
    effects = story.answers("c")
    assert receipts(effects) == [("c", "refused", Reason.UNKNOWN_DEVICE)]
    assert not of(do.SpoolFrame, effects)


def test_garbage_is_counted_and_answered_and_changes_nothing_else() -> None:
    story = running("a", "b", "c")
    before = story.state
    effects = story.tell(on.GarbageArrived("a", b"d" * 32, Reason.MALFORMED, "not msgpack"))
    assert kinds(effects) == [do.CountRefusal, do.SendReceipt, do.Say]
    assert only_receipt(effects).update == b"d" * 32
    assert story.state == before


def test_an_update_whose_bytes_are_wrong_is_dropped_and_may_be_sent_again() -> None:
    story = running("a", "b", "c")
    message = update("a")
    story.frame("a", frames(message)[0])
    effects = story.tell(
        on.UpdateRead(story.now_s, "a", digest_of(message), Refused(Reason.MALFORMED, "no digest"))
    )
    assert kinds(effects) == [do.DropSpool, do.CountRefusal, do.SendReceipt, do.Say]
    assert receipts(story.answers("a")) == [("a", "admitted", None)]


# ── frames ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_repeated_frame_is_answered_with_what_is_missing() -> None:
    story = running("a", "b", "c")
    pieces = frames(update("a"), 4)
    assert kinds(story.frame("a", pieces[0])) == [do.SpoolFrame]
    assert kinds(story.frame("a", pieces[2])) == [do.SpoolFrame]
    receipt = only_receipt(story.frame("a", pieces[0]))
    assert (receipt.verdict, receipt.missing, receipt.after_s) == ("retry", (1, 3), 0)
    story.frame("a", pieces[3])
    assert kinds(story.frame("a", pieces[1])) == [do.SpoolFrame, do.ReadUpdate]
    assert (story.state.partials, story.state.spooled) == ({}, 0)


def test_a_newer_update_replaces_what_a_device_had_begun() -> None:
    story = running("a", "b", "c")
    older, newer = update("a", samples=10), update("a", samples=11)
    story.frame("a", frames(older, 4)[0])
    assert kinds(story.frame("a", frames(newer, 4)[0])) == [do.DropSpool, do.SpoolFrame]
    assert story.state.partials["a"].id == digest_of(newer)
    assert receipts(story.send("a", newer, 4)) == [
        ("a", "retry", None),  # frame 0 again
        ("a", "admitted", None),
    ]


def test_frames_that_contradict_each_other_are_refused_and_the_first_ones_stay() -> None:
    story = running("a", "b", "c")
    message = update("a")
    story.frame("a", frames(message, 4)[0])
    held = story.state.partials
    effects = story.frame("a", frames(message, 2)[1])
    assert receipts(effects) == [("a", "refused", Reason.MALFORMED)]
    assert story.state.partials == held


def test_an_update_larger_than_the_task_can_make_is_refused_at_its_first_frame() -> None:
    story = running("a", "b", "c")
    effects = story.answers("a", body=bytes(story.state.largest_update))
    assert receipts(effects) == [("a", "refused", Reason.OVERSIZE)]
    assert not of(do.SpoolFrame, effects)


def test_a_full_spool_asks_for_patience_and_takes_what_it_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    story = running("a", "b", "c")
    first = frames(update("a"), 2)
    monkeypatch.setattr(collecting, "SPOOL_BYTES", cost(first[0].size, 2))
    story.frame("a", first[0])
    effects = story.frame("b", frames(update("b"), 2)[0])
    receipt = only_receipt(effects)
    assert (receipt.verdict, receipt.reason, receipt.missing) == ("retry", Reason.TOO_MANY_PARTIAL, ())
    assert receipt.after_s > 0
    assert not of(do.SpoolFrame, effects)
    assert receipts(story.send("a", update("a"), 2))[-1] == ("a", "admitted", None)
    assert kinds(story.frame("b", frames(update("b"), 2)[0])) == [do.SpoolFrame]


def test_a_partial_update_is_dropped_with_its_round() -> None:
    story = running("a", "b", "c")
    message = update("c")
    story.frame("c", frames(message, 2)[0])
    story.answers("a")
    story.answers("b")
    story.later(DEADLINE_S)
    effects = story.closed()
    assert do.DropSpool("c", digest_of(message)) in effects
    assert (story.state.partials, story.state.spooled) == ({}, 0)


# ── closing ────────────────────────────────────────────────────────────────────────────────────────


def test_a_round_closes_at_its_target() -> None:
    story = running("a", "b", "c", "d")
    for device in ("a", "b"):
        assert not of(do.CloseRound, story.answers(device))
    assert of(do.CloseRound, story.answers("c")) == [do.CloseRound(OPEN, "train")]
    assert story.phase() == "closing"


def test_a_round_closes_when_nobody_can_be_awaited_any_more() -> None:
    story = running("a", "b", "c", "d")
    story.answers("a")
    story.answers("b")
    assert not of(do.CloseRound, story.sees("c", status(declined=decline())))
    assert of(do.CloseRound, story.sees("d", status(online=False)))


def test_a_decline_of_another_attempt_does_not_count() -> None:
    story = running("a", "b", "c")
    story.answers("a")
    story.answers("b")
    assert not of(do.CloseRound, story.sees("c", status(declined=decline(attempt=1))))
    assert not of(do.CloseRound, story.sees("c", status(declined=decline(RoundId(1, 0)))))
    assert of(do.CloseRound, story.sees("c", status(declined=decline())))


def test_a_decline_that_was_said_before_a_restart_is_still_heard() -> None:
    """The retained statuses come before the broker has the model's frames."""
    story = Story(federation(cohorts=(EVERYBODY,)))
    story.start()
    story.link_up()
    story.sees("a")
    story.sees("b")
    story.sees("c", status(declined=decline()))
    story.published()
    assert story.state.awaited == {"a", "b"}


def test_a_device_that_comes_late_is_awaited_too() -> None:
    story = running("a", "b")
    story.answers("a")
    story.sees("c")
    assert not of(do.CloseRound, story.answers("b"))
    assert of(do.CloseRound, story.sees("c", status(online=False)))


def test_a_round_closes_at_its_deadline_with_a_quorum() -> None:
    story = running("a", "b", "c")
    story.answers("a")
    story.answers("b")
    assert not of(do.CloseRound, story.later(DEADLINE_S - 0.5))
    assert of(do.CloseRound, story.later(0.5))


def test_the_core_wants_to_be_waked_at_the_deadline() -> None:
    story = running("a", "b", "c")
    story.later(DEADLINE_S - 3)
    assert rounds.due_s(story.state) == story.now_s + 3


def test_below_quorum_the_round_stays_open_wider_with_what_it_has() -> None:
    story = running("a", "b", "c", rules=rules(0.25))
    early = chosen_in(story.state, 0)
    assert receipts(story.answers(early)) == [(early, "admitted", None)]
    effects = story.later(DEADLINE_S)
    assert kinds(effects[-3:]) == [do.SaveRound, do.Say, do.PublishManifest]
    manifest = only_manifest(effects)
    assert (manifest.round, manifest.attempt, manifest.cohort.fraction) == (1, 1, 0.5)
    assert manifest.seconds_left == DEADLINE_S
    assert (story.state.round, story.state.admitted, story.phase()) == (OPEN, 1, "collecting")
    assert saved_before_announced(story.log)

    older = chosen_in(story.state, 0, but_not_in=1)
    newer = chosen_in(story.state, 1, but_not_in=0)
    assert receipts(story.answers(older)) == [(older, "admitted", None)]  # was asked once, may answer
    assert receipts(story.answers(newer)) == [(newer, "admitted", None)]
    assert set(story.state.answers) == {early, older, newer}


def test_the_fraction_doubles_until_it_is_everybody() -> None:
    story = running(rules=rules(0.3))
    for _ in range(3):
        story.later(DEADLINE_S)
    assert [cohort.fraction for cohort in story.state.cohorts] == [0.3, 0.6, 1.0, 1.0]


def test_who_was_never_chosen_is_refused_and_that_is_its_answer() -> None:
    story = running("a", rules=rules(0.25))
    story.later(DEADLINE_S)
    stranger = next(
        device
        for device in (f"pi-{i}" for i in range(1_000))
        if not any(chosen(c, *OPEN, k, device) for k, c in enumerate(story.state.cohorts))
    )
    assert receipts(story.answers(stranger)) == [(stranger, "refused", Reason.NOT_CHOSEN)]
    assert story.state.answers[stranger].verdict == "refused"


def test_an_update_that_comes_while_the_round_closes_is_not_in_it() -> None:
    story = running("a", "b", "c", "d")
    for device in ("a", "b", "c"):
        story.answers(device)
    effects = story.answers("d")
    assert receipts(effects) == [("d", "refused", Reason.ROUND_CLOSED)]
    assert not of(do.SaveAnswer, effects)
    assert story.state.admitted == 3


def test_the_next_round_begins_with_the_new_model() -> None:
    story = running("a", "b", "c")
    for device in ("a", "b", "c"):
        story.answers(device)
    effects = story.closed()
    assert kinds(effects) == [do.SaveRound, do.PublishBlobs]
    assert (story.state.round, story.phase()) == (RoundId(1, 2), "preparing")
    assert (story.state.answers, story.state.admitted, set(story.state.before)) == ({}, 0, {"a", "b", "c"})
    manifest = only_manifest(story.published())
    assert (manifest.round, manifest.attempt, manifest.model) == (2, 0, blob("model of round 1"))
    assert story.state.awaited == {"a", "b", "c"}
    assert of(do.ExportModel, story.log)[-1] == do.ExportModel(OPEN)


def test_a_round_that_closes_without_a_link_is_announced_when_it_comes_back() -> None:
    story = running("a", "b", "c")
    for device in ("a", "b", "c"):
        story.answers(device)
    story.tell(on.LinkDown("the broker is away"))
    assert kinds(story.closed()) == [do.SaveRound]
    assert kinds(story.link_up(session_present=True)) == [*HELLO, do.PublishBlobs]
    assert only_manifest(story.published()).round == 2


def test_a_close_that_fails_keeps_what_was_admitted_and_waits_for_more() -> None:
    story = Story(federation(round=RoundId(1, 0), kind="survey", model=None, rules=rules(target=2)))
    story.announce("a", "b")
    story.answers("a")
    assert of(do.CloseRound, story.answers("b"))
    effects = story.tell(on.CloseFailed(story.now_s, RoundId(1, 0), "no device measured 'amps'"))
    assert only_manifest(effects).attempt == 1
    assert "amps" in of(do.Say, effects)[0].text
    assert (story.state.admitted, story.phase()) == (2, "collecting")
    # The same updates would fail again: no attempt a second until something new comes.
    assert not of(do.CloseRound, story.later(1))
    assert not of(do.CloseRound, story.sees("c", status(declined=decline(RoundId(1, 0), attempt=1))))
    assert of(do.CloseRound, story.answers("d"))


def test_a_close_that_failed_gives_everybody_another_attempt_at_the_deadline() -> None:
    story = running("a", "b", rules=rules(target=None))
    story.answers("a")
    story.answers("b")
    story.tell(on.CloseFailed(story.now_s, OPEN, "no model"))
    effects = story.later(DEADLINE_S)
    assert only_manifest(effects).attempt == 2
    assert not of(do.CloseRound, effects)


# ── restarts ───────────────────────────────────────────────────────────────────────────────────────


def test_a_restart_goes_on_with_the_cohort_and_the_time_that_was_left() -> None:
    story = running("a", "b", "c", rules=rules(0.25))
    story.now_s += 25
    (saved,) = of(do.SaveElapsed, story.later(0))
    assert saved == do.SaveElapsed(OPEN, 25)

    again = Story(
        federation(rules=rules(0.25), cohorts=story.state.cohorts, elapsed_s=saved.elapsed_s), now_s=5.0
    )
    assert again.start() == []  # nothing is drawn anew
    again.link_up(session_present=True)
    again.now_s += 100  # before the announcement no time runs
    manifest = only_manifest(again.published())
    assert manifest.cohort == story.state.cohorts[0]
    assert manifest.seconds_left == DEADLINE_S - 25
    again.now_s += DEADLINE_S - 25
    assert only_manifest(again.later(0)).attempt == 1


def test_a_restart_with_everything_answered_closes_at_once() -> None:
    story = running("a", "b", "c")
    for device in ("a", "b", "c"):
        story.answers(device)
    state = story.state
    again = Story(federation(cohorts=state.cohorts, answers=state.answers, admitted=3))
    again.start()
    again.link_up()
    assert of(do.CloseRound, again.published())


def test_after_a_restart_those_who_are_online_are_still_awaited() -> None:
    story = running("a", "b", "c", "d")
    story.answers("a")
    story.answers("b")
    state = story.state
    again = Story(federation(cohorts=state.cohorts, answers=state.answers, admitted=2, online=state.online))
    again.start()
    again.link_up()
    assert not of(do.CloseRound, again.published())
    assert again.state.awaited == {"c", "d"}


# ── the end of learning ────────────────────────────────────────────────────────────────────────────


def finished() -> Story:
    story = running("a", "b", "c", round=RoundId(1, 3), progress=Progress(rounds=2))
    for device in ("a", "b", "c"):
        story.answers(device)
    story.closed()
    return story


def test_the_last_round_is_announced_once_more_as_done() -> None:
    story = finished()
    assert of(do.Finish, story.log) == [do.Finish("3 rounds")]
    assert story.phase() == "done"
    effects = story.published()
    manifest = only_manifest(effects)
    assert (manifest.state, manifest.round, manifest.attempt) == ("done", 3, 1)
    assert (manifest.seconds_left, manifest.model) == (0, blob("model of round 3"))
    assert of(do.ExportModel, effects) == [do.ExportModel(RoundId(1, 3))]


def test_after_the_end_first_verdicts_are_repeated_and_nothing_new_is_taken() -> None:
    story = finished()
    story.published()
    old = update("a", RoundId(1, 3), MODEL.digest)
    assert receipts(story.send("a", old)) == [("a", "admitted", None)]
    assert receipts(story.answers("d")) == [("d", "refused", Reason.ROUND_CLOSED)]
    story.later(10 * DEADLINE_S)
    assert story.phase() == "done"
    assert not of(do.CloseRound, story.log[-4:])


def test_a_restart_after_the_end_announces_done_again() -> None:
    story = Story(federation(round=RoundId(1, 3), progress=Progress(rounds=3), cohorts=(EVERYBODY,)))
    assert story.start() == [do.Finish("3 rounds")]
    story.link_up()
    assert only_manifest(story.published()).state == "done"


def test_learning_goes_on_when_the_rule_allows_more_rounds() -> None:
    story = Story(federation(round=RoundId(1, 4), progress=Progress(rounds=3), stopping=Stopping(rounds=5)))
    story.announce()
    assert (story.phase(), story.state.round) == ("collecting", RoundId(1, 4))


# ── other aggregators, and a fleet that knows more ─────────────────────────────────────────────────


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


def test_one_liar_is_outvoted_also_by_those_who_sleep() -> None:
    story = running("a", "b", "c", "d")
    for device in ("b", "c", "d"):
        story.sees(device, status(online=False))
    assert not of(do.GiveUp, story.sees("a", status(seen=RoundId(9, 9))))


def test_the_beat_is_published_and_the_time_saved() -> None:
    story = running("a")
    story.now_s += rounds.BEAT_S
    (saved, beat) = story.later(0)
    assert saved == do.SaveElapsed(OPEN, rounds.BEAT_S)
    assert isinstance(beat, do.PublishService)
    assert beat.service.beat == 1
    assert story.later(1) == []


def test_without_a_link_nothing_is_said() -> None:
    story = running("a")
    story.tell(on.LinkDown("cable"))
    story.now_s += rounds.BEAT_S
    assert kinds(story.later(0)) == [do.SaveElapsed]


# ── what does not fit ──────────────────────────────────────────────────────────────────────────────


def closing() -> Story:
    story = running("a", "b", "c")
    for device in ("a", "b", "c"):
        story.answers(device)
    assert story.phase() == "closing"
    return story


NEXT = RoundId(1, 2)


def round_closed(round_id: RoundId) -> on.RoundClosed:
    return on.RoundClosed(0.0, round_id, blob("task"), TASK, MODEL, Progress(rounds=1))


@pytest.mark.parametrize(
    ("story", "event"),
    [
        (running("a"), round_closed(OPEN)),
        (running("a"), on.CloseFailed(0.0, OPEN, "")),
        (running("a"), on.BlobsPublished(0.0, NEXT, None)),
        (running("a"), on.ExportPublished(NEXT)),
        (closing(), round_closed(NEXT)),
        (closing(), on.CloseFailed(0.0, NEXT, "")),
        (closing(), on.Tick(1_000.0)),
        (finished(), round_closed(RoundId(1, 3))),
        (finished(), on.CloseFailed(0.0, RoundId(1, 3), "")),
        (Story(federation()), round_closed(OPEN)),
    ],
)
def test_an_event_that_does_not_fit_changes_nothing(story: Story, event: Event) -> None:
    state, effects = rounds.step(replace(story.state, beat_due_s=1e9), event)
    assert (state, effects) == (replace(story.state, beat_due_s=1e9), [])


# ── any order of things ────────────────────────────────────────────────────────────────────────────

FLEET = ("a", "b", "c", "d", "e")
devices = st.sampled_from(FLEET)
happenings = st.one_of(
    st.tuples(st.just("send"), devices, st.integers(-1, 12), st.integers(-1, 1), st.integers(1, 3)),
    st.tuples(st.just("piece"), devices, st.integers(1, 3), st.integers(0, 3)),
    st.tuples(st.just("status"), devices, st.booleans(), st.sampled_from([None, 0, 1])),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 5.0, 30.0, 61.0])),
    st.tuples(st.just("up"), st.booleans()),
    st.tuples(st.just("down")),
    st.tuples(st.just("published"), st.sampled_from([0, 0, 0, 1])),
    st.tuples(st.just("closed"), st.sampled_from([0, 0, 0, 1])),
    st.tuples(st.just("failed")),
    st.tuples(st.just("rival"), st.sampled_from([OURS, LARGER]), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("garbage"), devices),
)


def happen(story: Story, what: tuple[object, ...]) -> None:
    match what:
        case ("send", str(device), int(samples), int(shift), int(pieces)):
            round_id = story.state.round._replace(round=max(0, story.state.round.round + shift))
            base = story.state.model.digest if story.state.model else story.state.task.digest
            if story.state.kind == "survey":
                story.send(device, survey(device, round_id, samples=10 * samples), pieces)
            else:
                story.send(device, update(device, round_id, base, samples=samples), pieces)
        case ("piece", str(device), int(samples), int(i)):
            story.frame(device, frames(update(device, story.state.round, samples=samples), 4)[i])
        case ("status", str(device), bool(online), attempt):
            declined = None if attempt is None else decline(story.state.round, int(str(attempt)))
            story.sees(device, status(online, declined=declined))
        case ("wait", float(seconds)):
            story.later(seconds)
        case ("up", bool(session_present)):
            story.link_up(session_present)
        case ("down",):
            story.tell(on.LinkDown(""))
        case ("published", int(shift)):
            round_id = story.state.round._replace(round=story.state.round.round + shift)
            story.tell(on.BlobsPublished(story.now_s, round_id, None))
        case ("closed", 0):
            story.closed()
        case ("closed", _):
            story.tell(round_closed(story.state.round._replace(round=77)))
        case ("failed",):
            story.tell(on.CloseFailed(story.now_s, story.state.round, "no model"))
        case ("rival", bytes(instance), int(beat), bool(online)):
            story.tell(on.ServiceSeen(service(instance, beat, online=online)))
        case ("garbage", str(device)):
            story.tell(on.GarbageArrived(device, b"g" * 32, Reason.MALFORMED, ""))


def check_state(before: Federation, now: Federation) -> None:
    assert now.round >= before.round
    if now.round == before.round and now.phase is not Phase.DONE:
        assert before.answers.items() <= now.answers.items()  # an answer is never changed or taken back
        assert now.cohorts[: len(before.cohorts)] == before.cohorts
    assert now.admitted == sum(answer.verdict == "admitted" for answer in now.answers.values())
    assert now.spooled == sum(cost(partial.size, partial.n) for partial in now.partials.values())
    assert now.awaited <= now.online
    assert now.awaited.isdisjoint(now.answers)


def check_effects(log: list[Effect]) -> None:
    assert saved_before_announced(log)
    saved: set[tuple[str, bytes]] = set()
    for effect in log:
        match effect:
            case do.SaveAnswer(_, device, answer):
                assert (device, answer.digest) not in saved
                saved.add((device, answer.digest))
            case do.SendReceipt(device, receipt) if receipt.verdict == "admitted":
                assert (device, receipt.update) in saved  # durable before visible


@settings(max_examples=150)
@given(st.lists(happenings, max_size=60), st.booleans(), st.sampled_from([None, 2, 4]))
def test_whatever_happens_the_laws_hold(
    what: list[tuple[object, ...]], surveying: bool, target: int | None
) -> None:
    first = {"round": RoundId(1, 0), "kind": "survey", "model": None} if surveying else {}
    story = Story(federation(rules=rules(0.7, target), **first))
    story.start()
    closing_now: RoundId | None = None
    for happening in what:
        before, length = story.state, len(story.log)
        happen(story, happening)
        check_state(before, story.state)
        for effect in of(do.CloseRound, story.log[length:]):
            assert closing_now is None  # once, until it succeeds or fails
            closing_now = effect.round
        if story.state.phase is not Phase.CLOSING:
            closing_now = None
    check_effects(story.log)


def test_every_effect_of_the_ledger_is_listed_as_durable() -> None:
    story = closing()
    story.closed()
    saving = {
        kind for kind in kinds(story.log) if kind.__name__.startswith(("Save", "Spool", "Drop", "Count"))
    }
    assert saving <= set(DURABLE)
