"""The same federation within this process: FedAvg by the functions of agents and aggregator.

It is for comparisons that would otherwise need one fleet each, such as the fleet without one of its devices.
It uses no broker and no files, so it takes only the time of the arithmetic. It computes the same as the
processes: the same surveys, first weights, orders of samples, and bounded mean.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from agent.data.dataset import Dataset
from agent.data.moments import measured
from aggregator.aggregation.models import first_weights
from aggregator.aggregation.survey import EXACT, Measured, Unmeasured, standardize
from fedge.algorithms.contribution import Contribution, order
from fedge.algorithms.local.descent import train
from fedge.algorithms.local.shuffling import generator
from fedge.algorithms.plan import Plan
from fedge.algorithms.rules.bounds import Factors, bounds, clipped, distance
from fedge.algorithms.rules.mean import finish, partial
from fedge.algorithms.trainer import never
from fedge.data.moments import FEWEST, Moments, withhold
from fedge.errors import DataError
from fedge.nn import Network
from fedge.wire.messages.task import Task

Inputs = NDArray[np.float32] | NDArray[np.float64]

GENERATION = 1
"""The first generation of a federation."""


def predict(
    task: Task,
    fleet: Mapping[str, Dataset],
    plan: Plan,
    rounds: int,
    seed: int,
    X: Inputs,
    enough: Callable[[], bool] = never,
) -> NDArray[np.float32]:
    """Let a fleet learn, and predict for the samples X, of shape (n, d), in which NaN means missing.

    Args:
        task: as the survey gets it, without a Standardize layer.
        fleet: by device, in float64; NaN means missing, and is filled as devices fill it.
        plan: local training.
        rounds: the number of rounds.
        seed: the federation's seed.
        X: raw samples.
        enough: called before each round but the first; True ends learning.

    Returns:
        The classes' probabilities or the targets, of shape (n, k).

    Raises:
        DataError: a column has no values.
    """
    surveys = {
        device: Measured(_told(data.X), _told(data.y) if task.targets else None)
        for device, data in fleet.items()
    }
    surveyed = standardize(task, surveys, EXACT)
    if isinstance(surveyed, Unmeasured):
        raise DataError(str(surveyed))
    first = surveyed.network.first
    assert first is not None
    means, network = first.exact_means, Network(surveyed.network)
    devices = sorted(fleet, key=order)
    prepared = {
        device: (
            network.prepare(_filled(fleet[device].X, means)),
            network.prepare_targets(fleet[device].y),
        )
        for device in devices
    }
    w = first_weights(surveyed, seed, GENERATION)
    for number in range(1, rounds + 1):
        if number > 1 and enough():
            break
        updates = {
            device: train(
                network, w, *prepared[device], plan, generator(seed, GENERATION, number, device)
            ).vector
            for device in devices
        }
        samples = [len(fleet[device].X) for device in devices]
        found = bounds([distance(w, updates[device]) for device in devices], samples, Factors())
        w, _ = finish(
            partial(
                Contribution(device, weight, clipped(w, updates[device], scale))
                for device, scale, weight in zip(devices, found.scales, found.weights, strict=True)
            )
        )
    return np.asarray(network.predict(w, _filled(X, means)))


def _told(X: Inputs) -> Moments:
    """The survey as a device measures it, which keeps float32 and its rounding."""
    columns = X.reshape(len(X), -1)
    narrow = columns.astype(np.float32)
    names = [str(j) for j in range(columns.shape[1])]
    taken: NDArray[np.float64] = np.nan_to_num(columns - narrow.astype(np.float64))
    rest = {j: taken[:, j] for j in np.flatnonzero(taken.any(axis=0)).tolist()}
    return withhold(measured(narrow, names, rest), FEWEST)


def _filled(X: Inputs, means: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isnan(X), means, X)
