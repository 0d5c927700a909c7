"""A simulation is the federation of its settings: real processes and a real broker give the same bits."""

from pathlib import Path

import numpy as np
import pytest

from fedge import NetworkSpec, Plan, Task, load_model, read_rounds, simulate
from fleet.datasets import load_digits
from fleet.demo.broker import Broker
from fleet.demo.learning import learn
from fleet.demo.progress import Silent
from fleet.demo.provision import provision

pytestmark = pytest.mark.system

PLAN = Plan(epochs=2, batch_size=16, learning_rate=0.05, momentum=0.9)
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
