"""`fedge.simulate`: what comes out is what the federation's settings give, and what cannot be is told."""

import logging
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedge
from agent.config import AgentSettings
from agent.data.dataset import fit
from agent.sources.caller_sources import GivenArrays
from aggregator.aggregation.replay import replay
from aggregator.ledger import views
from aggregator.ledger.layout import FILE as LEDGER
from aggregator.ledger.views import round_row as row_of
from examples.extend import proximal
from fedge import Algorithm, ConfigError, FedgeError, Plan, simulate
from fedge.algorithms.contribution import Contribution, order
from fedge.algorithms.local.descent import train
from fedge.algorithms.local.sgd import Sgd
from fedge.algorithms.local.shuffling import generator
from fedge.algorithms.registry import LOCAL, Entry
from fedge.algorithms.rules.mean import finish, partial
from fedge.nn import Network, first_weights
from tests.fleet.library.fleets import CLASSIFIER, PLAN, REGRESSION, Data, fleet, summed
from tests.wording import assert_tells

ROUNDS, SEED = 3, 11


def by_hand(task: fedge.Task, devices: Data, plan: Plan, seed: int) -> np.ndarray:
    """FedAvg as McMahan et al. write it, on a task with its survey; no bound bites in this fleet."""
    network, weights = Network(task.network), first_weights(task.network, seed, 1)
    parts = {}
    for name, data in devices.items():
        settings = AgentSettings.model_validate(
            {"federation": "f", "device": name, "data": {"source": "python", "callable": "a:b"}}
        )
        dataset = fit(GivenArrays(name, *data).read(), task, settings.data)
        parts[name] = network.prepare(dataset.X), network.prepare_targets(dataset.y)
    for number in range(1, ROUNDS + 1):
        updates = [
            Contribution(
                name,
                len(X),
                train(network, weights, X, y, plan, generator(seed, 1, number, name)).vector,
            )
            for name, (X, y) in sorted(parts.items(), key=lambda part: order(part[0]))
        ]
        weights, _ = finish(partial(updates))
    return weights


@pytest.mark.parametrize(("task", "devices"), [(CLASSIFIER, fleet()), (REGRESSION, summed())], ids=["c", "r"])
def test_the_model_is_to_the_bit_what_training_and_averaging_give(task: fedge.Task, devices: Data) -> None:
    result = simulate(task, devices, plan=PLAN, rounds=ROUNDS, seed=SEED)
    expected = by_hand(result.model.task, devices, PLAN, SEED)
    assert result.model.weights.tobytes() == expected.tobytes()
    assert (result.model.generation, result.model.round) == (1, ROUNDS)
    assert [row.kind for row in result.history] == ["survey", *["train"] * ROUNDS, "evaluate"]
    assert all(row.closed and row.devices == len(devices) for row in result.history)


def test_the_same_arguments_give_the_same_bits_and_another_seed_gives_others() -> None:
    first, again, other = (
        simulate(CLASSIFIER, fleet(), plan=PLAN, rounds=2, seed=seed) for seed in (1, 1, 2)
    )
    assert first.model.weights.tobytes() == again.model.weights.tobytes()
    assert first.history == again.history
    assert first.model.weights.tobytes() != other.model.weights.tobytes()


def test_it_learns() -> None:
    result = simulate(CLASSIFIER, fleet(), plan=PLAN, rounds=15)
    accuracy = [row.accuracy for row in result.history if row.accuracy is not None]
    assert accuracy[-1] > max(0.85, accuracy[0])
    X, y = fleet()["pi-1"]
    assert (result.model.predict(X) == y).mean() > 0.85


def test_a_folder_keeps_what_devices_and_the_aggregator_hold(tmp_path: Path) -> None:
    result = simulate(CLASSIFIER, fleet(), plan=PLAN, rounds=2, folder=tmp_path / "run")
    assert tuple(fedge.read_rounds(tmp_path / "run" / "state")) == result.history
    held = fedge.load_model(tmp_path / "run" / "devices" / "pi-0")
    assert held.weights.tobytes() == result.model.weights.tobytes()
    with pytest.raises(ConfigError):
        simulate(CLASSIFIER, fleet(), plan=PLAN, rounds=2, folder=tmp_path / "run")


@pytest.mark.parametrize("rounds", [2, 22], ids=["few", "more than an aggregator keeps"])
def test_every_round_that_a_folder_keeps_can_be_computed_again(rounds: int, tmp_path: Path) -> None:
    result = simulate(CLASSIFIER, fleet(2), plan=PLAN, rounds=rounds, folder=tmp_path / "run")
    ledger = tmp_path / "run" / "state" / LEDGER
    for row in result.history[:-1]:  # the last one only measures
        assert replay(ledger, row.round, seed=0).same


def test_a_local_algorithm_comes_by_its_name_as_an_entry_or_as_it_is() -> None:
    options = {"local": {"mu": 0.0}}

    class OwnSgd(Sgd):
        pass

    plain = simulate(CLASSIFIER, fleet(), plan=PLAN, rounds=2)
    named = simulate(CLASSIFIER, fleet(), Algorithm(local="sgd"), plan=PLAN, rounds=2)
    own = simulate(CLASSIFIER, fleet(), Algorithm(local=OwnSgd()), plan=PLAN, rounds=2)
    for other in (named, own):
        assert other.model.weights.tobytes() == plain.model.weights.tobytes()
    near, far = (
        simulate(CLASSIFIER, fleet(), Algorithm(local=proximal.ENTRY, options=told), plan=PLAN, rounds=2)
        for told in ({"local": {"mu": 3.0}}, options)
    )
    assert near.model.weights.tobytes() != far.model.weights.tobytes()
    assert "proximal" not in LOCAL.names()
    assert "own-sgd" not in LOCAL.names()


@pytest.mark.parametrize(
    "algorithm",
    [
        Algorithm(local="none"),
        Algorithm(codec="morse"),
        Algorithm(local=Entry("codec", "sgd", Sgd)),
        Algorithm(options={"local": {"mu": 1.0}}),
        Algorithm(rule="none"),
        Algorithm(server="none"),
        Algorithm(rule=None),  # type: ignore[arg-type]
        Algorithm(local=Sgd),  # type: ignore[arg-type]
    ],
    ids=["local", "codec", "kind", "options", "rule", "server", "nothing", "class"],
)
def test_parts_that_cannot_be_are_refused(algorithm: Algorithm) -> None:
    with pytest.raises(ConfigError):
        simulate(CLASSIFIER, fleet(), algorithm, rounds=1)


def test_options_of_no_kind_are_refused() -> None:
    with pytest.raises(ConfigError):
        Algorithm(options={"layer": {}})


@pytest.mark.parametrize(
    ("settings", "device"),
    [({"rounds": {"quorums": 1}}, "pi-9"), ({"plans": {}}, "pi-9"), ({}, "Pi 9")],
    ids=["key", "table", "device"],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, dict[str, int]], device: str) -> None:
    with pytest.raises(ConfigError):
        simulate(CLASSIFIER, {**fleet(1), device: fleet(1)["pi-0"]}, rounds=1, settings=settings)


@pytest.mark.parametrize(
    ("what", "given"),
    [
        ("task", None),
        ("devices", [*fleet(2).values()]),
        ("algorithm", "fedavg"),
        ("plan", {"epochs": 1}),
        ("rounds", "2"),
        ("pi-0", fleet(1)["pi-0"][0]),
        ("pi-0", fleet(1)["pi-0"][:1]),
        ("pi-0", None),
        (1, fleet(1)["pi-0"]),
        ("settings", {"rounds": 3}),
        ("seconds", 3.0),
    ],
)
def test_each_argument_that_cannot_be_is_named(what: str | int, given: object) -> None:
    arguments = {"task": CLASSIFIER, "devices": fleet(2), "rounds": 1}
    if what in ("pi-0", 1):
        arguments["devices"] = {**fleet(2), what: given}
    else:
        arguments[str(what)] = given
    with pytest.raises(ConfigError, match=str(what)):
        simulate(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("device", "given"),
    [("pi-9", 1.0), ("pi-0", -1.0), ("pi-0", math.nan), ("pi-0", math.inf), ("pi-0", "1")],
)
def test_seconds_that_are_no_time_of_a_device_are_refused(device: str, given: object) -> None:
    with pytest.raises(ConfigError) as error:
        simulate(CLASSIFIER, fleet(2), rounds=1, seconds={device: given})  # type: ignore[dict-item]
    assert_tells(str(error.value), "seconds", repr(device))


@pytest.mark.parametrize("options", [3, {"codec": 3}])
def test_options_that_are_no_tables_are_refused(options: Any) -> None:
    with pytest.raises(ConfigError):
        Algorithm(options=options)


def test_further_settings_count() -> None:
    some = {"rounds": {"fraction": 0.5, "target": 2, "quorum": 2}}
    result = simulate(CLASSIFIER, fleet(), plan=PLAN, rounds=2, settings=some)
    assert {row.devices for row in result.history if row.kind == "train"} == {2}


def test_of_each_recording_the_last_rows_are_held_out() -> None:
    one = {name: (X[:50], y[:50]) for name, (X, y) in fleet().items()}
    two = {name: (X, y, np.arange(len(X)) // 25) for name, (X, y) in one.items()}
    together, apart = (simulate(CLASSIFIER, devices, plan=PLAN, rounds=1) for devices in (one, two))
    assert together.history[0].samples == apart.history[0].samples == 4 * 40
    assert together.model.weights.tobytes() != apart.model.weights.tobytes()


def test_who_does_not_take_part_is_named_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    devices = fleet()
    devices["pi-3"] = tuple(part[:8] for part in devices["pi-3"])  # type: ignore[assignment]
    with pytest.raises(FedgeError, match=r"pi-3.*samples"):
        simulate(CLASSIFIER, devices, rounds=1)


def test_steps_that_are_too_large_end_it_with_what_each_device_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)
    result = simulate(CLASSIFIER, fleet(), rounds=1, plan=Plan(learning_rate=1e3, momentum=0.99, epochs=90))
    assert result.stopped == "diverged"
    assert re.search(r"pi-0.*learning rate", result.why)
    assert [row.kind for row in result.history] == ["survey"]
    first = first_weights(result.model.task.network, 0, 1)
    assert (result.model.round, result.model.weights.tobytes()) == (0, first.tobytes())


def test_rounds_are_told_and_their_models_measured_on_test_rows() -> None:
    told: list[fedge.Progress] = []
    X, y = fleet()["pi-1"]
    result = simulate(CLASSIFIER, fleet(), plan=PLAN, rounds=3, test=(X, y), progress=told.append)
    assert result.stopped == "rounds"
    assert [one.round for one in told] == [1, 2, 3]
    assert {one.rounds for one in told} == {3}
    assert [one.row for one in told] == [row for row in result.history if row.kind == "train"]
    assert [one.point for one in told] == list(result.curve[1:])
    assert (told[-1].seconds_left, told[0].seconds_left > 0) == (0.0, True)
    size = 4 * 4 * result.model.weights.size  # four devices, four bytes a weight, no further vector
    assert [(p.round, p.bytes_up, p.bytes_down) for p in result.curve] == [
        (number, number * size, number * size) for number in range(4)
    ]
    last = result.curve[-1]
    assert last.accuracy == (result.model.predict(X) == y).mean()
    indices = np.array([(CLASSIFIER.classes or ()).index(name) for name in y])
    assert last.loss == Network(result.model.task.network).evaluate(result.model.weights, X, indices).loss


def test_of_a_regression_the_root_mean_squared_error_is_measured() -> None:
    X, y = summed()["pi-1"]
    result = simulate(REGRESSION, summed(), plan=PLAN, rounds=1, test=(X, y))
    error = result.model.predict(X).ravel() - np.ravel(y)
    assert result.curve[-1].rmse == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)
    assert result.curve[-1].accuracy is None


def test_it_ends_with_the_round_that_is_enough() -> None:
    whole = simulate(CLASSIFIER, fleet(), plan=PLAN, rounds=2)
    ended = simulate(CLASSIFIER, fleet(), plan=PLAN, rounds=5, until=lambda told: told.round == 2)
    assert (ended.stopped, ended.model.round) == ("until", 2)
    assert ended.model.weights.tobytes() == whole.model.weights.tobytes()
    assert ended.history == tuple(row for row in whole.history if row.kind != "evaluate")


def test_test_rows_that_do_not_fit_the_task_are_refused() -> None:
    with pytest.raises(ConfigError, match="test"):
        simulate(CLASSIFIER, fleet(), rounds=1, test=(np.zeros((4, 3)), np.zeros(4, int)))


def test_a_round_that_closes_reads_no_older_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 8 rounds, the survey among them, each is read as it closes with the one that opens, and all at the
    end, where one only measures."""
    made: list[int] = []
    monkeypatch.setattr(views, "round_row", lambda *columns: made.append(1) or row_of(*columns))
    simulate(CLASSIFIER, fleet(2), plan=PLAN, rounds=7, progress=lambda _: None)
    assert len(made) <= 2 * 8 + 2 * 9 < 8 * 9 / 2
