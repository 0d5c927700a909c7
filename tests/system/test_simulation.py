"""A simulation is the federation of its settings: real processes and a real broker give the same bits."""

from pathlib import Path

import numpy as np
import pytest

from fedge import Algorithm, NetworkSpec, Plan, Task, load_model, read_rounds, simulate
from fleet.datasets import load_digits
from fleet.demo.broker import Broker
from fleet.demo.learning import learn
from fleet.demo.progress import Silent
from fleet.demo.provision import Federation, provision, write_agent, write_federation
from tests.fleet.library.fleets import CLASSIFIER, fleet

pytestmark = pytest.mark.system

PLAN = Plan(epochs=2, batch_size=16, learning_rate=0.05, momentum=0.9)
SGD = Plan(epochs=2, batch_size=8, learning_rate=0.05)
UNIFORM = '[rule]\nweights = "uniform"\n'
ROUNDS, SEED = 2, 3


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


@pytest.mark.parametrize("local", ["sgd", "scaffold"])
def test_five_real_agents_and_both_engines_give_the_same_bits(
    local: str, tmp_path: Path, broker: Broker
) -> None:
    """With SCAFFOLD, control vectors of the devices and of the server are part of each later model."""
    devices = fleet(5)
    settings = write_federation(
        tmp_path,
        name=f"engines-{local}",
        seed=SEED,
        devices=tuple(devices),
        broker_url=broker.url,
        model={
            "features": CLASSIFIER.features,
            "classes": CLASSIFIER.classes or (),
            "layers": [{"type": "dense", "units": 6}, {"type": "relu"}],
        },
        plan=SGD.model_copy(update={"local": local}),
        rounds=4,
        choose="newest",
    )
    settings.write_text(settings.read_text() + UNIFORM)
    agents = {}
    for name, (X, y) in devices.items():
        home = tmp_path / "devices" / name
        home.mkdir(parents=True)
        np.savez(home / "data.npz", X=X, y=y)
        data = {"source": "npz", "path": "data.npz"}
        agents[name] = write_agent(
            home, federation=f"engines-{local}", device=name, broker_url=broker.url, data=data
        )
    learn(Federation(settings, agents), tmp_path / "logs", broker, Silent())
    real = load_model(tmp_path / "export")
    rows = [
        (row.kind, row.devices, row.samples, row.accuracy, row.loss)
        for row in read_rounds(tmp_path / "state")
    ]
    algorithm = Algorithm(local=local, options={"rule": {"weights": "uniform"}})
    for engine in ({}, {"engine": "fast", "workers": 1}, {"engine": "fast", "workers": 2}):
        found = simulate(CLASSIFIER, devices, algorithm, plan=SGD, rounds=4, seed=SEED, **engine)
        assert found.model.weights.tobytes() == real.weights.tobytes(), engine
        assert rows == [(row.kind, row.devices, row.samples, row.accuracy, row.loss) for row in found.history]
