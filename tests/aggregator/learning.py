"""A fleet that learns in memory from what a survey has made of its columns: no process, no broker."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.data.dataset import Dataset
from agent.data.division import divide
from agent.data.moments import measured
from aggregator.aggregation.survey import Measured, standardize
from fedge.algorithms.contribution import Contribution, order
from fedge.algorithms.local.descent import train
from fedge.algorithms.plan import Plan
from fedge.algorithms.rules.mean import finish, partial
from fedge.data.moments import Moments, withhold
from fedge.nn import Network, initialize
from fedge.nn.spec import Dense, NetworkSpec, ReLU
from fedge.wire.messages.task import Task
from fleet.datasets import load_watch
from fleet.demo.baselines import held_out

PLAN = Plan(epochs=5, batch_size=16, learning_rate=0.05)
Fleet = Mapping[str, Dataset]


@dataclass(frozen=True)
class Learner:
    """A task without frozen layers, and the data of each device."""

    task: Task
    fleet: Fleet

    def surveys(self) -> dict[str, Measured]:
        """What each device tells."""
        regression = self.task.targets is not None
        return {
            device: Measured(told(data.X), told(data.y) if regression else None)
            for device, data in self.fleet.items()
        }

    def learn(
        self,
        surveys: Mapping[str, Measured],
        rule: str,
        rounds: int,
        seed: int = 1,
        clip: float | None = None,
    ) -> tuple[Network, Any]:
        """FedAvg over all devices, so many rounds, behind the layers that these surveys make."""
        task = standardize(self.task, surveys, rule, clip)
        assert isinstance(task, Task)
        network = Network(task.network)
        w = initialize(task.network, np.random.default_rng(seed)).astype(np.float32)
        devices = sorted(self.fleet, key=order)
        rngs = {device: np.random.default_rng(k) for k, device in enumerate(devices)}
        for _ in range(rounds):
            updates = []
            for device in devices:
                data = self.fleet[device]
                X, y = network.prepare(data.X), network.prepare_targets(data.y)
                vector = train(network, w, X, y, PLAN, rngs[device]).vector
                updates.append(Contribution(device, len(data.X), vector))
            w, _ = finish(partial(updates))
        return network, w

    def accuracy(self, surveys: Mapping[str, Measured], rule: str = "survey/2", rounds: int = 10) -> float:
        """On the held-out parts of all devices."""
        network, w = self.learn(surveys, rule, rounds)
        found = network.evaluate(w, *held_out(self.fleet)).accuracy
        assert found is not None
        return found

    def loss(self, surveys: Mapping[str, Measured], rule: str = "survey/2", rounds: int = 10) -> float:
        """On the held-out parts of all devices."""
        network, w = self.learn(surveys, rule, rounds)
        return network.evaluate(w, *held_out(self.fleet)).loss

    def with_columns(self, names: tuple[str, ...], more: Mapping[str, tuple[Any, Any]]) -> "Learner":
        """The same with further columns, of the training and the held-out part of each device."""
        network = NetworkSpec(
            inputs=len(self.task.features) + len(names),
            layers=self.task.network.layers,
            loss=self.task.network.loss,
        )
        task = Task.model_validate(
            {**dict(self.task), "features": (*self.task.features, *names), "network": network}
        )
        fleet = {
            device: replace(
                data,
                X=np.hstack((data.X, more[device][0])).astype(np.float32),
                held_X=np.hstack((data.held_X, more[device][1])).astype(np.float32),
            )
            for device, data in self.fleet.items()
        }
        return Learner(task, fleet)


def told(X: NDArray[Any]) -> Moments:
    """What an agent says of its columns."""
    return withhold(measured(X, [str(j) for j in range(X.shape[1])]), 20)


@cache
def watch(devices: int = 20) -> Learner:
    """The watch data, as 20 devices hold it."""
    dataset = load_watch(devices)
    classes = dataset.classes
    fleet = {}
    for data in dataset.devices:
        numbers = np.unique(data.series, return_inverse=True)[1].astype(np.int64)
        training, held = divide(numbers, dataset.holdout, dataset.gap)
        y = np.array([classes.index(label) for label in data.labels], np.int64)
        fleet[data.device] = Dataset(data.features[training], y[training], data.features[held], y[held])
    layers = (Dense(units=dataset.hidden_units), ReLU(), Dense(units=len(classes)))
    network = NetworkSpec(inputs=len(dataset.features), layers=layers, loss="cross-entropy")
    return Learner(Task(network=network, features=dataset.features, classes=classes), fleet)


def claims(columns: int, mean: float, m2: float, count: float = 100.0) -> Moments:
    """What a liar says of so many columns."""
    return Moments(*(np.full(columns, value, np.float64) for value in (count, mean, m2)))


def stations(devices: int, distance: float, seed: int = 5) -> Learner:
    """Weather stations at different levels: what is to be learnt is how far a day is from the usual there.

    `distance`: how far the levels lie apart, in deviations of one station.
    """
    rng = np.random.default_rng(seed)
    fleet = {}
    for k in range(devices):
        level = rng.normal(0, distance, 3) * [1.0, 20.0, 0.01] + [15.0, 1000.0, 0.5]
        kind = rng.integers(0, 3, 120)
        X = level + rng.normal(0, 1, (120, 3)) * [1.0, 20.0, 0.01]
        y = kind.astype(np.int64)
        X[:, 0] += 2.5 * (kind == 1)
        X[:, 1] += 20 * 2.5 * (kind == 2)
        Xf = X.astype(np.float32)
        fleet[f"station-{k:02}"] = Dataset(Xf[:90], y[:90], Xf[90:], y[90:])
    network = NetworkSpec(inputs=3, layers=(Dense(units=32), ReLU(), Dense(units=3)), loss="cross-entropy")
    task = Task(network=network, features=("heat", "pressure", "damp"), classes=("none", "warm", "high"))
    return Learner(task, fleet)
