"""The worker keeps to its owner's limits, and does what a round asks: to survey, to train or to measure."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.config import AgentSettings
from agent.core.events import Done, Failed
from agent.data.dataset import fit
from agent.settings.sources import NpzSettings
from agent.sources import open_source, open_sources
from agent.trainers.assignment import Assignment
from agent.trainers.worker import Worker
from aggregator.aggregation.survey import Measured, check
from fedge.algorithms.plan import Plan
from fedge.data.moments import Moments
from fedge.nn.spec import Dense, NetworkSpec
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.message import unpack
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason
from tests.wording import assert_tells, lines_telling

BLOB = Blob(digest=bytes(32), slot=0, frames=1, size=100)


def task(source: str | None = None) -> Task:
    network = NetworkSpec(inputs=2, layers=(Dense(units=2),), loss="cross-entropy")
    return Task(network=network, features=("u", "v"), classes=("0", "1"), source=source)


def job(of: Task, plan: Plan | None) -> Assignment:
    manifest = Manifest(
        generation=1,
        round=0 if plan is None else 1,
        kind="survey" if plan is None else "train",
        state="open",
        seed=1,
        task=BLOB,
        model=None if plan is None else BLOB,
        plan=plan,
        cohort=Cohort(fraction=1.0, seed=1),
        seconds_left=60.0,
    )
    weights = None if plan is None else np.zeros(of.network.schema.size, np.float32)
    return Assignment(manifest, of, weights, {})


def trainer(folder: Path, tables: str = "") -> Worker:
    rng = np.random.default_rng(0)
    for name, rows in (("data", 40), ("heart", 60)):
        np.savez(folder / f"{name}.npz", X=rng.normal(size=(rows, 2)), y=np.arange(rows) % 2)
    (folder / "agent.toml").write_text(
        'federation = "lab"\ndevice = "pi-1"\n[data]\nsource = "npz"\npath = "data.npz"\n'
        f'[sources.heart]\nsource = "npz"\npath = "heart.npz"\nholdout = 0.5\n{tables}'
    )
    settings = AgentSettings.load(folder / "agent.toml", {})
    return Worker(settings, open_sources(settings), lambda _: None)


@pytest.mark.parametrize(
    ("source", "samples"),
    [(None, 32), ("data", 32), ("heart", 30)],
    ids=["default", "by its name", "another"],
)
def test_the_source_that_the_task_names_is_read_with_its_own_settings(
    tmp_path: Path, source: str | None, samples: int
) -> None:
    done = trainer(tmp_path).work(job(task(source), None))
    assert isinstance(done, Done)
    assert unpack(done.payload, Survey).samples == samples


def test_a_plan_within_the_seconds_is_trained_to_its_end(tmp_path: Path) -> None:
    done = trainer(tmp_path, "[limits]\nseconds = 3600").work(job(task(), Plan(epochs=3, batch_size=10)))
    assert isinstance(done, Done)
    assert unpack(done.payload, Update).steps == 12


def test_a_plan_that_takes_longer_is_declined_with_both_figures(tmp_path: Path) -> None:
    plan = Plan(epochs=1_000, batch_size=1)
    failed = trainer(tmp_path, "[limits]\nseconds = 0.001").work(job(task(), plan))
    assert isinstance(failed, Failed)
    assert failed.reason == Reason.TOO_LONG
    assert {"32000", "0.001"} <= set(failed.detail.split())


@pytest.mark.parametrize("local", ["prox", "nova"])
def test_the_steps_done_by_the_limit_are_sent_where_they_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, local: str
) -> None:
    """1,000 epochs of 32 rows in batches of one are 32,000 steps, far more than a millisecond allows."""
    plan = Plan(epochs=1_000, batch_size=1, local=local)
    with caplog.at_level("INFO"):
        done = trainer(tmp_path, "[limits]\nseconds = 0.001").work(job(task(), plan))
    assert isinstance(done, Done)
    update = unpack(done.payload, Update)
    assert 1 <= update.steps < 32_000
    assert update.metrics["partial"] == 1.0
    (line,) = lines_telling(caplog.text, "round 1.1", f" {update.steps} of 32000 steps", "[limits] seconds")
    assert line.endswith("0.001")


def test_all_steps_within_the_limit_are_not_partial_work(tmp_path: Path) -> None:
    plan = Plan(epochs=3, batch_size=10, local="prox")
    done = trainer(tmp_path, "[limits]\nseconds = 3600").work(job(task(), plan))
    assert isinstance(done, Done)
    update = unpack(done.payload, Update)
    assert (update.steps, "partial" in update.metrics) == (12, False)


@pytest.mark.parametrize("local", [None, "dyn"])
def test_where_fewer_steps_do_not_count_the_device_declines(tmp_path: Path, local: str | None) -> None:
    plan = Plan(epochs=1_000, batch_size=1, local=local)
    failed = trainer(tmp_path, "[limits]\nseconds = 0.001").work(job(task(), plan))
    assert isinstance(failed, Failed)
    assert failed.reason == Reason.TOO_LONG


def test_steps_of_a_plan() -> None:
    assert Plan(epochs=3, batch_size=16).steps(40) == 9
    assert Plan(epochs=3, batch_size=0).steps(40) == 3
    assert Plan(epochs=2, batch_size=100).steps(40) == 2


# ── measuring ──────────────────────────────────────────────────────────────────────────────────────


def measuring(of: Task, weights: np.ndarray) -> Assignment:
    manifest = job(of, Plan()).manifest.model_copy(update={"kind": "evaluate", "plan": None, "round": 9})
    return Assignment(manifest, of, weights.astype(np.float32), {"sent_bytes": 7.0})


def measured(made: Worker, asked: Assignment) -> Update:
    done = made.work(asked)
    assert isinstance(done, Done), done
    return unpack(done.payload, Update)


def test_to_measure_is_to_tell_what_training_would_tell_of_the_same_model_and_no_vector(
    tmp_path: Path,
) -> None:
    of, made = task("heart"), trainer(tmp_path)
    weights = np.random.default_rng(3).normal(size=of.network.schema.size).astype(np.float32)
    told = measured(made, measuring(of, weights))
    trained = made.work(Assignment(job(of, Plan()).manifest, of, weights, {}))
    assert isinstance(trained, Done)
    before = unpack(trained.payload, Update)
    assert (told.kind, told.body, told.steps, told.samples) == ("figures", b"", 0, before.samples)
    assert told.base == BLOB.digest
    for name in ("held_out", "held_loss_before", "accuracy_before"):
        assert told.metrics[name] == before.metrics[name], name
    assert set(told.metrics) == {"held_out", "held_loss_before", "accuracy_before", "sent_bytes", "seconds"}


def test_who_holds_nothing_out_answers_without_figures(tmp_path: Path) -> None:
    made = trainer(tmp_path, '[sources.all]\nsource = "npz"\npath = "heart.npz"\nholdout = 0.0\n')
    told = measured(made, measuring(task("all"), np.zeros(6)))
    assert set(told.metrics) == {"sent_bytes", "seconds"}


def test_a_regression_tells_its_errors_in_the_targets_unit(tmp_path: Path) -> None:
    """Before and after training; the model answers 0 for each of the rows, so the errors are the targets."""
    y = np.arange(40, dtype=np.float64) * 10
    np.savez(tmp_path / "power.npz", X=np.zeros((40, 2)), y=y)
    made = trainer(tmp_path, '[sources.power]\nsource = "npz"\npath = "power.npz"\nholdout = 0.5\n')
    network = NetworkSpec(inputs=2, layers=(Dense(units=1),), loss="mse")
    of = Task(network=network, features=("u", "v"), targets=("watts",), source="power")
    told = measured(made, measuring(of, np.zeros(network.schema.size)))
    held = y[-int(told.metrics["held_out"]) :]
    assert told.metrics["rmse_before"] == pytest.approx(np.sqrt(np.mean(held**2)), rel=1e-6)
    assert told.metrics["mae_before"] == pytest.approx(np.mean(held), rel=1e-6)
    plan = Plan(epochs=1, learning_rate=1e-6)
    trained = made.work(Assignment(job(of, plan).manifest, of, np.zeros(3, np.float32), {}))
    assert isinstance(trained, Done)
    figures = unpack(trained.payload, Update).metrics
    assert figures["rmse_before"] == told.metrics["rmse_before"]
    assert 0 < figures["rmse_after"] < figures["rmse_before"]
    assert 0 < figures["mae_after"] < figures["mae_before"]


def capped(of: Task, plan: Plan | None, cap: int) -> Assignment:
    whole = job(of, plan)
    return replace(whole, manifest=whole.manifest.model_copy(update={"max_samples": cap}))


def test_of_more_rows_than_a_round_takes_the_newest_are_trained_on_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made, of = trainer(tmp_path), task()
    caplog.set_level("INFO", "fedge.agent")
    for _ in range(2):
        done = made.work(capped(of, Plan(epochs=2, batch_size=10), 30))
        assert isinstance(done, Done)
        update = unpack(done.payload, Update)
        assert (update.samples, update.steps, update.metrics["held_out"]) == (30, 6, 8)
    told = "source data: the federation takes at most 30 samples of a device: the newest 30 of 32 are used"
    assert [record.message for record in caplog.records].count(told) == 1
    settings = NpzSettings(source="npz", path=tmp_path / "data.npz")
    samples = open_source(settings).read()
    whole, some = fit(samples, of, settings), fit(samples, of, settings, 30)
    np.testing.assert_array_equal(some.X, whole.X[2:])
    np.testing.assert_array_equal(some.y, whole.y[2:])
    np.testing.assert_array_equal(some.held_X, whole.held_X)
    roomier = made.work(capped(of, Plan(), 31))
    assert isinstance(roomier, Done)
    assert unpack(roomier.payload, Update).samples == 31


def test_fewer_rows_than_the_owners_minimum_are_declined(tmp_path: Path) -> None:
    made = trainer(tmp_path, '[sources.all]\nsource = "npz"\npath = "heart.npz"\nminimum = 25\n')
    failed = made.work(capped(task("all"), Plan(), 24))
    assert isinstance(failed, Failed)
    assert failed.reason == Reason.TOO_FEW_SAMPLES
    assert_tells(failed.public, "24 samples", "25")


def test_a_survey_of_more_rows_tells_the_same_means_and_spreads_whatever_the_cap(tmp_path: Path) -> None:
    """So that who chooses the cap cannot have two sets of rows measured that differ in one."""
    made = trainer(tmp_path)
    told = {}
    for cap in (40, 31, 30):
        done = made.work(capped(task(), None, cap))
        assert isinstance(done, Done)
        survey = unpack(done.payload, Survey)
        assert survey.samples == min(cap, 32)
        told[cap] = Moments.from_bytes(survey.features, 2)
        assert isinstance(check(survey, task(), cap), Measured)
    for cap in (31, 30):
        assert told[cap].count.tolist() == [cap, cap]
        np.testing.assert_array_equal(told[cap].mean, told[40].mean)
        np.testing.assert_allclose(told[cap].m2 / cap, told[40].m2 / 32, rtol=1e-12)
