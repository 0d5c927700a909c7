"""A private training of a population: rounds of one local step each, with the real mechanism."""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from fedge.nn.initialize import first_weights
from fedge.nn.network import Network
from fedge.privacy.mechanism import Grid, Sum
from fedge.privacy.randomness import Expanded
from fleet.privacy.changes import Changes
from fleet.privacy.population import Population

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Course:
    """How the devices learn, and what is declared to them."""

    rounds: int
    """T."""
    clip: float
    """S, the length that a device's change is shortened to."""
    rate: float
    """η, the learning rate of their one step."""


def step(
    base: Vector, changes: Changes, course: Course, cohort: int, multiplier: float | None, seed: bytes
) -> Vector:
    """The next model of shape (p,), as `fedge.algorithms.rules.private_mean` makes it.

    Args:
        base: the model of the round.
        changes: of the population.
        course: clip and rate.
        cohort: m, the declared number of devices: a multiple of those in the population, each of which then
            stands for as many equal ones.
        multiplier: z; None: no noise.
        seed: of the noise, 32 bytes.
    """
    grid = Grid(course.clip, len(base))
    total = changes.total(base, grid, course.rate) * (cohort // changes.devices)
    if multiplier is not None:
        total = Sum(total).noised(grid.noise_variance(multiplier), Expanded(seed, "updates"))
    return grid.moved(base, total, cohort).astype(base.dtype)


def trained(
    population: Population,
    changes: Changes,
    course: Course,
    cohort: int,
    multiplier: float | None,
    seed: int,
) -> float:
    """The accuracy of the last model on the test rows; 0 if training diverged.

    Args:
        population: the devices.
        changes: theirs.
        course: how they learn.
        cohort: m, as in `step`.
        multiplier: z; None: no noise.
        seed: fixes the first weights and the noise. It is not secret: this is a simulation.
    """
    model = first_weights(population.network, seed, 1)
    for number in range(1, course.rounds + 1):
        model = step(model, changes, course, cohort, multiplier, noise_seed(seed, number))
    if not np.isfinite(model).all():
        return 0.0
    found = Network(population.network).evaluate(model, *population.test).accuracy
    assert found is not None
    return found


def noise_seed(seed: int, number: int) -> bytes:
    """The seed of a simulated round's noise, 32 bytes."""
    return sha256(f"simulated noise {seed} {number}".encode()).digest()
