"""The baselines for learning together: each device alone, and all data in one place.

Both train the task's network with the fleet's plan, once for each round of the fleet, so for as many epochs.
They standardise features by a survey of the data that they may see.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.data.dataset import Dataset
from aggregator.aggregation.survey import EXACT, RULE, Measured, Unmeasured, standardize
from fedge.algorithms.local.descent import train
from fedge.algorithms.plan import Plan
from fedge.algorithms.trainer import never
from fedge.data.moments import measure
from fedge.errors import DataError
from fedge.nn import Network, initialize
from fedge.wire.messages.task import Task
from fleet.demo.figure import figure_of
from fleet.demo.verification import Inputs

Fleet = Mapping[str, Dataset]
"""The data of the devices; every device has training rows."""


@dataclass(frozen=True)
class Alone:
    """The figure of the task that one device reaches with its own data."""

    device: str
    everyone: float
    """On the held-out parts of all devices."""
    own: float
    """On its own held-out part; NaN if it holds nothing out."""


@dataclass(frozen=True, eq=False)
class Predicted:
    """The answers of a model that was trained here."""

    outputs: NDArray[Any]
    """Of shape (n, k): the classes' probabilities, or the targets in their own units."""
    rounds: int
    """How often the plan was run in all."""
    of: int
    """The number of rounds after which the answering model was taken."""


def alone(
    task: Task,
    fleet: Fleet,
    plan: Plan,
    rounds: int,
    seed: int,
    enough: Callable[[], bool] = never,
    *,
    best: bool = False,
) -> tuple[Alone, ...]:
    """Train each device on its own training part only.

    Args:
        task: as the survey gets it, without a Standardize layer.
        fleet: by device.
        plan: local training of one round.
        rounds: how often the plan is run.
        seed: determines the first weights, the same for all, and the order of samples.
        enough: called before each device but the first; if it returns True, the remaining devices are left
            out.
        best: take the best of the models after each round on all held-out parts, else the last one. So
            overfitting in too many rounds does not make a baseline look bad.

    Raises:
        DataError: a column has no values.
    """
    figure = figure_of(task)
    held_X, held_y = held_out(fleet)
    results: list[Alone] = []
    for device, data in fleet.items():
        if results and enough():
            break
        outputs = predict(
            task,
            {device: data},
            plan,
            rounds,
            seed,
            np.concatenate([held_X, data.held_X]),
            judge=(held_X, held_y) if best else None,
        ).outputs
        results.append(
            Alone(
                device=device,
                everyone=figure.of(outputs[: len(held_X)], held_y),
                own=figure.of(outputs[len(held_X) :], data.held_y),
            )
        )
    return tuple(results)


def central(task: Task, fleet: Fleet, plan: Plan, rounds: int, seed: int) -> float:
    """Train on the training parts of all devices in one place; the figure on all held-out parts.

    The arguments and errors are those of `alone`.
    """
    X, y = held_out(fleet)
    return figure_of(task).of(predict(task, fleet, plan, rounds, seed, X).outputs, y)


def predict(
    task: Task,
    fleet: Fleet,
    plan: Plan,
    rounds: int,
    seed: int,
    X: Inputs,
    enough: Callable[[], bool] = never,
    judge: tuple[Inputs, NDArray[Any]] | None = None,
) -> Predicted:
    """Train on the training parts of all devices in one place, and answer the samples X, of shape (n, d).

    `enough` is called before each round but the first; True ends the training. With `judge` (samples and
    their answers) the model of the round with the best figure on them answers, among equal ones that with the
    least loss; otherwise the last model. The other arguments and errors are those of `alone`.
    """
    everything = np.concatenate([data.X for data in fleet.values()])
    answers = np.concatenate([data.y for data in fleet.values()])
    targets = measure(answers.reshape(len(answers), -1)) if task.targets else None
    rule = EXACT if everything.dtype == np.float64 else RULE
    standardized = standardize(task, {"all": Measured(measure(everything), targets)}, rule)
    if isinstance(standardized, Unmeasured):
        raise DataError(str(standardized))
    network = Network(standardized.network)
    rng = np.random.default_rng(seed)
    w = initialize(standardized.network, rng)
    prepared, prepared_answers = network.prepare(everything), network.prepare_targets(answers)
    done, chosen, best = 0, (w, 0), (-np.inf, -np.inf)
    while done < rounds and not (done and enough()):
        w = train(network, w, prepared, prepared_answers, plan, rng).vector
        done += 1
        if judge is None:
            chosen = w, done
            continue
        found = network.evaluate(w, *judge)
        merit = (-found.loss if found.accuracy is None else found.accuracy, -found.loss)
        if merit > best:
            chosen, best = (w, done), merit
    return Predicted(network.predict(chosen[0], X), done, chosen[1])


def held_out(fleet: Fleet) -> tuple[Inputs, NDArray[Any]]:
    """The held-out parts of all devices: samples of shape (h, d), and classes of shape (h,) or targets of
    shape (h, t)."""
    return (
        np.concatenate([data.held_X for data in fleet.values()]),
        np.concatenate([data.held_y for data in fleet.values()]),
    )
