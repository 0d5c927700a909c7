"""A device where there are several shared models: it takes one, trains it, sends its number, and uses it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.core.events import Done, Failed
from agent.core.state import PERSONAL, PersonalState
from agent.trainers import states
from agent.trainers.assignment import Assignment
from agent.trainers.personal_states import weights_in_use
from fedge.algorithms.codecs import float32
from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import Entry, registered
from fedge.wire.messages.message import unpack
from fedge.wire.messages.update import Update
from tests.agent.test_contribution import Array, Change, asked
from tests.agent.test_trainer_limits import trainer

TWO = Plan(personal="clusters", personal_options={"models": 2})
DRAWN = np.random.default_rng(3).normal(size=6).astype(np.float32)
BAD = np.array([0, 0, 0, 0, 9, -9], np.float32)
"""Says class 0 with certainty, whatever the row; half of the rows are of class 1."""


@pytest.fixture(autouse=True)
def parts() -> Iterator[None]:
    with registered(Entry("codec", "change", Change)):
        yield


def announced(first: Array, second: Array, plan: Plan = TWO) -> Assignment:
    return replace(asked(plan, cluster_1=second), weights=first)


def done(folder: Path, assignment: Assignment, tables: str = "") -> tuple[Update, PersonalState]:
    made = trainer(folder, tables).work(assignment)
    assert isinstance(made, Done), made
    assert made.personal is not None
    return unpack(made.payload, Update), made.personal


def test_it_trains_the_model_that_fits_wherever_it_is(tmp_path: Path) -> None:
    first, _ = done(tmp_path, announced(DRAWN, BAD))
    second, _ = done(tmp_path, announced(BAD, DRAWN))
    assert (first.cluster, second.cluster) == (None, 1), "0 is not sent"
    assert first.body == second.body
    assert first.metrics["held_loss_before"] == second.metrics["held_loss_before"]


def test_it_chooses_by_rows_that_it_neither_trains_on_nor_reports(tmp_path: Path) -> None:
    update, _ = done(tmp_path, announced(DRAWN, BAD))
    held = int(update.metrics["held_out"])
    assert held == 8, "of 40 rows"
    assert update.samples == 26, "of the other 32, a fifth is to choose by"


def test_a_change_is_one_of_the_model_that_it_trained(tmp_path: Path) -> None:
    whole, _ = done(tmp_path, announced(BAD, DRAWN))
    change, _ = done(tmp_path, announced(BAD, DRAWN, TWO.model_copy(update={"codec": "change"})))
    sum_of_both = float32.decode(change.body, 6).astype(np.float64) + DRAWN
    assert np.allclose(sum_of_both, float32.decode(whole.body, 6), atol=1e-6)


def test_it_uses_the_announced_model_of_its_cluster(tmp_path: Path) -> None:
    update, own = done(tmp_path, announced(BAD, DRAWN))
    weights = weights_in_use(own)
    assert weights is not None
    assert (own.name, own.chose, weights.tobytes()) == ("clusters", PERSONAL, DRAWN.tobytes())
    assert states.unpack(own.data)["part/cluster"] == 1
    assert update.metrics["held_loss_personal"] == update.metrics["held_loss_before"]


def test_it_does_so_too_when_its_time_is_used_up(tmp_path: Path) -> None:
    """Model 0 is not the model to fall back to, as the shared one is elsewhere: it fits other devices."""
    plan = TWO.model_copy(update={"local": "prox", "epochs": 1_000, "batch_size": 1})
    update, own = done(tmp_path, announced(BAD, DRAWN, plan), "[limits]\nseconds = 0.001")
    assert update.metrics["partial"] == 1
    weights = weights_in_use(own)
    assert weights is not None
    assert (own.chose, weights.tobytes()) == (PERSONAL, DRAWN.tobytes())


def test_a_round_that_only_measures_chooses_too(tmp_path: Path) -> None:
    assignment = announced(BAD, DRAWN)
    manifest = assignment.manifest.model_copy(update={"kind": "evaluate"})
    measured, own = done(tmp_path, replace(assignment, manifest=manifest))
    trained, _ = done(tmp_path, assignment)
    assert (measured.kind, own.chose) == ("figures", PERSONAL)
    for figure in ("held_loss_before", "held_loss_personal"):
        assert measured.metrics[figure] == trained.metrics["held_loss_before"]


def test_without_one_of_the_models_it_declines(tmp_path: Path) -> None:
    assert isinstance(trainer(tmp_path).work(replace(asked(TWO), weights=DRAWN)), Failed)


def test_what_a_codec_keeps_of_one_model_is_not_sent_for_another(tmp_path: Path) -> None:
    plan = TWO.model_copy(update={"codec": "topk", "codec_options": {"share": 0.2}})
    kept = trainer(tmp_path).work(announced(DRAWN, BAD, plan))
    assert isinstance(kept, Done)
    assert kept.pending is not None
    for models, the_same in (((DRAWN, BAD), False), ((BAD, DRAWN), True)):
        fresh, _ = done(tmp_path, announced(*models, plan))
        after, _ = done(tmp_path, replace(announced(*models, plan), state=kept.pending))
        assert (after.body == fresh.body) == the_same
