"""A mean that is no model: who caused it does not count, the round goes on, and no model is made of it."""

from dataclasses import replace

import numpy as np
import pytest

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.awaited import counted_anew
from aggregator.core.effects import Effect
from aggregator.core.federation import Stage
from aggregator.core.patience import MISSES
from aggregator.core.update_limits import max_distance
from aggregator.core.usual_distance import UsualDistance
from aggregator.core.verdicts import Missed
from fedge.algorithms.codecs import float32
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.status import Decline
from fedge.wire.reasons import Reason
from tests.aggregator.stories import (
    DEADLINE_S,
    OPEN,
    P,
    Story,
    blob,
    frames,
    having,
    kinds,
    of,
    only_manifest,
    receipts,
    rules,
    running,
    status,
    update,
)
from tests.wording import assert_tells

WHY = "the mean of the updates is not finite"


def unusable(story: Story, *devices: str) -> list[Effect]:
    return story.tell(on.MeanUnusable(story.now_s, story.state.round, devices, WHY))


def closing(*devices: str, quorum: int = 2, online: tuple[str, ...] = ()) -> Story:
    """All of `devices` have answered; those `online` besides have not."""
    story = running(*devices, *online, rules=rules(target=len(devices), quorum=quorum))
    for device in devices:
        story.answers(device)
    assert story.stage() == "closing"
    return story


def test_with_enough_others_the_round_closes_at_once_without_waiting_for_anybody() -> None:
    story = closing("a", "b", "liar", online=("late", "later"))
    effects = unusable(story, "liar")
    assert kinds(effects) == [do.SetAside, do.CountRefusal, do.Log, do.CloseRound]
    assert (story.stage(), story.state.admitted, story.state.attempt) == ("closing", 2, 0)
    answer = story.state.answers["liar"]
    assert (answer.verdict, answer.reason) == ("refused", Reason.SET_ASIDE)
    said = of(do.Log, effects)[0]
    assert said.level == "error"
    assert_tells(said.text, "round 1.1: ", "not finite", "liar")
    story.closed()
    assert story.state.round == OPEN._replace(round=2)


def test_with_too_few_others_the_round_goes_on_with_its_next_attempt() -> None:
    story = closing("a", "b", "liar", quorum=3, online=("late",))
    effects = unusable(story, "liar")
    assert kinds(effects) == [
        do.SetAside,
        do.CountRefusal,
        do.Log,
        do.SaveRound,
        do.Log,
        do.PublishManifest,
    ]
    assert (story.stage(), story.state.admitted, story.state.attempt) == ("collecting", 2, 1)
    assert (only_manifest(effects).attempt, only_manifest(effects).model) == (1, story.state.model)
    assert story.state.awaited == {"late"}, "who was set aside has answered"
    assert of(do.CloseRound, story.answers("late"))


def test_who_was_set_aside_may_not_answer_again_and_is_told_why() -> None:
    story = closing("a", "b", "liar", quorum=3)
    unusable(story, "liar")
    again = story.send("liar", update("liar"))
    assert receipts(again) == [("liar", "refused", Reason.SET_ASIDE)]
    assert WHY in of(do.SendReceipt, again)[0].receipt.detail
    other = story.send("liar", update("liar", samples=11))
    assert receipts(other) == [("liar", "refused", Reason.ALREADY_ANSWERED)]
    assert story.state.admitted == 2
    story.later(DEADLINE_S)
    assert story.stage() == "collecting", "it is not counted at a deadline either"


def test_the_round_after_tells_it_the_same() -> None:
    story = closing("a", "b", "liar")
    unusable(story, "liar")
    story.closed()
    (frame,) = frames(update("liar"))
    assert receipts(story.frame("liar", frame)) == [("liar", "refused", Reason.SET_ASIDE)]


def test_if_all_are_set_aside_nothing_is_computed_of_nothing() -> None:
    story = closing("a", "b", online=("late",))
    effects = unusable(story, "a", "b")
    assert not of(do.CloseRound, effects)
    assert "--from-round 0" in of(do.Log, effects)[1].text
    for _ in range(3):
        story.later(DEADLINE_S)
    assert (story.stage(), story.state.admitted) == ("collecting", 0)


@pytest.mark.parametrize("gone", [("a", "b"), ("b",)])
def test_if_the_others_cannot_close_the_round_the_way_out_is_told(gone: tuple[str, ...]) -> None:
    story = closing("a", "b")
    said = of(do.Log, unusable(story, *gone))[-1].text
    assert "round 1.1: " in said
    assert_tells(said, f"{len(gone)} of its updates")
    assert "`fedge-aggregator new-generation --from-round 0`" in said
    assert "new-generation" in of(do.Log, story.later(DEADLINE_S))[-1].text, "and with each attempt"
    story.sees("c")
    story.sees("d")
    assert "new-generation" not in of(do.Log, story.later(DEADLINE_S))[-1].text


def test_many_are_named_within_bounds() -> None:
    devices = tuple(f"liar-{i}" for i in range(30))
    story = closing("a", "b", *devices)
    said = of(do.Log, unusable(story, *devices))[0].text
    assert said.count("liar-") == 20
    assert "and 10 more" in said


@pytest.mark.parametrize("round_id", [OPEN._replace(round=2), RoundId(2, 1)])
def test_of_another_round_it_changes_nothing(round_id: RoundId) -> None:
    story = closing("a", "b")
    assert story.tell(on.MeanUnusable(0.0, round_id, ("a",), WHY)) == []


# ── a bad model ────────────────────────────────────────────────────────────────────────────────────


def declines(story: Story, device: str, reason: Reason = Reason.TRAINING_DIVERGED) -> list[str]:
    """What is said as an error when a device declines."""
    here = story.state.round
    declined = Decline(
        generation=here.generation, round=here.round, attempt=story.state.attempt, reason=reason, detail="no"
    )
    effects = story.sees(device, status(declined=declined))
    return [said.text for said in of(do.Log, effects) if said.level == "error"]


THIRD = RoundId(1, 3)


def blaming(*devices: str, quorum: int = 2, **changes: object) -> Story:
    chosen = rules(target=None, quorum=quorum)
    return running(
        *devices, **{"round": THIRD, "model": blob("model of round 2"), "rules": chosen, **changes}
    )


def test_if_most_fail_to_train_the_model_is_to_blame() -> None:
    story = blaming("a", "b", "c", quorum=3)
    assert declines(story, "a") == [], "one device alone says nothing"
    (said,) = declines(story, "b", Reason.FAILED)
    assert_tells(said, "round 1.3: 2 of 3 devices", "round 1.2")
    assert_tells(said, "`fedge-aggregator new-generation --from-round 1`")
    assert "[plan] learning_rate" not in said
    declines(story, "c")
    story.later(DEADLINE_S)
    assert [declines(story, device) for device in ("a", "b", "c")] == [[], [], []], "once a round"


def test_in_the_first_round_the_learning_rate_may_be_to_blame() -> None:
    story = running("a", "b")
    declines(story, "a")
    (said,) = declines(story, "b")
    assert_tells(said, "[plan] learning_rate")


def test_while_the_quorum_can_be_met_or_reasons_differ_it_is_not_the_model() -> None:
    story = blaming("a", "b", "c", "d")
    story.answers("a")
    assert declines(story, "b") + declines(story, "c") == [], "d may answer"
    story.answers("d")
    assert story.stage() == "closing"
    story = blaming("a", "b")
    assert declines(story, "a", Reason.TOO_HOT) + declines(story, "b") == []
    story.later(DEADLINE_S)
    story = blaming("a")
    assert declines(story, "a") == [], "fewer than the quorum"
    assert not [said for said in of(do.Log, story.later(DEADLINE_S)) if said.level == "error"]


def test_an_update_of_one_does_not_clear_a_model_that_nineteen_fail_to_train_from() -> None:
    honest = [f"pi-{number}" for number in range(19)]
    story = blaming(*honest, "liar", quorum=10)
    story.answers("liar")
    said = [text for device in honest for text in declines(story, device)]
    assert len(said) == 1
    assert_tells(said[0], "of 20 devices")


@pytest.mark.parametrize("kind", ["silent", "quarantined", "off the roster", "given up", "it answers"])
def test_no_single_device_keeps_it_from_being_said(kind: str) -> None:
    roster = frozenset("abc") if kind == "off the roster" else None
    story = blaming("a", "b", "c", "liar", quorum=2, roster=roster)
    if kind == "quarantined":
        quarantines(story, "liar")
    elif kind == "given up":
        missed = {"liar": Missed(MISSES, Attempt(THIRD, 0))}
        story.state = counted_anew(having(story.state, missed=missed))
    elif kind == "it answers":
        story.answers("liar")
    said = [text for device in "abc" for text in declines(story, device)]
    assert len(said) == 1


def test_it_is_looked_for_again_at_the_deadline() -> None:
    """Who is not heard of any more was hoped for until then, and has gone offline without a decline."""
    story = blaming("a", "b", "c", "d", "e")
    for device in ("a", "b", "c"):
        assert declines(story, device) == []
    story.sees("d", status(online=False))
    story.sees("e", status(online=False))
    (said, _) = of(do.Log, story.later(DEADLINE_S))
    assert_tells(said.text, "3 of 3 devices")


# ── what is usual ──────────────────────────────────────────────────────────────────────────────────


def test_the_bound_of_the_next_round_is_fixed_when_it_opens() -> None:
    story = running("a", "b", "c")
    assert max_distance(story.state) is None
    state = story.state
    for device in ("a", "b", "c"):
        story.answers(device)
    story.tell(
        on.RoundClosed(
            story.now_s,
            state.round,
            state.task,
            state.task_message,
            blob("model of round 1", slot=1),
            state.progress,
            base=np.zeros(P, np.float32),
            usual=UsualDistance(2.0),
        )
    )
    story.published()
    assert max_distance(story.state) == 200.0
    far = float32.encode(np.full(P, 100.0, np.float32))
    assert receipts(story.answers("a", body=far)) == [("a", "refused", Reason.TOO_FAR)]
    near = float32.encode(np.full(P, 50.0, np.float32))
    assert receipts(story.answers("b", body=near)) == [("b", "admitted", None)]


def test_if_most_are_too_far_the_way_out_is_told() -> None:
    far = float32.encode(np.full(P, 100.0, np.float32))
    start = {"base": np.zeros(P, np.float32), "usual": UsualDistance(1.0)}
    story = running("a", "b", "c", **start)
    story.answers("a", body=far)
    story.answers("b", body=float32.encode(np.zeros(P, np.float32)))
    assert "too far" not in of(do.Log, story.later(DEADLINE_S))[0].text, "one of two"
    story.answers("c", body=far)
    (said,) = of(do.Log, story.later(DEADLINE_S))
    assert_tells(said.text, "attempt 2", "3 updates 2 ", "too far", "new-generation --keep-model")


def test_usual_is_the_longest_median_or_what_the_last_round_moved() -> None:
    """A fleet that has learnt all may be taught something new, and one that was led astray may return."""
    usual = UsualDistance().after({"moved": 5.0})
    assert usual.distance == 0, "a round of one says nothing"
    usual = usual.after({"median_norm": 2.0, "moved": 1.0}).after({"median_norm": 1e-9, "moved": 1e-9})
    assert usual.distance == 2
    usual = usual.after({"median_norm": 1.0, "moved": 1e30})
    assert usual.distance == 1e30
    assert usual.after({"median_norm": 1.0, "moved": 1.0}).distance == 2


def test_after_a_round_of_two_their_mean_counts_too() -> None:
    """The shorter of the two may be a liar's, and the server's step may be short."""
    usual = UsualDistance().after({"median_norm": 1e-9, "mean_norm": 3.0, "moved": 0.01})
    assert usual.distance == 3
    alone = usual.after({"moved": 1e-9})
    assert alone.distance == 3, "one update says nothing of what is usual"
    assert alone.after({"moved": 7.0}).distance == 7, "the model must be able to go back"
    three = usual.after({"median_norm": 0.5, "moved": 0.01})
    assert three.distance == 0.5, "of three, the median is not a liar's"


def test_the_mean_of_two_further_vectors_counts_until_more_than_two_are_there() -> None:
    usual = UsualDistance().after({"median_norm": 1.0, "median_norm.c": 1e-9, "mean_norm.c": 3.0})
    assert usual.lengths == {"c": 3.0}
    assert usual.after({"moved": 1.0}).lengths == {"c": 3.0}
    assert usual.after({"median_norm": 1.0, "median_norm.c": 0.5}).lengths == {"c": 0.5}


def test_without_a_factor_there_is_no_bound() -> None:
    story = running("a", rules=replace(rules(), max_norm=0.0), usual=UsualDistance(5.0))
    assert max_distance(story.state) is None


# ── a quarantine meanwhile ─────────────────────────────────────────────────────────────────────────


def quarantines(story: Story, *devices: str) -> list[Effect]:
    return story.tell(on.Quarantined(story.now_s, frozenset(devices)))


def counted(story: Story) -> set[str]:
    return {device for device, answer in story.state.answers.items() if answer.verdict == "admitted"}


def test_a_quarantine_while_it_was_closed_takes_effect_when_no_model_comes_of_it() -> None:
    """The same as after a restart meanwhile: who is set aside is a function of those who may count."""
    at_work = closing("a", "b", "rogue", "liar")
    quarantines(at_work, "rogue")
    assert counted(at_work) == {"a", "b", "rogue", "liar"}, "what is being closed is left alone"
    effects = unusable(at_work, "liar")
    assert at_work.state.answers["rogue"].reason is Reason.QUARANTINED
    assert (counted(at_work), at_work.stage()) == ({"a", "b", "liar"}, "closing"), "computed of these anew"
    assert of(do.CloseRound, effects)
    assert not of(do.SetAside, effects)

    restarted = Story(
        replace(
            closing("a", "b", "rogue", "liar").state, stage=Stage.PREPARING, since_s=None, awaited=frozenset()
        )
    )
    quarantines(restarted, "rogue")
    restarted.announce("a", "b", "rogue", "liar")
    assert (counted(restarted), restarted.stage()) == ({"a", "b", "liar"}, "closing")
    for story in (at_work, restarted):
        unusable(story, "liar")
        assert (counted(story), story.stage()) == ({"a", "b"}, "closing")


def test_a_quarantine_that_leaves_too_few_opens_the_round_again() -> None:
    story = closing("a", "b", "rogue", "liar", quorum=4, online=("late",))
    quarantines(story, "rogue")
    effects = unusable(story, "liar")
    assert (story.stage(), story.state.attempt, counted(story)) == ("collecting", 1, {"a", "b", "liar"})
    assert not of(do.CloseRound, effects)
    assert of(do.CloseRound, story.answers("late"))
    assert counted(story) == {"a", "b", "liar", "late"}


def test_buffered_rounds_can_undo_what_any_of_their_last_versions_did() -> None:
    """Version 1 moves the model 50, and stale updates from before it fill version 2, which moves it 1.

    What undoes version 1 comes in version 3. With max_norm = 100 it may be 100 · 50 away; without a buffer,
    or once version 1 is more than max_staleness + 1 versions ago, 100 · 2.
    """
    usual = UsualDistance()
    for moved in (50.0, 1.0):
        usual = usual.after({"median_norm": 2.0, "moved": moved})
    assert (usual.back(0), usual.back(1)) == (2.0, 50.0)
    assert usual.after({"moved": 1.0}).back(1) == 2.0
    limits = [
        max_distance(running("a", usual=usual, rules=replace(rules(), max_staleness=stale)).state)
        for stale in (None, 1)
    ]
    assert limits == [200.0, 5_000.0]
