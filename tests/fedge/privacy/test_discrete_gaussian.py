"""Samples of the discrete Gaussian: their distribution, the same seed, the exact decisions, the limits."""

import hashlib
import itertools
import math
import random
from fractions import Fraction

import numpy as np
import pytest

from fedge.privacy import discrete_gaussian
from fedge.privacy.discrete_gaussian import THRESHOLDS, candidate, sample
from fedge.privacy.exponential import leading
from fedge.privacy.randomness import Expanded, System, Words

SEED = bytes(range(32))
SIGMAS = (Fraction(1, 2), Fraction(1), Fraction(33, 10), Fraction(100), Fraction(2**20))
DOUBT = 1e-4
"""A right sampler fails a test at this level once in 10,000 seeds; the seeds are fixed."""
FROZEN = [-180, 620, 132, 102, 882, 1621, 386, 1433]
FROZEN_DIGEST = "aab7bb26329730c723cd5d15e9f243a3d2192acd62af36c6cfabf72878d38b2c"


class Given:
    """A source that gives fixed words, and counts how many further ones are asked for."""

    def __init__(self, words: list[int], spares: list[int]) -> None:
        self._words, self._spares = words, spares

    def words(self, count: int) -> Words:
        more = np.tile(np.array(self._words, np.uint64), -(-count // len(self._words)))
        return more[:count]

    def spare(self) -> int:
        return self._spares.pop(0)


# A twin after the paper's text, on its own random bits


def bernoulli_exp(g: Fraction, rng: random.Random) -> bool:
    """Algorithm 1."""
    while g > 1:
        if not bernoulli_exp(Fraction(1), rng):
            return False
        g -= 1
    for k in itertools.count(1):
        if rng.randrange(g.denominator * k) >= g.numerator:
            return k % 2 == 1
    raise AssertionError


def discrete_laplace(t: int, rng: random.Random) -> int:
    """Algorithm 2, with s = 1."""
    while True:
        u = rng.randrange(t)
        if not bernoulli_exp(Fraction(u, t), rng):
            continue
        v = 0
        while bernoulli_exp(Fraction(1), rng):
            v += 1
        y, negative = u + t * v, rng.randrange(2)
        if not (negative and y == 0):
            return -y if negative else y


def twin(variance: Fraction, rng: random.Random) -> int:
    """Algorithm 3."""
    t = math.isqrt(math.floor(variance)) + 1
    while True:
        y = discrete_laplace(t, rng)
        if bernoulli_exp((abs(y) - variance / t) ** 2 / (2 * variance), rng):
            return y


# Distribution


def chi_square(found: np.ndarray, sigma: Fraction) -> float:
    """The p-value of samples, by numbers or ranges; what is expected less than 10 times is added to one."""
    from scipy import stats  # takes seconds, which only these tests shall pay

    width = max(1, int(sigma) // 8)
    reach = 12 * math.ceil(sigma) // width + 2
    values = np.arange(-reach * width, (reach + 1) * width)
    density = np.exp(-(values.astype(float) ** 2) / (2 * float(sigma) ** 2))
    chances = (density / density.sum()).reshape(-1, width).sum(axis=1)
    cells = np.bincount((found + reach * width) // width, minlength=len(chances))
    expected = chances * len(found)
    some = expected >= 10
    seen, wanted = cells[some], expected[some]
    seen[-1] += cells[~some].sum()
    wanted[-1] += expected[~some].sum()
    return float(stats.chisquare(seen, wanted).pvalue)


@pytest.mark.parametrize("sigma", SIGMAS[:-1], ids=str)
def test_samples_have_the_exact_probabilities(sigma: Fraction) -> None:
    assert chi_square(sample(sigma**2, 200_000, Expanded(SEED, "chi")), sigma) > DOUBT


def test_with_a_very_large_sigma_the_distribution_is_the_normal_one() -> None:
    """At σ = 2²⁰ the two distribution functions differ by less than 1 / σ = 1e-6; the test sees 4e-3."""
    from scipy import stats  # takes seconds, which only these tests shall pay

    found = sample(Fraction(2**40), 200_000, Expanded(SEED, "chi"))
    assert stats.kstest(found / 2**20, "norm").pvalue > DOUBT
    odd = int((found & 1).sum())
    assert stats.binomtest(odd, len(found)).pvalue > DOUBT, "also the last bit is random"


@pytest.mark.parametrize("sigma", [Fraction(1, 2), Fraction(33, 10)], ids=str)
def test_it_agrees_with_a_twin_after_the_papers_text(sigma: Fraction) -> None:
    from scipy import stats  # takes seconds, which only these tests shall pay

    rng = random.Random(5)
    ours = sample(sigma**2, 20_000, Expanded(SEED, "twin"))
    theirs = np.array([twin(sigma**2, rng) for _ in range(20_000)])
    assert chi_square(theirs, sigma) > DOUBT
    values = range(-2, 3)
    counts = [[int((each == value).sum()) for value in values] for each in (ours, theirs)]
    assert stats.chi2_contingency(counts).pvalue > DOUBT


def test_samples_are_independent_of_their_neighbours() -> None:
    found = sample(Fraction(9), 100_000, Expanded(SEED, "pairs")).astype(float)
    for lag in (1, 2, 7):
        assert abs(np.corrcoef(found[:-lag], found[lag:])[0, 1]) < 4 / math.sqrt(len(found))


# The same bits


@pytest.mark.parametrize("sigma", SIGMAS, ids=str)
@pytest.mark.parametrize("margin", [1.0, 0.01])
def test_whole_numbers_alone_decide_the_same(
    sigma: Fraction, margin: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a margin of 1 nothing is decided in float64; with .01, some candidates of each kind."""
    fast = sample(sigma**2, 2000, Expanded(SEED, "exact"))
    monkeypatch.setattr(discrete_gaussian, "MARGIN", margin)
    assert np.array_equal(sample(sigma**2, 2000, Expanded(SEED, "exact")), fast)


def test_the_samples_of_a_seed_never_change() -> None:
    """Frozen: a closed round is computed again to the bit, by later versions and on other machines."""
    found = sample(Fraction(10**6), 100_000, Expanded(SEED, "frozen"))
    assert found[:8].tolist() == FROZEN
    assert hashlib.sha256(found.astype("<i8").tobytes()).hexdigest() == FROZEN_DIGEST


def test_fewer_samples_are_the_first_ones_of_more() -> None:
    more = sample(Fraction(9), 300_000, Expanded(SEED, "first"))
    for count in (0, 1, 17, 5000):
        assert np.array_equal(sample(Fraction(9), count, Expanded(SEED, "first")), more[:count])


def test_another_seed_or_purpose_gives_other_samples() -> None:
    one, other, third = (
        sample(Fraction(10**6), 50, source)
        for source in (Expanded(SEED, "a"), Expanded(SEED, "b"), Expanded(SEED[::-1], "a"))
    )
    assert (one != other).sum() > 40
    assert (one != third).sum() > 40


def test_the_system_gives_other_samples_each_time() -> None:
    one, other = (sample(Fraction(10**6), 50, System()) for _ in range(2))
    assert (one != other).sum() > 40


# Digits beyond the first 64


BORDER = [0, 0, 2**64 - 1, leading(Fraction(1, 8), 64)]
"""With σ = 1/2, y = 0 is certain, and the last decision, of p = e^(-1/8), needs more than 64 digits."""


@pytest.mark.parametrize(("further", "made"), [(0, 0), (2**64 - 1, None)])
def test_equal_first_digits_are_decided_by_the_next_ones(further: int, made: int | None) -> None:
    assert candidate(Fraction(1, 4), BORDER, Given([], [further])) == made


def test_the_batch_leaves_equal_first_digits_to_the_next_ones() -> None:
    first = sample(Fraction(1, 4), 2, Given([*BORDER, 0, 0, 2**62, 0], [2**64 - 1, 0] * 20))
    assert first.tolist() == [1, 0], "the first candidate is refused, the third kept"


@pytest.mark.parametrize("further", [0, 2**64 - 1])
def test_a_word_equal_to_a_threshold_is_undecided(further: int) -> None:
    """The word lies on the border between v = 2 and v = 3: the next digits tell on which side."""
    word = int(THRESHOLDS[-3])
    assert word == leading(Fraction(3), 64)
    words = [0, 0, word, 0]
    expected = 3 if further == 0 else 2
    assert candidate(Fraction(1, 4), words, Given([], [further] * 3)) == expected
    assert sample(Fraction(1, 4), 1, Given(words, [further] * 99)).tolist() == [expected]


# Limits


@pytest.mark.parametrize("variance", [Fraction(0), Fraction(-1), Fraction(2**80 + 1), Fraction(1, 2**41)])
def test_a_variance_out_of_range_is_refused(variance: Fraction) -> None:
    with pytest.raises(ValueError, match="variance"):
        sample(variance, 1, System())


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="-1 samples"):
        sample(Fraction(1), -1, System())


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes, expected 32"):
        Expanded(bytes(16), "noise")


@pytest.mark.parametrize("variance", [Fraction(1, 2**40), Fraction(2**80)], ids=["least", "most"])
def test_the_limits_themselves_work(variance: Fraction) -> None:
    found = sample(variance, 10_000, Expanded(SEED, "limits"))
    if variance < 1:
        assert not found.any(), "P(x = ±1) = exp(-2³⁹)"
    else:
        assert abs(found.std() / 2.0**40 - 1) < 5 / math.sqrt(2 * len(found))


def test_words_do_not_depend_on_how_the_calls_are_divided() -> None:
    parts, whole = Expanded(SEED, "w"), Expanded(SEED, "w")
    divided = [parts.words(count) for count in (1, 0, 200_000, 7)]
    parts.spare()
    divided.append(parts.words(50_000))
    assert np.array_equal(np.concatenate(divided), whole.words(250_008))
