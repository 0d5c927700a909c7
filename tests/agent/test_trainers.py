"""What a trainer promises, and what the worker makes of one that is not the built-in one."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from agent.core.events import Done, Failed
from agent.sources import open_sources
from agent.trainers.assignment import Assignment
from agent.trainers.built_in import BuiltIn
from agent.trainers.vectors import halves_lacking
from agent.trainers.worker import Worker
from fedge.algorithms.codecs import float32
from fedge.algorithms.local.descent import train
from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import LOCAL, Entry, Need
from fedge.algorithms.trainer import Cancelled, Diverged, Job, Trained, Trainer
from fedge.data.disclosure import public, withheld
from fedge.nn import Network
from fedge.wire.messages.message import unpack
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason
from tests.agent import test_trainer_limits
from tests.agent.test_trainer_limits import job as assignment
from tests.agent.test_trainer_limits import task
from tests.wording import assert_tells

PLAN = Plan(epochs=2, batch_size=8, learning_rate=0.1)
ROWS, HELD = 32, 8
"""Of 40 rows the last fifth is held out."""


@dataclass
class Halfway:
    """A trainer of somebody's own: it halves the weights and adds noise, as often as the plan has steps."""

    jobs: list[Job] = field(default_factory=list)
    algorithms: tuple[str, ...] = ()

    def work(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        self.jobs.append(job)
        vector, steps = job.weights.copy(), job.plan.steps(len(job.X))
        before = job.network.loss(vector, job.X, job.y)
        for _ in range(steps):
            if cancelled():
                raise Cancelled
            vector = (vector / 2 + job.rng.normal(size=vector.shape)).astype(np.float32)
        return Trained({"weights": vector}, steps, before, job.network.loss(vector, job.X, job.y))


@dataclass
class Returning:
    """It returns this, or raises it."""

    outcome: Trained | Exception

    def work(self, _job: Job, _cancelled: Callable[[], bool]) -> Trained:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def some_job(seed: int = 7) -> Job:
    network, rng = Network(task().network), np.random.default_rng(1)
    X, y = network.prepare(rng.normal(size=(ROWS, 2))), network.prepare_targets(np.arange(ROWS) % 2)
    weights = np.full(network.schema.size, 0.5, np.float32)
    return Job(network, {"weights": weights}, X, y, PLAN, np.random.default_rng(seed))


def worker(folder: Path, trainer: Trainer | None, tables: str = "") -> Worker:
    made = test_trainer_limits.trainer(folder, tables)  # which lays out the folder too
    settings = made._contributor._settings
    return Worker(settings, open_sources(settings), lambda _: None, trainer=trainer)


def to_train(weights: float = 0.5) -> Assignment:
    asked = assignment(task(), PLAN)
    assert asked.weights is not None
    return replace(asked, weights=np.full_like(asked.weights, weights), traffic={"sent_bytes": 3.0})


@pytest.mark.parametrize("trainer", [BuiltIn(), Halfway()], ids=["built-in", "own"])
def test_a_trainer_keeps_the_protocol(trainer: Trainer) -> None:
    job = some_job()
    before = [array.copy() for array in (job.weights, job.X, job.y)]
    asked: list[None] = []
    trained = trainer.work(job, lambda: bool(asked.append(None)))
    for array, kept in zip((job.weights, job.X, job.y), before, strict=True):
        np.testing.assert_array_equal(array, kept, "what it is given it does not change")
    assert trained.vector.shape == job.weights.shape
    assert np.isfinite(trained.vector).all()
    assert not np.array_equal(trained.vector, job.weights)
    assert trained.steps == PLAN.steps(ROWS) == 2 * 4
    assert len(asked) >= trained.steps, "before each step"
    again = trainer.work(some_job(), lambda: False)
    np.testing.assert_array_equal(again.vector, trained.vector, "all that is random comes from `rng`")
    with pytest.raises(Cancelled):
        trainer.work(some_job(), lambda: True)


def test_the_built_in_one_is_sgd() -> None:
    job, same = some_job(), some_job()
    trained = BuiltIn().work(job, lambda: False)
    expected = train(same.network, same.weights, same.X, same.y, same.plan, same.rng)
    np.testing.assert_array_equal(trained.vector, expected.vector)
    assert (trained.steps, trained.loss_before) == (expected.steps, expected.loss_before)


def test_what_ones_own_trainer_learns_is_sent_with_the_devices_figures(tmp_path: Path) -> None:
    own = Halfway()
    asked = to_train()
    done = worker(tmp_path, own).work(asked)
    assert isinstance(done, Done)
    update = unpack(done.payload, Update)
    (job,) = own.jobs
    assert asked.weights is not None
    np.testing.assert_array_equal(job.weights, asked.weights)
    assert (job.X.shape, len(job.y), job.plan) == ((ROWS, 2), ROWS, PLAN)
    vector = float32.decode(update.body, len(asked.weights))
    assert (update.samples, update.steps) == (ROWS, PLAN.steps(ROWS))
    assert update.metrics["held_out"] == HELD
    assert update.metrics["sent_bytes"] == 3.0
    assert update.metrics["loss_after"] == job.network.loss(vector, job.X, job.y)
    assert {"accuracy_before", "accuracy_after", "seconds"} <= set(update.metrics)


def test_a_survey_and_a_measurement_train_nothing(tmp_path: Path) -> None:
    own = Halfway()
    at_work = worker(tmp_path, own)
    survey = assignment(task(), None)
    asked = to_train()
    evaluate = replace(asked, manifest=asked.manifest.model_copy(update={"kind": "evaluate", "plan": None}))
    assert isinstance(at_work.work(survey), Done)
    assert isinstance(at_work.work(evaluate), Done)
    assert own.jobs == []


def test_figures_are_of_the_model_that_training_ended_with(tmp_path: Path) -> None:
    """What is sent is another vector: all zeros, with which each class has the loss ln 2."""
    model = np.array([1, -1, 0.5, -0.5, 0.25, 0], np.float32)
    zeros = {"weights": np.zeros(6, np.float32)}
    told = []
    for trained in (Trained(zeros, 1, 1.0, 0.5, model=model), Trained({"weights": model}, 1, 1.0, 0.5)):
        done = worker(tmp_path, Returning(trained)).work(to_train())
        assert isinstance(done, Done)
        update = unpack(done.payload, Update)
        told.append({n: v for n, v in update.metrics.items() if n != "seconds"})
        assert float32.decode(update.body, 6).any() == (trained.model is None)
    assert told[0] == told[1]
    assert told[0]["held_loss_after"] != pytest.approx(np.log(2), abs=0.01)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (np.zeros(5, np.float32), ("model", "(5,)", "(6,)")),
        (np.full(6, np.inf, np.float32), ("model", "not finite")),
    ],
    ids=["shape", "not finite"],
)
def test_what_is_no_model_declines_the_round(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, model: np.ndarray, why: tuple[str, ...]
) -> None:
    trained = Trained({"weights": np.zeros(6, np.float32)}, 1, 1.0, 1.0, model=model)
    failed = worker(tmp_path, Returning(trained)).work(to_train())
    assert isinstance(failed, Failed)
    assert failed.reason == Reason.FAILED
    assert_tells(caplog.text, *why)


@dataclass
class Slow:
    """It asks as often as the plan has steps, and never whether it is enough."""

    def work(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        assert not job.enough()
        for _ in range(job.plan.steps(len(job.X))):
            assert not cancelled()
        return Trained({"weights": job.weights}, 1, 1.0, 1.0)


def test_a_trainer_of_the_owners_has_the_limit_as_an_error_whatever_the_plan_names(tmp_path: Path) -> None:
    plan = Plan(epochs=1_000, batch_size=1, local="prox")
    failed = worker(tmp_path, Slow(), "[limits]\nseconds = 1e-6").work(assignment(task(), plan))
    assert isinstance(failed, Failed)
    assert failed.reason == Reason.TOO_LONG


class Plain:
    """A part from outside with what is needed, and no more: it does not derive from the protocol's class."""

    receives = sends = ()

    def init(self, size: int) -> dict[str, np.ndarray]:
        return {}

    def run(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        return Slow().work(job, cancelled)


@pytest.mark.parametrize("name", ["nova", "dyn", "scaffold"])
def test_a_trainer_of_the_owners_that_does_not_name_an_algorithm_with_a_half_on_the_server_declines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Rule `nova` would multiply the whole change by the steps, and server `dyn` correct by a state that no
    device has."""
    own, asked = Halfway(), assignment(task(), Plan(epochs=1, local=name))
    assert asked.weights is not None
    asked = replace(asked, more={"control": np.zeros_like(asked.weights)})
    failed = worker(tmp_path, own).work(asked)
    assert isinstance(failed, Failed)
    assert failed.reason == Reason.FAILED
    assert_tells(caplog.text, name, "[trainer] use", "algorithms")
    assert own.jobs == [], "before it trains"


def test_the_algorithms_that_a_trainer_does_not_do() -> None:
    """Those that need a rule or a server optimizer of their own; `sgd` and `prox` need none."""
    assert halves_lacking(Halfway()) == {"local:nova", "local:scaffold", "local:dyn"}
    assert halves_lacking(Halfway(algorithms=("nova",))) == {"local:scaffold", "local:dyn"}
    assert halves_lacking(BuiltIn()) == frozenset()


@pytest.mark.parametrize(("kind", "half"), [("server", True), ("rule", True), ("codec", False)])
def test_a_half_on_the_server_is_a_rule_or_a_server_optimizer(tmp_path: Path, kind: str, half: bool) -> None:
    LOCAL.add(Entry("local", "halved", Plain, needs=(Need(kind, ("some",)),)))
    try:
        outcome = worker(tmp_path, Halfway()).work(assignment(task(), Plan(epochs=1, local="halved")))
    finally:
        LOCAL.remove("halved")
    assert isinstance(outcome, Failed if half else Done)


def test_a_trainer_of_the_owners_that_names_the_algorithm_takes_part(tmp_path: Path) -> None:
    own = Halfway(algorithms=("nova",))
    assert isinstance(worker(tmp_path, own).work(assignment(task(), Plan(epochs=1, local="nova"))), Done)
    assert len(own.jobs) == 1


@pytest.mark.parametrize("name", ["sgd", "prox"])
def test_a_trainer_of_the_owners_may_stand_for_an_algorithm_that_is_whole(tmp_path: Path, name: str) -> None:
    assert isinstance(worker(tmp_path, Halfway()).work(assignment(task(), Plan(epochs=1, local=name))), Done)


def test_a_part_from_outside_without_partial_has_the_limit_as_an_error(tmp_path: Path) -> None:
    LOCAL.add(Entry("local", "plain", Plain))
    try:
        plan = Plan(epochs=1_000, batch_size=1, local="plain")
        failed = worker(tmp_path, None, "[limits]\nseconds = 1e-6").work(assignment(task(), plan))
    finally:
        LOCAL.remove("plain")
    assert isinstance(failed, Failed)
    assert failed.reason == Reason.TOO_LONG


@pytest.mark.parametrize(
    ("vector", "why"),
    [
        (np.zeros(5, np.float32), ("(5,)", "(6,)")),
        (np.full(6, np.nan, np.float32), ("not finite",)),
    ],
    ids=["shape", "not finite"],
)
def test_what_are_no_weights_declines_the_round(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, vector: np.ndarray, why: tuple[str, ...]
) -> None:
    failed = worker(tmp_path, Returning(Trained({"weights": vector}, 1, 1.0, 1.0))).work(to_train())
    assert isinstance(failed, Failed)
    assert (failed.reason, failed.told) == (Reason.FAILED, withheld(Reason.FAILED))
    assert_tells(caplog.text, "trainer", *why)


@pytest.mark.parametrize(
    ("error", "reason", "told"),
    [
        (Diverged(public("it grew"), public("stop it")), Reason.TRAINING_DIVERGED, "it grew: stop it"),
        (RuntimeError("names of patients"), Reason.FAILED, None),
    ],
    ids=["diverged", "unforeseen"],
)
def test_what_a_trainer_raises_declines_the_round(
    tmp_path: Path, error: Exception, reason: Reason, told: str | None
) -> None:
    failed = worker(tmp_path, Returning(error)).work(to_train())
    assert isinstance(failed, Failed)
    assert (failed.reason, failed.told) == (reason, told or withheld(reason))
    assert "patients" not in failed.detail


def test_the_owners_limit_of_seconds_holds_for_every_trainer(tmp_path: Path) -> None:
    own = Halfway()
    failed = worker(tmp_path, own, "[limits]\nseconds = 1e-9\n").work(to_train())
    assert isinstance(failed, Failed)
    assert failed.reason is Reason.TOO_LONG
    assert len(own.jobs) == 1


def test_a_cancelled_assignment_has_no_outcome(tmp_path: Path) -> None:
    asked = to_train()
    asked.cancelled.set()
    assert worker(tmp_path, Halfway()).work(asked) is None


def test_the_question_is_a_sign_of_life(tmp_path: Path) -> None:
    promised: list[float] = []

    class Watched(Halfway):
        def work(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
            at_work.pulse.rest()
            assert at_work.pulse.overdue_s() == 0.0
            cancelled()
            promised.append(at_work.pulse._due_s)
            return super().work(job, cancelled)

    at_work = worker(tmp_path, Watched())
    assert isinstance(at_work.work(to_train()), Done)
    assert np.isfinite(promised).all()
