"""What learning together is measured against: each device alone, and all data in one place.

Both train the network of the task with the plan of the fleet as often as the fleet has rounds, so with as
many epochs, and normalise their features by the survey of the data they may see.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.dataset import Dataset
from agent.local.sgd import train
from aggregator.survey import Measured, Unmeasured, standardize
from fedge.errors import DataError
from fedge.messages import Task
from fedge.moments import measure
from fedge.nn import Network, initialize
from fedge.plan import Plan


@dataclass(frozen=True)
class Alone:
    """How far one device comes with its own data."""

    device: str
    everyone: float
    """Accuracy on the held-out parts of all devices."""
    own: float
    """Accuracy on its own held-out part."""


def alone(task: Task, fleet: Mapping[str, Dataset], plan: Plan, rounds: int, seed: int) -> tuple[Alone, ...]:
    """Train each device on its own training part only.

    Args:
        task: a classification as the survey gets it, without a Standardize layer.
        fleet: by device; every one holds something out.
        plan: local training of one round.
        rounds: how often it is done.
        seed: fixes the first weights, the same for all, and the order of samples.

    Raises:
        DataError: nothing was measured of a column.
    """
    held_X, held_y = held_out(fleet)
    results = []
    for device, data in fleet.items():
        network, w = _learn(task, {device: data}, plan, rounds, seed)
        results.append(
            Alone(
                device=device,
                everyone=_accuracy(network, w, held_X, held_y),
                own=_accuracy(network, w, data.held_X, data.held_y),
            )
        )
    return tuple(results)


def central(task: Task, fleet: Mapping[str, Dataset], plan: Plan, rounds: int, seed: int) -> float:
    """Train on the training parts of all devices in one place; returns the accuracy on all held-out parts.

    The arguments and errors are those of `alone`.
    """
    network, w = _learn(task, fleet, plan, rounds, seed)
    return _accuracy(network, w, *held_out(fleet))


def held_out(fleet: Mapping[str, Dataset]) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """The held-out parts of all devices, of shapes (h, d) and (h,)."""
    return (
        np.concatenate([data.held_X for data in fleet.values()]),
        np.concatenate([data.held_y for data in fleet.values()]),
    )


def _learn(
    task: Task, fleet: Mapping[str, Dataset], plan: Plan, rounds: int, seed: int
) -> tuple[Network, NDArray[np.float32]]:
    everything = np.concatenate([data.X for data in fleet.values()])
    standardized = standardize(task, {"all": Measured(measure(everything), None)})
    if isinstance(standardized, Unmeasured):
        raise DataError(str(standardized))
    network = Network(standardized.network)
    rng = np.random.default_rng(seed)
    w = initialize(standardized.network, rng)
    X = network.prepare(everything)
    y = network.prepare_targets(np.concatenate([data.y for data in fleet.values()]))
    for _ in range(rounds):
        w = train(network, w, X, y, plan, rng).vector
    return network, w


def _accuracy(network: Network, w: NDArray[np.float32], X: NDArray[np.float32], y: NDArray[Any]) -> float:
    accuracy = network.evaluate(w, X, y).accuracy
    if accuracy is None:
        raise ValueError("a baseline is an accuracy: the task must be a classification")
    return accuracy
