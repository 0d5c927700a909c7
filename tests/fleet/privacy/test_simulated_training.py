"""The simulated private training is the real rule: to the bit one by one, at once within stated rounding."""

import numpy as np
import pytest

from fedge.algorithms.rules.private_mean import PrivateMean, PrivateMeanOptions
from fedge.errors import ConfigError
from fedge.nn.initialize import first_weights
from fedge.nn.spec import Dense, NetworkSpec, ReLU
from fedge.privacy.mechanism import Grid
from fedge.testing.rule import SomeUpdates
from fleet.privacy.changes import AtOnce, OneByOne, changes_of
from fleet.privacy.expectation import Expecting, Question
from fleet.privacy.population import Population
from fleet.privacy.study import deal_of, scaled
from fleet.privacy.training import Course, noise_seed, step, trained

SIZES = (6, 1, 4, 6, 3, 6, 5, 2)
SIMPLE = NetworkSpec(inputs=12, layers=(Dense(units=3),), loss="cross-entropy")
HIDDEN = NetworkSpec(inputs=12, layers=(Dense(units=5), ReLU(), Dense(units=3)), loss="cross-entropy")
COURSE = Course(rounds=3, clip=0.7, rate=0.5)
"""About half of the devices are clipped (`test_some_are_clipped_and_some_are_not`)."""


def population(network: NetworkSpec = SIMPLE) -> Population:
    rng = np.random.default_rng(5)
    devices = [(rng.random((n, 12)).astype(np.float32), rng.integers(0, 3, n)) for n in SIZES]
    return Population.of(devices, devices[0], network)


def by_the_rule(found: Population, base: np.ndarray, multiplier: float, seed: bytes) -> np.ndarray:
    """A round through the registered protocol of rules, with each device's vector."""
    one = OneByOne(found)
    vectors = {
        f"d{number}": (lambda number=number: one.vector(number, base, COURSE.rate), 1)
        for number in range(len(found))
    }
    rule = PrivateMean(PrivateMeanOptions(clip=COURSE.clip, noise_multiplier=multiplier, cohort=len(found)))
    state = {"clip": np.array([COURSE.clip]), "noise_seed": np.frombuffer(seed, np.uint8)}
    return rule.aggregate(SomeUpdates(vectors, len(base)), base, state).vector


@pytest.mark.parametrize("network", [SIMPLE, HIDDEN])
def test_one_by_one_it_is_the_rule_to_the_bit(network: NetworkSpec) -> None:
    found = population(network)
    model = twin = first_weights(network, 1, 1)
    for number in range(1, 4):
        seed = noise_seed(1, number)
        model = step(model, OneByOne(found), COURSE, len(found), 1.5, seed)
        twin = by_the_rule(found, twin, 1.5, seed)
        assert model.tobytes() == twin.tobytes()


@pytest.mark.parametrize("multiplier", [None, 1.5])
def test_at_once_it_is_the_same_within_the_stated_rounding(multiplier: float | None) -> None:
    """S / 2^21 + 2⁻²³ max |w| in a weight of a round, and as much again for the products."""
    found, base = population(), first_weights(SIMPLE, 1, 1)
    one, once = (
        step(base, changes, COURSE, len(found), multiplier, noise_seed(1, 1))
        for changes in (OneByOne(found), AtOnce(found))
    )
    assert not np.array_equal(once, base)
    stated = COURSE.clip / 2**21 + np.abs(base).max() / 2**23
    assert np.abs(one - once).max() <= 2 * stated


def test_some_are_clipped_and_some_are_not() -> None:
    found, base = population(), first_weights(SIMPLE, 1, 1)
    one = OneByOne(found)
    lengths = [np.linalg.norm(one.vector(k, base, COURSE.rate) - base) for k in range(len(found))]
    assert min(lengths) < COURSE.clip < max(lengths)


def test_a_device_stands_for_several() -> None:
    """Their mean is the same without noise; with noise each counts, so that it is less of the mean."""
    found, base = population(), first_weights(SIMPLE, 1, 1)
    changes = AtOnce(found)
    few, many = (step(base, changes, COURSE, k * len(found), None, b"") for k in (1, 100))
    assert np.allclose(few, many, atol=1e-7)
    noisy = [step(base, changes, COURSE, k * len(found), 5.0, noise_seed(1, 1)) - few for k in (1, 100)]
    assert np.linalg.norm(noisy[1]) == pytest.approx(np.linalg.norm(noisy[0]) / 100, rel=1e-3)


def test_hidden_layers_are_simulated_one_by_one() -> None:
    assert isinstance(changes_of(population()), AtOnce)
    assert isinstance(changes_of(population(HIDDEN)), OneByOne)


def test_no_change_is_longer_than_the_clip() -> None:
    """Of one device, however far it went."""
    devices = [(np.full((2, 12), 1e4, np.float32), np.array([0, 1]))]
    alone = Population.of(devices, devices[0], SIMPLE)
    grid = Grid(0.4, SIMPLE.schema.size)
    for changes in (AtOnce(alone), OneByOne(alone)):
        total = changes.total(first_weights(SIMPLE, 1, 1), grid, 1e3)
        assert 2**19 < np.linalg.norm(total) <= grid.sensitivity


# What to expect


def test_more_noise_costs_accuracy_and_the_course_is_chosen_by_another_seed() -> None:
    courses = (Course(40, 1.0, 2.0), Course(40, 1e-4, 1e-4))
    asked = [Question(epsilon, 1e-5, courses, (1,), 2000) for epsilon in (4.0, 0.02)]
    strong, weak = (Expecting(question, deal_of("digits")).found() for question in asked)
    assert strong.course == courses[0]
    assert (strong.devices, strong.cohort) == (50, 2000)
    assert strong.private.mean > 0.85
    assert weak.private.mean < strong.private.mean - 0.1
    assert weak.multiplier > 10 * strong.multiplier
    assert strong.without.mean >= strong.private.mean - 0.02


def test_it_tells_how_many_rounds_it_takes() -> None:
    asked = Question(4.0, 1e-5, (Course(3, 1.0, 1.0), Course(5, 1.0, 1.0)), (1, 2))
    expecting = Expecting(asked, lambda seed: population())
    assert expecting.rounds == 3 + 5 + 2 * 2 * 5
    assert expecting.seconds() > 0


def test_the_same_seed_gives_the_same_accuracy() -> None:
    found = population()
    first, second = (trained(found, AtOnce(found), COURSE, len(found), 1.0, 3) for _ in range(2))
    assert first == second


# Bad input


def test_what_cannot_be_simulated_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs devices"):
        Population.of([], (np.zeros((1, 12)), np.zeros(1)), SIMPLE)
    regression = NetworkSpec(inputs=12, layers=(Dense(units=1),), loss="mse")
    with pytest.raises(ConfigError, match="for classes alone"):
        Population.of([(np.zeros((1, 12)), np.zeros(1))], (np.zeros((1, 12)), np.zeros(1)), regression)
    with pytest.raises(ConfigError, match="seed 0 chooses the course"):
        Expecting(Question(4.0, 1e-5, (COURSE,), (0, 1)), lambda seed: population())


def test_columns_are_brought_to_a_known_range() -> None:
    X = np.array([[0, 5, 1], [10, 5, 9], [-5, 7, 2]], np.float32)
    found = scaled(X, np.array([0, 5, 1], np.float32), np.array([5, 5, 5], np.float32))
    assert found.tolist() == [[0, 0, 0], [1, 0, 1], [0, 0, 0.25]]
