"""The schedule `buffered`: which updates of older versions count in the open one."""

from dataclasses import replace
from typing import Any

import numpy as np

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.awaited import counted_anew
from aggregator.core.events import Event
from aggregator.core.round_rules import RoundRules
from aggregator.core.stopping_rule import StoppingRule
from aggregator.schedules.schedule import SCHEDULES
from fedge.algorithms.codecs import float32
from fedge.wire.capabilities import BASE, BUFFERED
from fedge.wire.freshness import RoundId
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason
from tests.aggregator.stories import (
    DEADLINE_S,
    MODEL,
    P,
    Story,
    blob,
    digest_of,
    federation,
    frames,
    of,
    only_manifest,
    only_receipt,
    receipts,
    update,
)

STALE = 2
START = np.zeros(P, np.float32)
ABLE = frozenset({*BASE, BUFFERED})
DEVICES = ("a", "b", "c")


def base_of(number: int) -> bytes:
    """The digest of the model that a round begins with."""
    return MODEL.digest if number == 1 else blob(f"model of round {number - 1}").digest


def running(**changes: Any) -> Story:
    """A buffer of two updates; those of the two versions before count."""
    rules = RoundRules(1.0, 2, 2, DEADLINE_S, max_staleness=STALE)
    given = {"rules": rules, "abilities": dict.fromkeys(DEVICES, ABLE), "stopping": StoppingRule(rounds=30)}
    story = Story(federation(**{**given, **changes}))
    story.announce()
    for device in DEVICES:
        story.state = replace(story.state, online=story.state.online.put(device))
    return story


def sends(story: Story, device: str, number: int, **changes: Any) -> list[do.Effect]:
    """A device's update for the version of this number is read, as the shell does it."""
    message = update(device, RoundId(1, number), base_of(number), **changes)
    return reads(story, device, message)


def reads(story: Story, device: str, message: Update) -> list[do.Effect]:
    known = dict(story.state.earlier).get(message.round)
    start = START if known is not None and message.round < story.state.round.round else None
    return story.tell(on.UpdateRead(story.now_s, device, digest_of(message), message, True, start))


def next_version(story: Story, *devices: str) -> None:
    number = story.state.round.round
    for device in devices:
        sends(story, device, number)
    assert story.stage() == "closing"
    story.closed()
    story.published()
    assert (story.stage(), story.state.round.round) == ("collecting", number + 1)


def test_the_manifest_says_that_work_goes_on_and_what_a_device_must_be_able_to_do() -> None:
    story = Story(running().state)
    story.state = replace(story.state, published=False)
    manifest = only_manifest(story.published())
    assert manifest.max_staleness == STALE
    assert BUFFERED in (manifest.requires or ())


def test_a_survey_is_announced_as_before() -> None:
    story = Story(running(round=RoundId(1, 0), kind="survey", model=None).state)
    story.state = replace(story.state, published=False)
    manifest = only_manifest(story.published())
    assert manifest.max_staleness is None
    assert BUFFERED not in (manifest.requires or ())


def test_a_survey_waits_for_all_whatever_the_buffer_takes() -> None:
    story = running(round=RoundId(1, 0), kind="survey", model=None)
    story.state = counted_anew(story.state)
    assert not of(do.CloseRound, [*story.answers("a"), *story.answers("b")])
    assert of(do.CloseRound, story.answers("c"))


def test_a_version_closes_when_its_buffer_is_full() -> None:
    story = running()
    assert not of(do.CloseRound, sends(story, "a", 1))
    assert of(do.CloseRound, sends(story, "b", 1)) == [do.CloseRound(RoundId(1, 1), "train")]


def test_an_update_of_an_older_version_counts_in_the_open_one() -> None:
    story = running()
    next_version(story, "a", "b")
    effects = sends(story, "c", 1)
    assert receipts(effects) == [("c", "admitted", None)]
    assert only_receipt(effects).round == 2
    (saved,) = of(do.SaveAnswer, effects)
    assert (saved.round, saved.answer.began, saved.answer.samples) == (RoundId(1, 2), 1, 10)
    assert story.state.admitted == 1


def test_an_update_of_the_open_version_names_no_older_one() -> None:
    (saved,) = of(do.SaveAnswer, sends(running(), "a", 1))
    assert saved.answer.began is None


def test_versions_count_as_long_as_they_are_not_too_old() -> None:
    """Version 4 takes updates for 2 and 3; that for 1 is refused with a receipt."""
    story = running()
    for _ in range(3):
        next_version(story, "a", "b")
    assert story.state.round.round == 4
    assert [number for number, _ in story.state.earlier] == [2, 3]
    assert dict(story.state.earlier) == {2: base_of(2), 3: base_of(3)}
    assert receipts(sends(story, "c", 1)) == [("c", "refused", Reason.STALE_ROUND)]
    assert "c" not in story.state.answers, "it may still answer with a newer one"
    assert receipts(sends(story, "c", 2)) == [("c", "admitted", None)]


def test_the_base_must_be_that_of_its_version() -> None:
    story = running()
    next_version(story, "a", "b")
    wrong = update("c", RoundId(1, 1), base_of(2))
    assert receipts(reads(story, "c", wrong)) == [("c", "refused", Reason.WRONG_BASE)]
    assert "c" not in story.state.answers


def test_an_update_is_measured_from_its_own_base() -> None:
    """START is 0, so the update is 100 away; the newest model is where it is."""
    story = running()
    next_version(story, "a", "b")
    usual = replace(story.state.usual, longest=1.0)  # and max_norm is 100
    story.state = replace(story.state, usual=usual, base=np.full(P, 7.0, np.float32))
    near = float32.encode(np.full(P, 100 / P**0.5, np.float32) * np.float32(0.999))
    far = float32.encode(np.full(P, 100 / P**0.5, np.float32) * np.float32(1.001))
    assert receipts(sends(story, "c", 1, body=far)) == [("c", "refused", Reason.TOO_FAR)]
    again = running()
    next_version(again, "a", "b")
    again.state = replace(again.state, usual=usual, base=np.full(P, 7.0, np.float32))
    assert receipts(sends(again, "c", 1, body=near)) == [("c", "admitted", None)]


def test_one_update_of_a_device_and_version_counts() -> None:
    story = running()
    next_version(story, "a", "b")
    other = sends(story, "a", 1, samples=11)
    assert receipts(other) == [("a", "refused", Reason.ALREADY_ANSWERED)]
    assert not of(do.SaveAnswer, other)
    assert receipts(sends(story, "a", 2)) == [("a", "admitted", None)]


def test_one_update_of_a_device_counts_in_a_buffer_and_the_next_one_waits() -> None:
    story = running()
    next_version(story, "a", "b")
    sends(story, "c", 1)
    fresh = update("c", RoundId(1, 2), base_of(2))
    assert only_receipt(reads(story, "c", fresh)).verdict == "retry"
    waits = story.frame("c", frames(fresh)[0])
    assert only_receipt(waits).verdict == "retry"
    assert only_receipt(waits).after_s > 0
    sends(story, "a", 2)
    story.closed()
    story.published()
    (saved,) = of(do.SaveAnswer, reads(story, "c", fresh))
    assert (saved.round, saved.answer.began) == (RoundId(1, 3), 2)


def test_an_update_in_the_place_of_a_refused_one_may_count_in_the_same_buffer() -> None:
    """Otherwise no device could fill a buffer from which all updates were set aside."""
    story = running()
    next_version(story, "a", "b")
    old, new = update("c", RoundId(1, 1), base_of(1)), update("c", RoundId(1, 2), base_of(2))
    reads(story, "c", old)
    sends(story, "a", 2)
    assert story.stage() == "closing"
    effects = story.tell(on.MeanUnusable(story.now_s, RoundId(1, 2), ("a", "c"), "not finite"))
    assert story.state.answers["c"].reason is Reason.SET_ASIDE
    effects = story.frame("c", frames(new)[0])
    assert of(do.ReadUpdate, effects)
    effects = reads(story, "c", new)
    assert receipts(effects) == [("c", "admitted", None)]
    assert do.DropSpool("c", digest_of(old)) in effects
    assert story.state.admitted == 1
    assert only_receipt(sends(story, "a", 2, samples=11)).reason is Reason.ALREADY_ANSWERED


def test_an_update_that_comes_while_a_version_closes_counts_in_the_next_one() -> None:
    story = running()
    sends(story, "a", 1)
    sends(story, "b", 1)
    assert only_receipt(sends(story, "c", 1)).verdict == "retry"
    story.closed()
    story.published()
    assert receipts(sends(story, "c", 1)) == [("c", "admitted", None)]


def test_the_frames_of_an_update_on_its_way_stay_when_a_version_closes() -> None:
    story = running()
    first, second = frames(update("c", RoundId(1, 1), base_of(1)), pieces=2)
    story.frame("c", first)
    effects: list[do.Effect] = []
    for device in ("a", "b"):
        effects += sends(story, device, 1)
    effects += story.closed()
    story.published()
    assert not of(do.DropSpool, [e for e in effects if isinstance(e, do.DropSpool) and e.device == "c"])
    assert of(do.ReadUpdate, story.frame("c", second))


def test_a_refused_update_is_the_devices_answer_for_its_version() -> None:
    story = running()
    next_version(story, "a", "b")
    effects = sends(story, "c", 1, samples=0)
    assert receipts(effects) == [("c", "refused", Reason.BAD_SAMPLE_COUNT)]
    (saved,) = of(do.SaveAnswer, effects)
    assert (saved.round, saved.answer.began, saved.answer.verdict) == (RoundId(1, 2), 1, "refused")
    assert story.state.begun["c"] == 1


def test_the_end_of_a_quarantine_lets_the_same_update_count() -> None:
    story = running()
    next_version(story, "a", "b")
    message = update("c", RoundId(1, 1), base_of(1))
    reads(story, "c", message)
    story.tell(on.Quarantined(story.now_s, frozenset({"c"})))
    assert (story.state.admitted, story.state.answers["c"].began) == (0, 1)
    story.tell(on.Quarantined(story.now_s, frozenset()))
    (saved,) = of(do.SaveAnswer, reads(story, "c", message))
    assert (saved.answer.verdict, saved.answer.began) == ("admitted", 1)


def test_one_round_after_the_other_refuses_what_is_stale_as_before() -> None:
    story = running(rules=RoundRules(1.0, 2, 2, DEADLINE_S))
    next_version(story, "a", "b")
    assert story.state.earlier == ()
    message = update("c", RoundId(1, 1), base_of(1))
    effects = story.tell(on.UpdateRead(story.now_s, "c", digest_of(message), message, True, START))
    assert receipts(effects) == [("c", "refused", Reason.STALE_ROUND)]


def test_it_is_a_schedule_with_the_same_machine() -> None:
    schedule = SCHEDULES.make("buffered")
    state = running().state
    event: Event = on.Tick(1_001.0)
    assert schedule.step(state, event) == SCHEDULES.make("rounds").step(state, event)
