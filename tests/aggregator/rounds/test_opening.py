"""How rounds are opened and announced: what happens, then what the core does."""

from aggregator.core import effects as do
from aggregator.core import events as on
from fedge.wire.freshness import RoundId
from fedge.wire.selection import chosen
from tests.aggregator.stories import (
    DEADLINE_S,
    HELLO,
    MODEL,
    OPEN,
    Story,
    federation,
    kinds,
    of,
    only_manifest,
    rules,
    running,
    saved_before_announced,
)

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
