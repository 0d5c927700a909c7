"""Closes that fail, restarts, and the end of learning: what happens, then what the core does."""

from dataclasses import replace

import pytest

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import rounds
from aggregator.core.effects import DURABLE, GATHERED
from aggregator.core.events import Event
from aggregator.core.federation import Stage
from aggregator.core.progress import Progress
from aggregator.core.stopping_rule import StoppingRule
from fedge.wire.freshness import RoundId
from fedge.wire.reasons import Reason
from tests.aggregator.stories import (
    DEADLINE_S,
    EVERYBODY,
    MODEL,
    OPEN,
    Story,
    blob,
    closing,
    decline,
    federation,
    finished,
    kinds,
    of,
    only_manifest,
    receipts,
    round_closed,
    rules,
    running,
    status,
    update,
)


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
    story = Story(
        federation(round=RoundId(1, 4), progress=Progress(rounds=3), stopping=StoppingRule(rounds=5))
    )
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
    said = {do.Subscribe, do.PublishService, do.PublishBlobs, do.PublishManifest}
    said |= {do.ClearSlots, do.SendReceipt}
    handed_on = {do.ReadUpdate, do.CloseRound, do.ExportModel}
    saving = set(kinds(story.log)) - said - handed_on
    assert saving >= {do.SpoolFrame, do.SaveAnswer, do.SaveRound, do.SaveStatus}
    assert saving <= {*DURABLE, *GATHERED}
