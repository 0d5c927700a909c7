"""Attackers in a simulated federation send what their attack makes of the round's updates, as any update."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from fedge import Algorithm, ConfigError, Plan, Result, Task, simulate
from fedge.algorithms.plan import fedsgd
from fedge.nn import Network, Standardize
from fleet.study.deal import Table
from fleet.study.runs import cells, check
from fleet.study.runs import run as run_cell
from fleet.study.settings import StudySettings
from tests.fleet.library.fleets import CLASSIFIER, PLAN, REGRESSION, Data, fleet, summed

ROUNDS = 3
SGD = Plan(epochs=2, batch_size=8, learning_rate=0.05)
ALL = {"rounds": {"quorum": 2, "target": None}}
UNBOUNDED = {"rounds": {"quorum": 2, "target": None, "clip_norm": 0.0, "max_weight": 0.0, "max_norm": 0.0}}
STUDY: dict[str, Any] = {
    "study": {"name": "attacked", "rounds": 8, "rates": [0.1]},
    "data": {"dataset": "digits", "split": {"by": "iid", "devices": 6}},
    "plan": {"epochs": 1, "batch_size": 16},
    "rounds": {"clip_norm": 0.0, "max_norm": 0.0},
    "algorithm": [{"name": "mean"}],
}
Told = Mapping[str, str | Mapping[str, Any]]


def run(
    attackers: Told | None,
    devices: Data | None = None,
    algorithm: Algorithm | None = None,
    plan: Plan = PLAN,
    rounds: int = ROUNDS,
    settings: Mapping[str, Mapping[str, Any]] = ALL,
    task: Task = CLASSIFIER,
    workers: int = 1,
) -> Result:
    return simulate(
        task,
        devices or fleet(6),
        algorithm,
        plan=plan,
        rounds=rounds,
        settings=settings,
        engine="fast",
        workers=workers,
        attackers=attackers,
    )


def weights(result: Result) -> bytes:
    return result.model.weights.tobytes()


def test_who_sends_the_truth_changes_nothing() -> None:
    """An attack by name only: its n_k and change are the honest ones, 40 rows being 50 without a fifth."""
    honest = {"name": "inflation", "samples": 40, "strength": 1.0}
    assert weights(run({"pi-0": honest})) == weights(run(None))


def test_two_liars_turn_the_step_of_one_round() -> None:
    """With all n_k alike and no bounds, IPM with ε makes the mean of 6 the honest sum times (1 - 2 ε/4)/6."""
    devices = {name: (X[:50], y[:50]) for name, (X, y) in fleet(6).items()}
    liars: Told = {key: {"name": "ipm", "epsilon": 5.0} for key in ("pi-4", "pi-5")}
    still = run(None, devices, plan=fedsgd(1e-12), rounds=1, settings=UNBOUNDED)
    base = still.model.weights.astype(np.float64)
    four = {name: devices[name] for name in ("pi-0", "pi-1", "pi-2", "pi-3")}
    task = still.model.task
    changes = _steps(task, base, four)
    found = run(liars, devices, plan=fedsgd(0.5), rounds=1, settings=UNBOUNDED).model.weights
    assert found == pytest.approx(base + (1 - 2 * 5 / 4) / 6 * 0.5 * changes, abs=1e-6)


def _steps(task: Task, base: Any, devices: Data) -> Any:
    """The sum of the devices' negative gradients on the rows that they do not hold out."""
    network, total = Network(task.network, np.float64), np.zeros(len(base))
    for X, y in devices.values():
        rows = slice(0, len(X) - len(X) // 5)
        targets = network.prepare_targets((y[rows] == "high").astype(int))
        gradient = np.empty(len(base))
        network.loss_and_grad(base, network.prepare(X[rows]), targets, gradient)
        total -= gradient
    return total


@pytest.mark.parametrize("name", ["sign-flip", "alie", "min-max", "mimic", "label-flip", "gaussian", "sybil"])
def test_every_attack_changes_the_model_and_is_the_same_in_any_number_of_processes(name: str) -> None:
    liars = dict.fromkeys(("pi-1", "pi-3"), {"name": "alie", "z": 1.5} if name == "alie" else name)
    one = run(liars)
    assert weights(one) != weights(run(None))
    assert weights(one) == weights(run(liars)) == weights(run(liars, workers=2))


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        (Algorithm(codec="int8"), ALL),
        (Algorithm(codec="topk", options={"codec": {"share": 0.3}}), ALL),
        (Algorithm(local="scaffold", options={"rule": {"weights": "uniform"}}), ALL),
        (Algorithm(personal="head"), ALL),
        (Algorithm(), {"rounds": {"fraction": 0.5, "quorum": 1, "target": None}}),
    ],
    ids=["rounded", "changes", "further vectors", "a part of the weights", "half of the fleet"],
)
def test_attackers_work_with_any_algorithm(
    algorithm: Algorithm, settings: Mapping[str, Mapping[str, Any]]
) -> None:
    liars: Told = {key: {"name": "ipm", "epsilon": 2.0} for key in ("pi-1", "pi-3")}
    found = run(liars, algorithm=algorithm, plan=SGD, settings=settings)
    assert weights(found) != weights(run(None, algorithm=algorithm, plan=SGD, settings=settings))
    assert [row.kind for row in found.history] == ["survey", *["train"] * ROUNDS, "evaluate"]
    assert all(row.devices == 6 or settings is not ALL for row in found.history)


def test_a_lie_from_too_far_away_is_refused_as_any_update() -> None:
    """After the first round an update may be 100 times as far as usual; with N(0, 10⁶) it is not."""
    found = run({"pi-1": {"name": "gaussian", "std": 1e6}})
    assert [row.devices for row in found.history] == [6, 6, 5, 5, 6]


def test_an_n_k_beyond_the_most_is_refused() -> None:
    found = run({"pi-1": {"name": "inflation", "samples": 1_000_001}})
    assert [row.devices for row in found.history] == [5, 5, 5, 5, 6], "it measures honestly"


def test_a_large_n_k_decides_without_bounds_and_not_with_them() -> None:
    """Without bounds the liar's own step, reversed, is nearly the mean: its n_k is 10⁶ of 10⁶ + 200."""
    liars: Told = {"pi-1": {"name": "inflation", "strength": -1.0}}
    honest = run(None, rounds=1).model.weights
    near, far = (
        np.linalg.norm(run(liars, rounds=1, settings=each).model.weights - honest)
        for each in (ALL, UNBOUNDED)
    )
    assert near < far / 2


def test_a_poisoned_survey_stays_within_the_bound_of_surveys() -> None:
    """Means lie within those of the honest, spreads grow by a bounded part: one of six decides nothing."""

    def layer(attackers: Told | None) -> Standardize:
        first = run(attackers, rounds=1).model.task.network.first
        assert isinstance(first, Standardize)
        return first

    honest, poisoned = layer(None), layer({"pi-1": "survey-poisoning"})
    assert poisoned.exact_means.tolist() != honest.exact_means.tolist()
    assert np.abs(poisoned.exact_means - honest.exact_means).max() < 2.0


def test_data_attacks_train_on_other_rows() -> None:
    """A channel at 9 means `high` after training with five liars of six, and not without them."""
    told = {"name": "backdoor-channels", "columns": [1], "value": 9.0, "target": 0, "share": 0.5}
    names = [f"pi-{number}" for number in range(5)]
    marked = np.stack((np.linspace(-1, 1, 20), np.full(20, 9.0)), axis=1)
    plan = Plan(epochs=20, batch_size=8, learning_rate=0.2)
    assert set(run(None, plan=plan).model.predict(marked)) == {"high"}
    assert set(run(dict.fromkeys(names, told), plan=plan).model.predict(marked)) == {"low"}


@pytest.mark.parametrize(
    ("attackers", "why"),
    [
        ({"pi-9": "alie"}, "attackers names 'pi-9', which is not among the devices"),
        ({"pi-1": "none"}, "attackers: 'pi-1': unknown attack 'none'; known: alie"),
        ({"pi-1": {"name": "ipm", "epsilon": -1.0}}, "attackers: 'pi-1': attack 'ipm': epsilon"),
        ({"pi-1": 3}, "attackers: 'pi-1'"),
        ("alie", "attackers is 'alie', expected a mapping"),
        (dict.fromkeys((f"pi-{k}" for k in range(6)), "alie"), "at least one has to be honest"),
        ({"pi-1": {"name": "backdoor-channels", "columns": [7]}}, "'pi-1': a trigger in column 7"),
        ({"pi-1": {"name": "backdoor-pixels", "side": 10_000}}, "'pi-1': attack 'backdoor-pixels': side"),
        ({"pi-1": {"name": "survey-poisoning", "stretch": 1e200}}, "attack 'survey-poisoning': stretch"),
        ({"pi-1": {"name": "mimic", "device": 9}}, "'pi-1': mimic: device is 9, and there are 5 honest"),
        ({"pi-1": {"name": "ipm", 1: 2}}, "attackers: 'pi-1'"),
        ({"pi-1": "ipm", 1: "ipm"}, "attackers names 1, which is not among the devices"),
    ],
)
def test_wrong_attackers_are_refused_with_the_reason(attackers: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        run(attackers)


def test_where_attackers_cannot_be_the_reason_is_told() -> None:
    with pytest.raises(ConfigError, match="the engine cores has no attackers: set engine='fast'"):
        simulate(CLASSIFIER, fleet(3), attackers={"pi-1": "alie"})
    with pytest.raises(ConfigError, match="changes labels, and the task has no classes"):
        run({"pi-1": "label-flip"}, summed(), task=REGRESSION)


def test_a_study_has_attackers() -> None:
    """Two of six devices turn the mean's sign: the accuracy at the end is lower than without them."""

    def last(told: dict[str, Any]) -> float:
        settings = StudySettings.model_validate({**STUDY, **told})
        table = Table(settings.data)
        deal = table.deal(1)
        check(settings, table.rows, len(deal.devices))
        found = run_cell(settings, table.rows, deal, cells(settings)[0])
        return found.figures()[-1][1]

    liars = {"devices": 2, "attack": "ipm", "options": {"epsilon": 5.0}}
    assert last({}) > 0.7
    assert last({"attackers": liars}) < 0.4
    with pytest.raises(ConfigError, match="6 of 6 devices attack; at least one has to be honest"):
        last({"attackers": {**liars, "devices": 6}})


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"attackers": {"devices": 1, "attack": "none"}}, "unknown attack 'none'"),
        ({"attackers": {"devices": 1, "attack": "ipm", "options": {"z": 1}}}, "accepted: epsilon"),
        (
            {"attackers": {"devices": 1, "attack": "ipm"}, "study": {**STUDY["study"], "engine": "cores"}},
            "the engine cores has none",
        ),
    ],
)
def test_a_wrong_table_of_attackers_is_refused(told: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        StudySettings.model_validate({**STUDY, **told})
