"""A new generation, from the beginning or with the model of the one before."""

import numpy as np
import pytest

from aggregator.aggregation.models import blob_of, weights_of
from aggregator.aggregation.replay import replay
from aggregator.aggregation.rollback import Rollback
from aggregator.core.federation import Stage
from aggregator.ledger.layout import FILE
from aggregator.ledger.views import read_rounds
from fedge.errors import ConfigError
from fedge.wire.freshness import RoundId
from fedge.wire.models import model_message
from tests.aggregator.startup.places import Place, Seen, fleet, model_of
from tests.wording import telling


def test_a_new_generation_with_the_same_model_begins_anew_and_again(place: Place, seen: Seen) -> None:
    place.close_round(place.open())
    place.close_round(place.open())
    for generation in (2, 3, 4):
        state = place.open(new_generation=True)
        assert (state.round, state.model, state.cohorts) == ((generation, 0), None, ())
        assert (state.answers, state.progress.rounds) == ({}, 0)
        assert place.open().task == state.task
        place.close_round(state)
        assert place.open().model == model_of(state, RoundId(generation, 0))


def test_a_new_generations_task_is_not_written_over_the_one_that_is_announced(
    place: Place, seen: Seen
) -> None:
    place.open()
    place.open(new_generation=True)
    for _ in range(3):
        place.close_round(place.open())
        announced = place.open().task
        assert place.open(new_generation=True).task.slot != announced.slot


def test_a_new_generation_is_after_all_that_anybody_has_seen(place: Place, seen: Seen) -> None:
    place.open()
    seen(fleet(3, generation=2))
    assert place.open(new_generation=True).round == (3, 0)
    seen(fleet(3, 4, generation=7))
    assert place.open(new_generation=True).round == (8, 0)


# ── the next generation, with the model of this one ────────────────────────────────────────────────


def learn_by_hand(place: Place) -> np.ndarray:
    """Close the survey and one round with a model of real weights; returns them."""
    place.close_round(place.open())
    state = place.open()
    place.close_round(state)
    vector = np.arange(state.weights, dtype=np.float32)
    data = model_message(state.round, vector)
    blob = blob_of(data, slot=1)
    with place.ledger.transaction():
        place.ledger.save_content("model", state.round, blob, data)
        place.ledger.close_round(state.round, blob.digest, 2, 20, {"weight_change": 0.5}, 0.0, "mean/1")
    return vector


def test_a_generation_may_go_on_with_the_model_of_the_one_before(place: Place, seen: Seen) -> None:
    vector = learn_by_hand(place)
    before = place.open()
    seen(fleet(9, 9))  # a backup: the fleet has learnt on
    state = place.open(new_generation=True, back=Rollback())
    assert (state.round, state.kind, state.stage) == ((2, 1), "train", Stage.PREPARING)
    assert (state.task, state.task_message) == (before.task, before.task_message)
    assert state.model is not None
    assert state.model.slot == 0  # the other slot: the old model stays readable until all have the new one
    assert weights_of(place.ledger, state.model, state.weights).tolist() == vector.tolist()
    assert (state.answers, state.progress.rounds) == ({}, 0)
    seen(fleet(1, generation=2))
    assert place.open().model == state.model  # and so after a restart
    assert [(row.kind, row.attempt, row.devices) for row in read_rounds(place.folder / FILE)] == [
        ("kept", 0, 0)
    ]
    assert place.ledger.rule(RoundId(2, 0)) == "kept/1"
    assert replay(place.folder / FILE, 0, seed=0).same


def test_there_must_be_a_model_to_go_on_with(place: Place, seen: Seen) -> None:
    with pytest.raises(ConfigError, match=telling("ledger is new")):
        place.open(new_generation=True, back=Rollback())
    place.open()
    with pytest.raises(ConfigError, match=telling("no model")):
        place.open(new_generation=True, back=Rollback())
    learn_by_hand(place)
    place.values["features"] = 3
    with pytest.raises(ConfigError, match=telling("[model] features ")):
        place.open(new_generation=True, back=Rollback())
    life = place.ledger.meta()
    assert life is not None
    assert life.generation == 1
