"""An aggregator that is started again goes on where it was."""

from collections.abc import Callable

from aggregator.core import effects as do
from aggregator.core.federation import Stage
from aggregator.core.presence import LeaderCheck
from aggregator.core.update_limits import max_distance
from aggregator.core.verdicts import Verdict
from fedge.wire.frames import cost
from fedge.wire.freshness import RoundId
from fedge.wire.messages.manifest import Cohort
from fedge.wire.messages.message import unpack
from fedge.wire.messages.task import Task
from tests.aggregator.startup.places import INSTANCE, SURVEYED_SPREAD_S, Place, Seen, fleet, model_of
from tests.aggregator.stories import (
    EVERYBODY,
    digest_of,
    frames,
    kinds,
    status,
    update,
)
from tests.aggregator.stories import Story as CoreStory

# ── a first start, and restarts ────────────────────────────────────────────────────────────────────


def test_a_new_federation_begins_with_the_survey(place: Place, seen: Seen) -> None:
    state = place.open()
    assert (state.round, state.kind, state.stage, state.model) == ((1, 0), "survey", Stage.PREPARING, None)
    assert state.task_message == place.settings().task()
    assert (state.task.slot, state.instance) == (0, INSTANCE)
    assert unpack(place.ledger.content(state.task.digest), Task) == state.task_message


def test_the_ledgers_id_outlives_restarts_and_generations(place: Place, seen: Seen) -> None:
    first = place.open()
    assert place.open().ledger == first.ledger
    assert place.open(new_generation=True).ledger == first.ledger


def test_a_restart_in_the_middle_of_a_round_goes_on_with_it(place: Place, seen: Seen) -> None:
    open_round = place.open().round
    cohorts = (Cohort(fraction=0.5, seed=3), EVERYBODY)
    pieces = frames(update("c"), 3)
    with place.ledger.transaction():
        place.ledger.save_round(open_round, "survey", 1, cohorts, 0.0)
        place.ledger.save_elapsed(open_round, 42.0)
        place.ledger.save_answer(open_round, "a", Verdict(b"a" * 32, "admitted", samples=5))
        place.ledger.save_answer(open_round, "b", Verdict(b"b" * 32, "refused"))
        place.ledger.spool("c", pieces[1])
    seen(fleet(0, 0))
    state = place.open()
    assert (state.round, state.cohorts, state.elapsed_s, state.attempt) == (open_round, cohorts, 42.0, 1)
    assert (set(state.answers), state.admitted) == ({"a", "b"}, 1)
    assert state.partials["c"].id == digest_of(update("c"))
    assert state.spooled == cost(pieces[1].size, 3)
    assert (state.online, state.fleet) == ({"pi-0", "pi-1"}, {"pi-0", "pi-1"})


def test_a_restart_between_rounds_begins_the_next_with_the_newest_task_and_model(
    place: Place, seen: Seen
) -> None:
    first = place.open()
    with place.ledger.transaction():
        place.ledger.save_answer(first.round, "a", Verdict(b"a" * 32, "admitted", samples=5))
    place.close_round(first)
    state = place.open()
    assert (state.round, state.kind, state.cohorts, state.answers) == ((1, 1), "train", (), {})
    assert (state.task_message.reconnect_spread_s, state.task.slot) == (SURVEYED_SPREAD_S, 1)
    assert state.model == model_of(state, RoundId(1, 0))


def test_a_restart_judges_by_what_was_usual_before(place: Place, seen: Callable[[LeaderCheck], None]) -> None:
    for _ in range(3):
        place.close_round(place.open())
    state = place.open()
    assert state.round == (1, 2)
    assert (state.usual.distance, max_distance(state)) == (2.0, 200.0), (
        "of the longer of two medians, 2 and 1"
    )
    assert state.base is not None
    assert state.base.tolist() == [2.0] * state.weights, "the weights of the model of round 2"
    place.close_round(place.open(new_generation=True))
    assert (max_distance(place.open()), place.open().round) == (None, (2, 1)), "a generation begins without"


def test_a_restart_after_the_end_is_done_and_goes_on_when_more_rounds_are_asked_for(
    place: Place, seen: Seen
) -> None:
    for _ in range(3):  # the survey and two rounds
        place.close_round(place.open())
    done = place.open()
    assert (done.stage, done.round, done.progress.rounds) == (Stage.DONE, (1, 2), 2)
    assert done.progress.figures["accuracy"] == 0.2
    assert do.Complete in kinds(CoreStory(done).start())

    place.values["rounds"] = 3
    resumed = place.open()
    assert (resumed.stage, resumed.round, resumed.progress.rounds) == (Stage.PREPARING, (1, 3), 2)
    assert resumed.model == model_of(resumed, RoundId(1, 2))


def test_an_open_round_is_closed_before_a_rule_that_was_changed_ends_learning(
    place: Place, seen: Seen
) -> None:
    """It was announced: the devices that have seen it do not believe that the round before is the last."""
    place.values["rounds"] = 9
    for _ in range(3):  # the survey and two rounds
        place.close_round(place.open())
    with place.ledger.transaction():
        place.ledger.save_round(RoundId(1, 3), "train", 0, (EVERYBODY,), 0.0)

    place.values["rounds"] = 2
    seen(fleet(3, 3))
    story = CoreStory(place.open())
    assert (story.stage(), story.state.round) == ("preparing", (1, 3))
    effects = story.announce()
    for device in ("pi-0", "pi-1"):
        effects += story.sees(device, status(seen=RoundId(1, 3)))
    assert not {do.Complete, do.Abort} & set(kinds(effects))
    for device in ("pi-0", "pi-1"):
        story.answers(device, body=bytes(4 * story.state.weights))
    assert story.stage() == "closing"
    assert do.Complete("3 rounds") in story.closed()
    assert (story.stage(), story.state.round) == ("done", (1, 3))
