"""When a round closes, and who is awaited: what happens, then what the core does."""

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import rounds
from fedge.wire.freshness import RoundId
from fedge.wire.reasons import Reason
from fedge.wire.selection import chosen
from tests.aggregator.stories import (
    DEADLINE_S,
    EVERYBODY,
    OPEN,
    Story,
    chosen_in,
    closing,
    decline,
    federation,
    frames,
    kinds,
    of,
    only_manifest,
    only_receipt,
    receipts,
    rules,
    running,
    saved_before_announced,
    status,
    update,
)

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


def test_what_is_not_whole_when_the_round_has_closed_is_dropped_and_takes_no_room() -> None:
    story = running("a", "b", "c", "d", "e")
    for device in ("d", "e"):
        story.frame(device, frames(update(device), 4)[0])
    assert story.state.spooled > 0
    for device in ("a", "b", "c"):
        story.answers(device)
    dropped = of(do.DropSpool, story.closed())
    assert sorted(effect.device for effect in dropped) == ["d", "e"]
    assert (dict(story.state.partials), story.state.spooled) == ({}, 0)


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
