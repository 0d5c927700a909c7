"""The central mechanism is audited with canaries: never above its ε, and wrong mechanisms are found."""

import math

import numpy as np
import pytest

from fedge.algorithms.rules.private_mean import PrivateMean, PrivateMeanOptions
from fedge.privacy.accountant import Training, guarantee
from fedge.privacy.audit import Guesses, guessed
from fedge.privacy.mechanism import Grid, Sum
from fedge.privacy.randomness import Expanded
from fedge.testing.rule import SomeUpdates

DELTA = 1e-5
Z = 1.5
CANARIES, MADE = 20_000, 400
HONEST = 20
COHORT = CANARIES + HONEST
GRID = Grid(1.0, CANARIES)
BASE = np.zeros(CANARIES, np.float32)


def claimed() -> float:
    """ε = 2.98: exact for normal noise, and less than what is claimed for discrete noise."""
    return guarantee(Training(Z, 1, "normal"), DELTA).epsilon


def canary(number: int) -> np.ndarray:
    """Ten times as long as the clip, in a coordinate of its own."""
    vector = BASE.copy()
    vector[number] = 10.0
    return vector


def honest(number: int) -> np.ndarray:
    return np.random.default_rng([7, number]).normal(0, 0.005, CANARIES).astype(np.float32)


@pytest.fixture(scope="module")
def included() -> np.ndarray:
    return np.random.default_rng(11).random(CANARIES) < 0.5


@pytest.fixture(scope="module")
def total(included: np.ndarray) -> np.ndarray:
    """The sum of a round without noise, as the mechanism makes it."""
    found = np.zeros(CANARIES, np.int64)
    for number in np.flatnonzero(included):
        found += GRID.rounded(BASE, canary(int(number)))
    for number in range(HONEST):
        found += GRID.rounded(BASE, honest(number))
    return found


def measured(model: np.ndarray, included: np.ndarray) -> float:
    return guessed(model.astype(np.float64), included, MADE).epsilon(DELTA)


def noised(total: np.ndarray, multiplier: float, seed: int) -> np.ndarray:
    source = Expanded(bytes([seed] * 32), "updates")
    return GRID.moved(BASE, Sum(total).noised(GRID.noise_variance(multiplier), source), COHORT)


@pytest.mark.parametrize("seed", range(8))
def test_the_mechanism_is_never_above_its_claim(total: np.ndarray, included: np.ndarray, seed: int) -> None:
    """And the audit sees something: with z = 1.5 a good auditor finds about half of ε."""
    assert 0.9 < measured(noised(total, Z, seed), included) < claimed()


def test_the_rule_is_the_mechanism(total: np.ndarray, included: np.ndarray) -> None:
    """Through the rule, with a tenth of the canaries: to the bit what the audited mechanism makes."""
    some = [int(number) for number in np.flatnonzero(included)[::10]]
    vectors = {f"c-{number}": (lambda number=number: canary(number), 1) for number in some}
    options = PrivateMeanOptions(clip=1.0, noise_multiplier=Z, cohort=COHORT)
    state = {"clip": np.ones(1), "noise_seed": np.full(32, 3, np.uint8)}
    found = PrivateMean(options).aggregate(SomeUpdates(vectors, CANARIES), BASE, state).vector
    alone = np.zeros(CANARIES, np.int64)
    alone[some] = 2**20
    assert np.array_equal(found, noised(alone, Z, 3).astype(np.float32))


# Wrong mechanisms


@pytest.mark.parametrize("seed", range(3))
def test_half_the_noise_is_found(total: np.ndarray, included: np.ndarray, seed: int) -> None:
    assert measured(noised(total, Z / 2, seed), included) > claimed()


def test_noise_that_is_divided_twice_is_found(total: np.ndarray, included: np.ndarray) -> None:
    mean = GRID.moved(BASE, total, COHORT)
    noise = noised(np.zeros_like(total), Z, 1) / COHORT
    assert measured(mean + noise, included) > claimed()


def test_a_forgotten_clip_is_found(total: np.ndarray, included: np.ndarray) -> None:
    """A clipped canary counts 2²⁰ steps in its coordinate; without the clip, ten times as many."""
    assert measured(noised(total + 9 * 2**20 * included, Z, 1), included) > claimed()


def test_a_model_without_noise_is_found(total: np.ndarray, included: np.ndarray) -> None:
    assert measured(GRID.moved(BASE, total, COHORT), included) > claimed()


# The bound itself


def test_it_agrees_with_the_binomial_distribution() -> None:
    """With δ = 0 it is the lower end of the exact (Clopper-Pearson) interval of the share of right ones."""
    from scipy import stats  # takes seconds, which only this test shall pay

    found = Guesses(90, 100, 1000).epsilon(0.0)
    share = stats.beta.ppf(0.05, 90, 11)
    assert found == pytest.approx(math.log(share / (1 - share)), abs=1e-5)


def test_delta_makes_it_weaker() -> None:
    none, some, much = (Guesses(90, 100, 1000).epsilon(delta) for delta in (0.0, 1e-5, 1e-3))
    assert none > some > much


def test_guesses_at_random_refute_nothing() -> None:
    """With 95 % confidence: of 400 audits of a result that tells nothing, 20 are expected to find ε > 0."""
    rng, found = np.random.default_rng(1), 0
    for _ in range(400):
        guesses = guessed(rng.normal(size=1000), rng.random(1000) < 0.5, 100)
        found += guesses.epsilon(0.0) > 0
    assert found < 20 + 3 * math.sqrt(20)


def test_randomized_response_is_measured_rightly() -> None:
    """Each canary's bit is told truly with probability e / (1 + e): ε = 1, refuted in 5 % of audits."""
    rng, made = np.random.default_rng(2), []
    for _ in range(200):
        included = rng.random(1000) < 0.5
        told = np.where(rng.random(1000) < 1 / (1 + math.exp(-1)), included, ~included)
        made.append(guessed(told + rng.random(1000) / 2, included, 500))
    refuted = sum(guesses.chance(1.0, 0.0) <= 0.05 for guesses in made)
    assert refuted < 10 + 3 * math.sqrt(10)
    assert np.mean([guesses.epsilon(0.0) for guesses in made[:10]]) > 0.7


@pytest.mark.parametrize("made", [0, 3, 12])
def test_a_wrong_number_of_guesses_is_refused(made: int) -> None:
    with pytest.raises(ValueError, match="guesses of 10"):
        guessed(np.arange(10.0), np.ones(10, bool), made)
