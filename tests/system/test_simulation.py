"""A simulation is the federation of its settings: real processes and a real broker give the same bits."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.ledger.layout import FILE as LEDGER
from aggregator.ledger.views import RoundRow
from fedge import Algorithm, NetworkSpec, Plan, Task, load_model, read_rounds, simulate
from fleet.datasets import load_digits
from fleet.demo.broker import Broker
from fleet.demo.learning import learn
from fleet.demo.progress import Silent
from fleet.demo.provision import Federation, provision, write_agent, write_federation
from tests.fleet.library.fleets import CLASSIFIER, fleet
from tests.system.databases import query

pytestmark = pytest.mark.system

PLAN = Plan(epochs=2, batch_size=16, learning_rate=0.05, momentum=0.9)
SGD = Plan(epochs=2, batch_size=8, learning_rate=0.05)
UNIFORM = {"rule": {"weights": "uniform"}}
SERVERS = ("rule", "server")
COMPOSITIONS: Mapping[str, tuple[Algorithm, Mapping[str, Any], bool]] = {
    "sgd": (Algorithm(options=UNIFORM), {}, False),
    "scaffold": (Algorithm(local="scaffold", options=UNIFORM), {}, False),
    "prox": (Algorithm(local="prox", options={"local": {"mu": 0.5}}), {}, False),
    "dyn": (Algorithm(local="dyn", server="dyn", options=UNIFORM), {}, False),
    "nova with adam": (Algorithm(local="nova", rule="nova", server="adam"), {}, False),
    "momentum and decay": (Algorithm(server="momentum"), {"rate_decay": 0.5, "momentum": 0.9}, False),
    "head": (Algorithm(personal="head"), {}, False),
    "clusters": (Algorithm(personal="clusters"), {}, True),
}
"""What is learnt with, changes of the plan, and whether there are several shared models.

The engine `fast` does not have several shared models.
"""
QUICK = ("sgd",)
ROUNDS, SEED = 2, 3


@pytest.mark.slow
def test_real_processes_give_the_same_model_to_the_bit(tmp_path: Path, broker: Broker) -> None:
    dataset = load_digits(6, SEED)
    files = provision(
        tmp_path,
        dataset,
        federation="same-bits",
        broker_url=broker.url,
        plan=PLAN,
        rounds=ROUNDS,
        seed=SEED,
        deadline_s=60.0,
    )
    learn(files, tmp_path / "logs", broker, Silent())
    real = load_model(tmp_path / "export")

    network = NetworkSpec.model_validate(
        {
            "inputs": len(dataset.features),
            "layers": [
                {"type": "dense", "units": dataset.hidden_units},
                {"type": "relu"},
                {"type": "dense", "units": len(dataset.classes)},
            ],
            "loss": "cross-entropy",
        }
    )
    simulated = simulate(
        Task(network=network, features=dataset.features, classes=dataset.classes),
        {one.device: (one.features, np.array(one.labels), np.array(one.series)) for one in dataset.devices},
        plan=PLAN,
        rounds=ROUNDS,
        seed=SEED,
        holdout=dataset.holdout,
    )
    assert simulated.model.weights.tobytes() == real.weights.tobytes()
    figures = [(row.kind, row.devices, row.samples, row.accuracy, row.loss) for row in simulated.history]
    told = read_rounds(tmp_path / "state")
    assert figures == [(row.kind, row.devices, row.samples, row.accuracy, row.loss) for row in told]


@pytest.mark.parametrize(
    "case", [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in COMPOSITIONS]
)
def test_five_real_agents_and_both_engines_give_the_same_bits(
    case: str, tmp_path: Path, broker: Broker
) -> None:
    """What devices and server keep, and what is announced besides weights, is part of each later model."""
    algorithm, changes, clusters = COMPOSITIONS[case]
    plan, devices, name = SGD.model_copy(update=dict(changes)), fleet(5), f"engines-{case.replace(' ', '-')}"
    settings = write_federation(
        tmp_path,
        name=name,
        seed=SEED,
        devices=tuple(devices),
        broker_url=broker.url,
        model={
            "features": CLASSIFIER.features,
            "classes": CLASSIFIER.classes or (),
            "layers": [{"type": "dense", "units": 6}, {"type": "relu"}],
        },
        plan=plan.model_copy(
            update={
                "local": algorithm.local,
                "local_options": algorithm.options.get("local"),
                "personal": None if algorithm.personal == "none" else algorithm.personal,
            }
        ),
        rounds=4,
        choose="newest",
    )
    tables = {part: {"name": getattr(algorithm, part), **algorithm.options.get(part, {})} for part in SERVERS}
    settings.write_text(
        settings.read_text()
        + "".join(
            f"[{part}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
            for part, table in tables.items()
        )
    )
    agents = {}
    for device, (X, y) in devices.items():
        home = tmp_path / "devices" / device
        home.mkdir(parents=True)
        np.savez(home / "data.npz", X=X, y=y)
        data = {"source": "npz", "path": "data.npz"}
        agents[device] = write_agent(home, federation=name, device=device, broker_url=broker.url, data=data)
    learn(Federation(settings, agents), tmp_path / "logs", broker, Silent())
    rows = [figures_of(row) for row in read_rounds(tmp_path / "state")]
    given: dict[str, Any] = {"plan": plan, "rounds": 4, "seed": SEED}
    cores = simulate(CLASSIFIER, devices, algorithm, folder=tmp_path / "cores", **given)
    assert rows == [figures_of(row) for row in cores.history]
    assert models_in(tmp_path) == models_in(tmp_path / "cores")
    if clusters:
        return
    real = load_model(tmp_path / "export")
    for workers in (1, 2):
        found = simulate(CLASSIFIER, devices, algorithm, engine="fast", workers=workers, **given)
        assert found.model.weights.tobytes() == real.weights.tobytes(), workers
        assert rows == [figures_of(row) for row in found.history]
    plain = simulate(CLASSIFIER, devices, plan=SGD, rounds=4, seed=SEED, engine="fast", workers=1)
    assert plain.model.weights.tobytes() != real.weights.tobytes(), "the settings reach the programs"


def models_in(folder: Path) -> list[tuple[int, str]]:
    """The digest of the model that each round made, with all that is announced beside it."""
    found = query(folder / "state" / LEDGER, "SELECT round, hex(model) FROM rounds ORDER BY round")
    assert len(found) >= 5
    return found


def figures_of(row: RoundRow) -> tuple[object, ...]:
    """What a row of the history tells of what was learnt."""
    return row.kind, row.devices, row.samples, row.accuracy, row.loss, row.clusters
