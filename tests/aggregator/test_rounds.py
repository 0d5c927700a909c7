"""How rounds are announced, close and follow each other: what happens, then what the core does."""

from dataclasses import replace

import pytest

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import rounds
from aggregator.core.effects import DURABLE, GATHERED
from aggregator.core.events import Event
from aggregator.core.federation import Stage
from aggregator.core.stopping import Progress, Stopping
from fedge.wire.freshness import RoundId
from fedge.wire.reasons import Reason
from fedge.wire.selection import chosen
from tests.aggregator.stories import (
    DEADLINE_S,
    EVERYBODY,
    MODEL,
    OPEN,
    Story,
    blob,
    chosen_in,
    closing,
    decline,
    federation,
    finished,
    frames,
    kinds,
    of,
    only_manifest,
    only_receipt,
    receipts,
    round_closed,
    rules,
    running,
    saved_before_announced,
    status,
    update,
)

HELLO = [do.Subscribe, do.PublishService]


# ── announcing ─────────────────────────────────────────────────────────────────────────────────────


def test_a_round_is_saved_then_carried_to_the_broker_then_announced() -> None:
    story = Story(federation())
    assert story.start() == [do.SaveRound(OPEN, "train", 0, story.state.cohorts)]
    assert kinds(story.link_up()) == [*HELLO, do.PublishBlobs]
    assert story.stage() == "preparing"
    effects = story.published()
    assert kinds(effects) == [do.PublishManifest, do.ClearSlots, do.ExportModel]
    assert story.stage() == "collecting"
    manifest = only_manifest(effects)
    assert (manifest.generation, manifest.round, manifest.attempt) == (*OPEN, 0)
    assert (manifest.state, manifest.model, manifest.seconds_left) == ("open", MODEL, DEADLINE_S)
    assert manifest.cohort == story.state.cohorts[-1]
    assert of(do.ExportModel, effects) == [do.ExportModel(RoundId(1, 0))]  # of the round before
    assert saved_before_announced(story.log)


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
    assert isinstance(said, do.Log)
    assert "packet too large" in said.text
    assert story.stage() == "preparing"
    story.tell(on.LinkDown(story.now_s, "the broker restarts"))
    assert kinds(story.link_up())[-1] is do.PublishBlobs


def test_a_broker_that_comes_back_gets_everything_again_with_the_time_that_is_left() -> None:
    """It may have forgotten what it had acknowledged, though it knows our session."""
    story = running("a", "b", "c")
    story.tell(on.ExportPublished(RoundId(1, 0)))
    story.now_s += 20
    story.tell(on.LinkDown(story.now_s, "the broker was killed before it had saved"))
    assert kinds(story.link_up()) == [*HELLO, do.PublishBlobs]
    effects = story.published()
    assert kinds(effects) == [do.PublishManifest, do.ClearSlots, do.ExportModel]
    assert only_manifest(effects).seconds_left == DEADLINE_S - 20


def test_an_export_is_made_again_until_the_broker_holds_it() -> None:
    story = running("a", "b", "c")
    assert of(do.ExportModel, story.published()) == [do.ExportModel(RoundId(1, 0))]
    story.tell(on.ExportPublished(RoundId(1, 7)))  # not the one that is wanted
    assert of(do.ExportModel, story.published())
    story.tell(on.ExportPublished(RoundId(1, 0)))
    assert not of(do.ExportModel, story.published())


def test_the_cohort_is_drawn_again_until_enough_of_it_is_online() -> None:
    online = frozenset(f"pi-{i}" for i in range(20))
    reached = []
    for seed in range(40):
        story = Story(federation(rules=rules(0.25, target=5), online=online, seed=seed))
        story.start()
        reached.append(sum(chosen(story.state.cohorts[0], *OPEN, 0, device) for device in online))
    # One draw reaches 5 of 20 with probability 0.585 (binomial, 1/4); 32 draws fail with 6e-13.
    assert min(reached) >= 5


def test_a_cohort_names_no_device_so_that_what_one_is_called_is_no_others_matter() -> None:
    """A device of 0.2.0 would refuse a whole manifest that names an id of more than 31 characters."""
    uuid = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    for fraction in (0.25, 1.0):
        story = Story(federation(rules=rules(fraction), online=frozenset({uuid}), roster=frozenset({uuid})))
        story.start()
        assert uuid not in str(story.state.cohorts)


def test_drawing_is_a_function_of_seed_round_and_attempt() -> None:
    cohorts = set()
    for seed in (1, 1, 2):
        story = Story(federation(rules=rules(0.25), seed=seed))
        story.start()
        cohorts.add(story.state.cohorts)
    assert len(cohorts) == 2


# ── closing ────────────────────────────────────────────────────────────────────────────────────────


def test_a_round_closes_at_its_target() -> None:
    story = running("a", "b", "c", "d")
    for device in ("a", "b"):
        assert not of(do.CloseRound, story.answers(device))
    assert of(do.CloseRound, story.answers("c")) == [do.CloseRound(OPEN, "train")]
    assert story.stage() == "closing"


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


def test_a_device_that_takes_its_decline_back_is_awaited_again() -> None:
    story = running("a", "b", "c")
    story.sees("c", status(declined=decline()))
    assert story.state.awaited == {"a", "b"}
    story.sees("c", status())
    assert story.state.awaited == {"a", "b", "c"}
    story.answers("a")
    assert not of(do.CloseRound, story.answers("b"))
    assert of(do.CloseRound, story.answers("c"))


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
    assert kinds(effects[-3:]) == [do.SaveRound, do.Log, do.PublishManifest]
    manifest = only_manifest(effects)
    assert (manifest.round, manifest.attempt, manifest.cohort.fraction) == (1, 1, 0.5)
    assert manifest.seconds_left == DEADLINE_S
    assert (story.state.round, story.state.admitted, story.stage()) == (OPEN, 1, "collecting")
    assert saved_before_announced(story.log)

    older = chosen_in(story.state, 0, but_not_in=1)
    newer = chosen_in(story.state, 1, but_not_in=0)
    assert receipts(story.answers(older)) == [(older, "admitted", None)]  # was asked once, may answer
    assert receipts(story.answers(newer)) == [(newer, "admitted", None)]
    assert set(story.state.answers) == {early, older, newer}


def test_another_attempt_hopes_again_for_those_who_declined() -> None:
    story = running("a", "b", "c")
    story.sees("a", status(declined=decline()))
    story.sees("b", status(online=False))
    story.later(DEADLINE_S)
    assert story.state.awaited == {"a", "c"}


def test_the_fraction_doubles_until_it_is_everybody() -> None:
    story = running(rules=rules(0.3))
    for _ in range(2):
        story.later(DEADLINE_S)
    assert [cohort.fraction for cohort in story.state.cohorts] == [0.3, 0.6, 1.0]


def test_a_round_that_waits_for_days_takes_no_more_room() -> None:
    story = running("a", rules=rules(0.3))
    manifests = [only_manifest(story.later(DEADLINE_S)) for _ in range(1_000)]
    assert [manifest.attempt for manifest in manifests] == list(range(1, 1_001))
    assert len(story.state.cohorts) == 3
    assert manifests[-1].cohort == story.state.cohorts[-1]
    assert of(do.SaveRound, story.log)[-1] == do.SaveRound(OPEN, "train", 1_000, story.state.cohorts)
    assert receipts(story.answers("stranger")) == [("stranger", "admitted", None)]


def test_who_is_not_chosen_yet_is_refused_and_may_answer_when_it_is() -> None:
    """Another aggregator had asked it, or this one before its ledger was restored."""
    story = running("a", rules=rules(0.25))
    story.later(DEADLINE_S)
    late = next(
        device
        for device in (f"pi-{i}" for i in range(1_000))
        if not any(chosen(c, *OPEN, k, device) for k, c in enumerate(story.state.cohorts))
    )
    effects = story.answers(late)
    assert receipts(effects) == [(late, "refused", Reason.NOT_CHOSEN)]
    assert not of(do.SaveAnswer, effects)
    story.later(DEADLINE_S)
    assert receipts(story.answers(late)) == [(late, "admitted", None)]


def test_an_update_that_comes_while_the_round_closes_is_not_in_it_and_may_come_again() -> None:
    story = closing()
    effects = story.send("d", update("d"), 4)
    receipt = only_receipt(effects[:1])
    assert (receipt.verdict, receipt.reason, receipt.missing) == ("retry", None, ())
    assert receipt.after_s > 0
    assert kinds(effects) == [do.SendReceipt] * 4, "nothing of it is kept"
    assert story.state.admitted == 3
    story.closed()
    story.published()
    assert receipts(story.send("d", update("d"))) == [("d", "refused", Reason.STALE_ROUND)]


def test_an_update_that_had_begun_when_the_round_closes_is_dropped_when_it_is_whole() -> None:
    story = running("a", "b", "c", "d")
    first, last = frames(update("d"), 2)
    story.frame("d", first)
    for device in ("a", "b", "c"):
        story.answers(device)
    assert story.stage() == "closing"
    assert kinds(story.frame("d", last)) == [do.SpoolFrame, do.ReadUpdate]
    effects = story.tell(on.UpdateRead(story.now_s, "d", first.id, update("d")))
    assert kinds(effects) == [do.DropSpool, do.SendReceipt]
    assert only_receipt(effects).verdict == "retry"
    assert story.state.admitted == 3


def test_an_update_that_came_while_the_close_failed_is_what_the_round_waits_for() -> None:
    story = running("a", "b", "c", round=RoundId(1, 0), kind="survey", model=None, rules=rules(target=2))
    story.answers("a")
    assert of(do.CloseRound, story.answers("b"))
    assert [verdict for _, verdict, _ in receipts(story.answers("c"))] == ["retry"]
    story.tell(on.CloseFailed(story.now_s, RoundId(1, 0), "no device measured 'amps'"))
    assert story.state.awaited == {"c"}
    effects = story.answers("c")
    assert receipts(effects) == [("c", "admitted", None)]
    assert of(do.CloseRound, effects)


def test_the_next_round_begins_with_the_new_model() -> None:
    story = running("a", "b", "c")
    for device in ("a", "b", "c"):
        story.answers(device)
    effects = story.closed()
    assert kinds(effects) == [do.SaveRound, do.PublishBlobs]
    assert (story.state.round, story.stage()) == (RoundId(1, 2), "preparing")
    assert (story.state.answers, story.state.admitted) == ({}, 0)
    manifest = only_manifest(story.published())
    assert (manifest.round, manifest.attempt, manifest.model) == (2, 0, blob("model of round 1"))
    assert story.state.awaited == {"a", "b", "c"}
    assert of(do.ExportModel, story.log)[-1] == do.ExportModel(OPEN)


def test_a_round_that_closes_without_a_link_is_announced_when_it_comes_back() -> None:
    story = running("a", "b", "c")
    for device in ("a", "b", "c"):
        story.answers(device)
    story.tell(on.LinkDown(story.now_s, "the broker is away"))
    assert kinds(story.closed()) == [do.SaveRound]
    assert kinds(story.link_up()) == [*HELLO, do.PublishBlobs]
    assert only_manifest(story.published()).round == 2


def test_time_without_a_link_counts_towards_no_deadline() -> None:
    story = running("a", "b", "c", rules=rules(fraction=0.5))
    story.answers(chosen_in(story.state, 0))
    cohorts = story.state.cohorts
    story.later(20)
    story.tell(on.LinkDown(story.now_s, "the broker is away"))
    for _ in range(7):
        assert story.later(DEADLINE_S) == []
        story.tell(on.LinkDown(story.now_s, "it cannot be reached"))
    assert rounds.due_s(story.state) == story.state.beat_due_s
    story.link_up()
    assert (story.state.attempt, story.state.cohorts, story.state.admitted) == (0, cohorts, 1)
    manifest = only_manifest(story.published())
    assert (manifest.attempt, manifest.cohort, manifest.seconds_left) == (0, cohorts[0], DEADLINE_S - 20)
    story.later(DEADLINE_S - 21)
    assert story.state.attempt == 0
    story.later(1)
    assert story.state.attempt == 1


def test_an_attempt_that_was_announced_ends_though_no_connection_lasts_long_enough_for_the_model() -> None:
    """The announcement is retained, and answered meanwhile: with a quorum the round is closed."""
    story = running("a", "b", "silent", rules=rules(target=None))
    story.answers("a")
    story.answers("b")
    flaps = 0
    while story.stage() == "collecting":
        flaps += 1
        story.tell(on.LinkDown(story.now_s, "gone"))
        story.later(1)
        story.link_up()
        story.later(9)
        assert flaps * 9 < DEADLINE_S + 9
    assert story.stage() == "closing"
    assert not of(do.SaveMissed, story.log), "it may not be back since the connection broke"


def test_without_a_quorum_the_next_attempt_begins_when_it_can_be_announced() -> None:
    story = running("a", "b", "silent", rules=rules(target=None))
    story.answers("a")
    story.tell(on.LinkDown(story.now_s, "gone"))
    story.link_up()
    for _ in range(3):
        story.later(DEADLINE_S)
        assert rounds.due_s(story.state) >= story.now_s, "it does not spin"
    assert story.state.attempt == 0, "nobody would hear of another"
    manifests = [effect.manifest for effect in of(do.PublishManifest, story.published())]
    assert [(manifest.attempt, manifest.seconds_left) for manifest in manifests] == [(0, 0), (1, DEADLINE_S)]
    assert story.state.attempt == 1

    story.tell(on.LinkDown(story.now_s, "gone"))
    story.link_up()
    story.later(DEADLINE_S)
    assert of(do.CloseRound, story.answers("b")), "the deadline has passed"


def test_a_deadline_that_ends_as_the_link_goes_is_followed_when_it_is_back() -> None:
    story = running("a", "b", "c")
    story.now_s += DEADLINE_S
    story.tell(on.LinkDown(story.now_s, "gone"))
    assert story.later(0) == [] or story.state.attempt == 0
    story.link_up()
    assert [effect.manifest.attempt for effect in of(do.PublishManifest, story.published())] == [0, 1]


def test_a_restart_without_a_link_counts_no_time_either() -> None:
    story = running("a", "b", "c")
    story.later(20)
    (kept,) = story.tell(on.LinkDown(story.now_s, "the broker is away"))
    assert kept == do.SaveElapsed(OPEN, 20)
    again = Story(replace(federation(), cohorts=story.state.cohorts, elapsed_s=20))
    again.start()
    again.later(7 * DEADLINE_S)
    again.link_up()
    again.later(7 * DEADLINE_S)
    assert only_manifest(again.published()).seconds_left == DEADLINE_S - 20


def test_a_close_that_fails_without_a_link_is_announced_when_it_comes_back() -> None:
    story = closing()
    story.tell(on.LinkDown(story.now_s, "the broker is away"))
    effects = story.tell(on.CloseFailed(story.now_s, OPEN, "no column varies"))
    assert kinds(effects) == [do.SaveRound, do.Log]
    story.later(7 * DEADLINE_S)
    assert (story.stage(), story.state.attempt) == ("collecting", 1)
    story.link_up()
    manifest = only_manifest(story.published())
    assert (manifest.attempt, manifest.seconds_left) == (1, DEADLINE_S)


def test_a_close_that_fails_keeps_what_was_admitted_and_waits_for_more() -> None:
    story = Story(federation(round=RoundId(1, 0), kind="survey", model=None, rules=rules(target=2)))
    story.announce("a", "b")
    story.answers("a")
    assert of(do.CloseRound, story.answers("b"))
    effects = story.tell(on.CloseFailed(story.now_s, RoundId(1, 0), "no device measured 'amps'"))
    assert only_manifest(effects).attempt == 1
    assert "amps" in of(do.Log, effects)[0].text
    assert (story.state.admitted, story.stage()) == (2, "collecting")
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
    again.link_up()
    again.now_s += 100  # before the announcement no time runs
    manifest = only_manifest(again.published())
    assert manifest.cohort == story.state.cohorts[0]
    assert manifest.seconds_left == DEADLINE_S - 25
    again.now_s += DEADLINE_S - 25
    manifest = only_manifest(again.later(0))
    assert (manifest.attempt, manifest.seconds_left) == (1, DEADLINE_S)


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
    assert kinds(story.tell(on.LinkDown(story.now_s, "cable"))) == [do.SaveElapsed]
    assert kinds(story.tell(on.LinkDown(story.now_s, "still cable"))) == []
    assert kinds(story.later(rounds.BEAT_S)) == []


# ── the end of learning ────────────────────────────────────────────────────────────────────────────


def test_the_last_round_is_announced_once_more_as_done() -> None:
    story = finished()
    assert of(do.Complete, story.log) == [do.Complete("3 rounds")]
    assert story.stage() == "done"
    effects = story.published()
    manifest = only_manifest(effects)
    assert (manifest.state, manifest.round, manifest.attempt) == ("done", 3, 1)
    assert (manifest.seconds_left, manifest.model) == (0, blob("model of round 3"))
    assert of(do.ExportModel, effects) == [do.ExportModel(RoundId(1, 3))]


def test_after_the_end_first_verdicts_are_repeated_and_nothing_new_is_taken() -> None:
    story = finished()
    story.published()
    old = update("a", RoundId(1, 3), MODEL.digest)
    again = of(do.SendReceipt, story.send("a", old))
    assert [(effect.receipt.verdict, effect.receipt.round) for effect in again] == [("admitted", 3)]
    assert receipts(story.answers("d")) == [("d", "refused", Reason.ROUND_CLOSED)]
    story.later(10 * DEADLINE_S)
    assert story.stage() == "done"
    assert not of(do.CloseRound, story.log[-4:])


def test_a_restart_after_the_end_announces_done_again() -> None:
    last = federation(
        round=RoundId(1, 3), progress=Progress(rounds=3), cohorts=(EVERYBODY,), stage=Stage.DONE
    )
    story = Story(last)
    assert story.start() == [do.Complete("3 rounds")]
    story.link_up()
    assert only_manifest(story.published()).state == "done"


def test_learning_goes_on_when_the_rule_allows_more_rounds() -> None:
    story = Story(federation(round=RoundId(1, 4), progress=Progress(rounds=3), stopping=Stopping(rounds=5)))
    story.announce()
    assert (story.stage(), story.state.round) == ("collecting", RoundId(1, 4))


# ── what does not fit ──────────────────────────────────────────────────────────────────────────────


NEXT = RoundId(1, 2)


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


def test_every_effect_of_the_ledger_is_listed_as_durable_or_gathered() -> None:
    story = closing()
    story.closed()
    saving = {
        kind for kind in kinds(story.log) if kind.__name__.startswith(("Save", "Spool", "Drop", "Count"))
    }
    assert saving <= {*DURABLE, *GATHERED}
