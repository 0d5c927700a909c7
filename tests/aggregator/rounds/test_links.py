"""Rounds while the link comes and goes: what happens, then what the core does."""

from dataclasses import replace

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import rounds
from fedge.wire.freshness import RoundId
from tests.aggregator.stories import (
    DEADLINE_S,
    HELLO,
    OPEN,
    Story,
    blob,
    chosen_in,
    closing,
    federation,
    kinds,
    of,
    only_manifest,
    rules,
    running,
)


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
