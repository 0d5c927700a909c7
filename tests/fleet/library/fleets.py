"""Small fleets for tests of the library: two moons of samples on each device."""

import numpy as np
from numpy.typing import NDArray

from fedge import NetworkSpec, Plan, Task

PLAN = Plan(epochs=2, batch_size=8, learning_rate=0.1, momentum=0.5)
CLASSIFIER = Task(
    network=NetworkSpec.model_validate(
        {
            "inputs": 2,
            "layers": [{"type": "dense", "units": 6}, {"type": "relu"}, {"type": "dense", "units": 2}],
            "loss": "cross-entropy",
        }
    ),
    features=("u", "v"),
    classes=("low", "high"),
)
REGRESSION = Task(
    network=NetworkSpec.model_validate(
        {"inputs": 2, "layers": [{"type": "dense", "units": 1}], "loss": "mse"}
    ),
    features=("u", "v"),
    targets=("sum",),
)
Data = dict[str, tuple[NDArray[np.float64], NDArray[np.float64] | NDArray[np.str_]]]


def fleet(number: int = 4, rows: int = 50) -> Data:
    """Devices whose samples lie in different places."""
    found: Data = {}
    for k in range(number):
        X = np.random.default_rng(k).normal((k - 1) / 2, 1.0, (rows + 5 * k, 2))
        found[f"pi-{k}"] = X, np.where(X.sum(axis=1) > 0, "high", "low")
    return found


def summed(number: int = 3) -> Data:
    """Samples and the sum of their columns."""
    return {name: (X, X.sum(axis=1)) for name, (X, _) in fleet(number).items()}
