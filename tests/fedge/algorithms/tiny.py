"""A network so small that its training is computed by hand: one output z = x₁ w₁ + x₂ w₂ + b, in float64."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import LOCAL
from fedge.algorithms.trainer import Job, Trained
from fedge.nn import Network, NetworkSpec
from fedge.nn.spec import Dense

Array = np.ndarray[Any, Any]

SPEC = NetworkSpec(inputs=2, layers=(Dense(units=1),), loss="mse")
X = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.25], [-2.0, 1.0]])
Y = np.array([1.0, -2.0, 0.5, 3.0])
START = np.array([0.3, -0.2, 0.1])
TWO = Plan(epochs=2, batch_size=0, learning_rate=0.05)
"""Two steps, each on all samples."""


def slope(w: Array, of: Array = X, y: Array = Y) -> Array:
    """The gradient of Σ (z - y)² / n, by the formula, of shape (3,)."""
    apart = of @ w[:2] + w[2] - y
    return np.array([apart @ of[:, 0], apart @ of[:, 1], apart.sum()]) * 2 / len(y)


def job(plan: Plan = TWO, weights: Array = START, **more: Any) -> Job:
    """A job on these samples; `more` are fields of the job, and vectors that came with the model."""
    network = Network(SPEC, np.float64)
    further: Mapping[str, Array] = more.pop("further", {})
    return Job(
        network,
        {"weights": weights, **further},
        network.prepare(more.pop("X", X)),
        network.prepare_targets(more.pop("y", Y)),
        plan,
        np.random.default_rng(1),
        **more,
    )


def run(name: str, of: Job, **options: Any) -> Trained:
    """Run a local algorithm, which begins with its first state if the job has none."""
    algorithm = LOCAL.make(name, options)
    begun = of.state or algorithm.init(len(of.weights))
    return algorithm.run(replace(of, state=begun), lambda: False)


def enough_after(steps: int) -> Callable[[], bool]:
    """`Job.enough` that ends work after this many steps: it is asked before each but the first."""
    asked = iter(range(1, 10**6))
    return lambda: next(asked) >= steps


def equal(found: Array, expected: Array) -> None:
    """Equal up to the rounding of a few steps in float64, of entries of size 1."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
