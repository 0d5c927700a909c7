"""Which accuracy to expect under (ε, δ): trainings of a population, with the noise and without, over seeds.

The learning rate, the clip and the number of rounds are the best of a grid with the seed `TUNING`, which is
not among those that are told. On a federation's own devices such a search would cost privacy itself; here the
rows are at hand. All of a grid's figures and the others are measured on the same kind of test rows, so what
is told is slightly too good, by what the best of a few courses gains by chance.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from fedge.errors import ConfigError
from fedge.nn.initialize import first_weights
from fedge.privacy.accountant import Training, multiplier_for
from fleet.privacy.changes import changes_of
from fleet.privacy.population import Population
from fleet.privacy.training import Course, noise_seed, step, trained

TUNING = 0
"""The seed that the course is chosen with."""


@dataclass(frozen=True)
class Question:
    """What accuracy is asked for."""

    epsilon: float
    delta: float
    courses: tuple[Course, ...]
    """The grid; the best one is taken."""
    seeds: tuple[int, ...] = (1, 2, 3)
    cohort: int | None = None
    """m, the devices of the federation; None: those of the population."""


@dataclass(frozen=True)
class Accuracies:
    """The accuracy with each seed."""

    by_seed: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return fmean(self.by_seed)

    @property
    def spread(self) -> float:
        """The standard deviation over the seeds; 0 with one seed."""
        return stdev(self.by_seed) if len(self.by_seed) > 1 else 0.0


@dataclass(frozen=True)
class Expectation:
    """What is to be expected."""

    question: Question
    course: Course
    """The best of the grid."""
    multiplier: float
    """z, the least with which this course has ε."""
    devices: int
    """k, those that were simulated."""
    cohort: int
    """m: the next multiple of k. Each device stands for m / k equal ones."""
    weights: int
    """p."""
    private: Accuracies
    without: Accuracies
    """Of the same course without noise; the clip stays."""


Deal = Callable[[int], Population]
"""The population of a seed."""


class Expecting:
    """A question to a population.

    Raises:
        ConfigError: there is no population, or dp-accounting is not installed.
    """

    def __init__(self, question: Question, deal: Deal) -> None:
        if TUNING in question.seeds:
            raise ConfigError(f"seed {TUNING} chooses the course: name other seeds")
        self._question, self._deal = question, deal
        self._first = deal(TUNING)
        self._changes = changes_of(self._first)
        self._copies = -(-(question.cohort or len(self._first)) // len(self._first))

    @property
    def rounds(self) -> int:
        """How many rounds will be computed."""
        grid = [course.rounds for course in self._question.courses]
        tuning = sum(grid) if len(grid) > 1 else 0
        return tuning + 2 * len(self._question.seeds) * max(grid)

    def seconds(self) -> float:
        """About how long `found` will take; it computes a round to know."""
        course, model = self._question.courses[0], first_weights(self._first.network, TUNING, 1)
        m = self._copies * len(self._first)
        step(model, self._changes, course, m, 1.0, noise_seed(TUNING, 1))  # what is done once
        begun_s = time.perf_counter()
        step(model, self._changes, course, m, 1.0, noise_seed(TUNING, 1))
        return self.rounds * (time.perf_counter() - begun_s)

    def found(self) -> Expectation:
        """Run the trainings."""
        question = self._question
        needed = {rounds: self._multiplier(rounds) for rounds in {c.rounds for c in question.courses}}
        course = self._best(question.courses, needed)
        z = needed[course.rounds]
        private, without = [], []
        for seed in question.seeds:
            population = self._deal(seed)
            changes, m = changes_of(population), self._copies * len(population)
            private.append(trained(population, changes, course, m, z, seed))
            without.append(trained(population, changes, course, m, None, seed))
        k, size = len(self._first), self._first.network.schema.size
        told = Accuracies(tuple(private)), Accuracies(tuple(without))
        return Expectation(question, course, z, k, self._copies * k, size, *told)

    def _multiplier(self, rounds: int) -> float:
        return multiplier_for(self._question.epsilon, Training(1.0, rounds), self._question.delta)

    def _best(self, courses: Sequence[Course], needed: dict[int, float]) -> Course:
        if len(courses) == 1:
            return courses[0]
        first, changes = self._first, self._changes
        m = self._copies * len(first)
        tried = [trained(first, changes, each, m, needed[each.rounds], TUNING) for each in courses]
        return courses[tried.index(max(tried))]
