"""How far one update of a round can move the mean."""

import math
from fractions import Fraction
from statistics import median_low
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedge.algorithms.contribution import Contribution, order
from fedge.algorithms.rules.bounds import (
    BLOCK,
    FEWEST,
    Factors,
    bounded_steps,
    bounds,
    clipped,
    distance,
    distances,
)
from fedge.algorithms.rules.mean import finish, partial

PROPERTY = settings(deadline=None, max_examples=150)
P = 3
USUAL = Factors()
OFF = Factors(clip_norm=0, max_weight=0)
LARGEST = 3.4028235e38
LIAR = 0
"""The place of the liar in what follows."""

ANY = st.floats(allow_nan=False, allow_infinity=False, width=32)
TRAINED = st.floats(-4, 4, width=32)
SAMPLES = st.integers(20, 20_000)


class Sent(NamedTuple):
    """What some devices send: vectors (K, p) and n_k."""

    vectors: list[np.ndarray]
    samples: list[int]


def fleets(lowest: int, highest: int, weight: st.SearchStrategy[float] = TRAINED) -> st.SearchStrategy[Sent]:
    one = st.tuples(arrays(np.float32, P, elements=weight), SAMPLES)
    many = st.lists(one, min_size=lowest, max_size=highest)
    return many.map(lambda sent: Sent([vector for vector, _ in sent], [n for _, n in sent]))


def mean(base: np.ndarray, sent: Sent, scales: tuple[float, ...], weights: tuple[int, ...]) -> np.ndarray:
    contributions = [
        Contribution(f"pi-{k}", weights[k], clipped(base, vector, scales[k]))
        for k, vector in enumerate(sent.vectors)
        if weights[k]
    ]
    return finish(partial(sorted(contributions, key=lambda c: order(c.device))), np.float64)[0]


def norms(base: np.ndarray, sent: Sent) -> list[float]:
    return [distance(base, vector) for vector in sent.vectors]


# ── a norm ─────────────────────────────────────────────────────────────────────────────────────────


@PROPERTY
@given(arrays(np.float32, st.integers(1, 40), elements=ANY))
def test_a_distance_is_that_of_exact_arithmetic(vector: np.ndarray) -> None:
    base = vector[::-1]
    exact = sum((Fraction(float(a)) - Fraction(float(b))) ** 2 for a, b in zip(vector, base, strict=True))
    found = distance(base, vector)
    assert abs(Fraction(found) ** 2 - exact) <= exact * Fraction(len(vector) + 4, 2**50)


@pytest.mark.parametrize("size", [1, 2, 3, 1_000, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_the_order_of_its_sum_is_fixed(size: int) -> None:
    """By halves within a block, with Python's own floats; blocks one after the other."""
    vector = np.random.default_rng(size).normal(size=size).astype(np.float32) * np.float32(1e3)
    total = 0.0
    for start in range(0, size, BLOCK):
        squares = [float(w) * float(w) for w in vector[start : start + BLOCK]]
        squares += [0.0] * (BLOCK - len(squares))
        while len(squares) > 1:
            half = len(squares) // 2
            squares = [a + b for a, b in zip(squares[:half], squares[half:], strict=True)]
        total += squares[0]
    assert distance(np.zeros(size, np.float32), vector) == math.sqrt(total)


@pytest.mark.parametrize("size", [1, 2, 3, 33, 1_000, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_many_distances_are_the_same_bits_as_each_alone(size: int) -> None:
    rng = np.random.default_rng(size)
    base, *vectors = rng.normal(size=(4, size)).astype(np.float32) * np.float32(1e3)
    assert distances(base, np.stack(vectors)) == [distance(base, vector) for vector in vectors]


def test_the_largest_and_the_smallest_differences_have_a_norm() -> None:
    far = np.full(4 * BLOCK, LARGEST, np.float32)
    assert distance(-far, far) == pytest.approx(2 * LARGEST * math.sqrt(len(far)))
    assert distance(np.zeros(1, np.float32), np.full(1, 1e-45, np.float32)) == float(np.float32(1e-45))


# ── what is usual ──────────────────────────────────────────────────────────────────────────────────


@PROPERTY
@given(st.lists(st.floats(0, 1e30), min_size=2, max_size=12), st.floats(0, 1e39))
def test_one_liar_cannot_place_the_median(honest: list[float], lie: float) -> None:
    assert min(honest) <= median_low([*honest, lie]) <= max(honest)


@pytest.mark.parametrize(
    ("values", "median"), [([7], 7), ([9, 1], 1), ([9, 1, 4], 4), ([9, 1, 4, 5], 4), ([3] * 6, 3)]
)
def test_the_median_is_one_of_the_values_the_lower_of_two(values: list[int], median: int) -> None:
    assert median_low(values) == median


# ── what counts ────────────────────────────────────────────────────────────────────────────────────


@PROPERTY
@given(fleets(1, 12, ANY), st.sampled_from([OFF, Factors(1e300, 1e300)]))
def test_where_no_bound_is_reached_no_bit_changes(sent: Sent, factors: Factors) -> None:
    base = np.ones(P, np.float32)
    if not factors.clip_norm or median_low(norms(base, sent)) > 0:
        found = bounds(norms(base, sent), sent.samples, factors)
        assert (set(found.scales), list(found.weights)) == ({1.0}, sent.samples)
        vector = sent.vectors[0]
        assert clipped(base, vector, 1.0) is vector


@PROPERTY
@given(fleets(4, 19), arrays(np.float32, P, elements=ANY), st.integers(1, 2**53))
def test_what_one_liar_of_a_round_can_do_has_a_bound(sent: Sent, lie: np.ndarray, claim: int) -> None:
    """The bound that stands in `rules.bounds`, of any vector and n_k among four honest ones or more."""
    base = np.zeros(P, np.float32)
    everybody = Sent([lie, *sent.vectors], [claim, *sent.samples])
    lengths, K = norms(base, everybody), len(everybody.samples)
    found = bounds(lengths, everybody.samples, USUAL)
    share = found.weights[LIAR] / sum(found.weights)
    assert share <= USUAL.max_weight / (USUAL.max_weight + K // 2) + 1e-12
    with_it = mean(base, everybody, found.scales, found.weights)
    without = mean(base, everybody, found.scales, (0, *found.weights[1:]))
    moved = float(np.linalg.norm(with_it - without))
    clip = USUAL.clip_norm * found.median_norm
    pull = clip / (1 + K // 2)
    assert moved <= (pull + share * float(np.linalg.norm(without))) * (1 + 1e-9) + 1e-300
    assert share * lengths[LIAR] * found.scales[LIAR] <= pull * (1 + 1e-9) + 1e-300
    assert float(np.linalg.norm(with_it)) <= clip * (1 + 1e-9) + 1e-300
    assert min(lengths[1:]) <= found.median_norm <= max(lengths[1:]), "which no liar can place"


LIES = {
    "entries of 3e38": (np.full(P, 3e38, np.float32), 1),
    "of both signs": (np.array([3.4e38, -3.4e38, 3.4e38], np.float32), 1_000_000),
    "times -1000": (np.full(P, -1_000, np.float32), 600),
    "all the samples there can be": (np.full(P, 1.5, np.float32), 1_000_000),
    "zeros": (np.zeros(P, np.float32), 1_000_000),
}


@pytest.mark.parametrize(("lie", "claim"), LIES.values(), ids=LIES)
def test_one_liar_of_twenty(lie: np.ndarray, claim: int) -> None:
    rng = np.random.default_rng(4)
    base = np.ones(P, np.float32)
    directions = [v / np.linalg.norm(v) for v in rng.normal(size=(19, P))]
    honest = [(base + v * rng.uniform(0.8, 1.2)).astype(np.float32) for v in directions]
    counts = [int(n) for n in rng.integers(300, 700, 19)]
    sent = Sent([lie, *honest], [claim, *counts])
    found = bounds(norms(base, sent), sent.samples, USUAL)
    of_the_honest = mean(base, sent, found.scales, (0, *found.weights[1:]))
    assert np.array_equal(of_the_honest, mean(base, sent, (1.0,) * 20, (0, *sent.samples[1:])))
    moved = float(np.linalg.norm(mean(base, sent, found.scales, found.weights) - of_the_honest))
    share = found.weights[LIAR] / sum(found.weights)
    clip = USUAL.clip_norm * found.median_norm
    assert found.weights[LIAR] <= 10 * found.median_samples
    assert share <= 10 / 20
    assert moved <= (clip / 11 + share * float(np.linalg.norm(of_the_honest - base))) * (1 + 1e-9)
    plain = mean(base, sent, (1.0,) * 20, tuple(sent.samples))
    assert float(np.linalg.norm(plain - of_the_honest)) > 1.5 * moved, "the plain mean does not hold"


@PROPERTY
@given(fleets(1, FEWEST - 1, ANY))
def test_of_fewer_than_five_updates_none_is_clipped(sent: Sent) -> None:
    found = bounds(norms(np.zeros(P, np.float32), sent), sent.samples, USUAL)
    assert set(found.scales) == {1.0}


@pytest.mark.parametrize("count", [2, 3, 4])
def test_n_k_is_bounded_in_the_smallest_rounds_too(count: int) -> None:
    found = bounds([1.0] * count, [1_000_000, *[100] * (count - 1)], USUAL)
    assert found.weights == (1_000, *[100] * (count - 1))


def test_where_most_do_not_move_nobody_does() -> None:
    base = np.array([1e-3, 3.7, -2e20], np.float32)
    sent = Sent([np.full(P, 3e38, np.float32), *[base.copy() for _ in range(4)]], [100, 20, 333, 7_001, 13])
    found = bounds(norms(base, sent), sent.samples, USUAL)
    assert found.scales == (0.0, 1.0, 1.0, 1.0, 1.0)
    assert np.array_equal(mean(base, sent, found.scales, found.weights).astype(np.float32), base)


def test_what_an_honest_big_device_loses() -> None:
    """Nineteen with 100 samples each and one with 20,000: it counts as 250, 12 % instead of 91 %."""
    found = bounds([1.0] * 20, [20_000, *[100] * 19], USUAL)
    assert found.weights[0] == 250
    near = bounds([0.25, *[1.0] * 19], [20_000, *[100] * 19], USUAL)
    assert near.weights[0] == 1_000, "as far as it moves the model little"
    far = bounds([2.0, *[1.0] * 19], [20_000, *[100] * 19], USUAL)
    assert far.weights[0] == 125
    beyond = bounds([50.0, *[1.0] * 19], [20_000, *[100] * 19], USUAL)
    assert (beyond.weights[0], beyond.scales[0]) == (100, 2.5 / 50), "as one median in any case"
    assert bounds([1.0] * 20, [20_000, *[100] * 19], Factors(max_weight=0)).weights[0] == 20_000


def test_a_whole_multiple_that_is_no_whole_number_is_rounded_down() -> None:
    assert bounds([1.0] * 3, [5, 5, 9], Factors(max_weight=1.5)).weights == (5, 5, 7)


# ── steps ──────────────────────────────────────────────────────────────────────────────────────────

STEPS = st.integers(1, 10_000)


@PROPERTY
@given(st.lists(STEPS, min_size=2, max_size=19), st.integers(0, 2**63 - 1))
def test_what_the_steps_of_one_liar_count_as_has_a_bound(honest: list[int], claim: int) -> None:
    """From 1 to 10 T, where no liar places T; the honest never count as more steps than they took."""
    counted = bounded_steps([claim, *honest], USUAL)
    median = median_low([max(1, claim), *honest])
    assert min(honest) <= median <= max(honest)
    assert 1 <= counted[LIAR] <= 10 * median
    assert list(counted[1:]) == [min(steps, 10 * median) for steps in honest]


@PROPERTY
@given(st.lists(st.tuples(SAMPLES, STEPS), min_size=19, max_size=19), st.integers(0, 2**63 - 1))
def test_one_liar_of_twenty_changes_the_effective_steps_within_the_bound(
    honest: list[tuple[int, int]], claim: int
) -> None:
    """FedNova's τ_eff = Σ n_k τ_k / Σ n_k, with n_k as much as a liar's may count."""
    samples = [2**53, *(n for n, _ in honest)]
    weights = bounds([1.0] * 20, samples, USUAL).weights
    steps = bounded_steps([claim, *(each for _, each in honest)], USUAL)
    median = median_low([max(1, claim), *(each for _, each in honest)])
    theirs = Fraction(sum(n * t for n, t in zip(weights[1:], steps[1:], strict=True)), sum(weights[1:]))
    effective = Fraction(sum(n * t for n, t in zip(weights, steps, strict=True)), sum(weights))
    share = Fraction(weights[LIAR], sum(weights))
    assert share <= Fraction(1, 2)
    assert -share * theirs < effective - theirs < share * 10 * median
    assert theirs / 2 <= effective <= theirs + 5 * median


@pytest.mark.parametrize(
    ("told", "factor", "counted"),
    [
        ((0, 0, 0), 10.0, (1, 1, 1)),
        ((3, 5, 70), 10.0, (3, 5, 50)),
        ((3, 5, 70), 1.5, (3, 5, 7)),  # 1.5 · 5 = 7.5, rounded down
        ((3, 5, 70), 0.1, (1, 1, 1)),  # not below one step
        ((2**63 - 1, 0, 7), 0.0, (2**63 - 1, 1, 7)),  # without a bound
        ((2**63 - 1,), 10.0, (2**53,)),
    ],
)
def test_steps_that_count(told: tuple[int, ...], factor: float, counted: tuple[int, ...]) -> None:
    assert bounded_steps(told, Factors(max_weight=factor)) == counted


@pytest.mark.parametrize("count", [2, 3, 4])
def test_further_vectors_of_few_updates_are_clipped_too(count: int) -> None:
    """At 4 · 2.5 = 10 median lengths M. A liar adds 10 M / K to a uniform mean; of two, M is the shorter."""
    honest, lie = [1.0, 2.0, 3.0][: count - 1], 1e30
    found = bounds([lie, *honest], [1] * count, USUAL, further=True)
    assert found.scales == (pytest.approx(10 * found.median_norm / lie), *[1.0] * len(honest))
    assert found.median_norm in honest
    assert bounds([lie, *honest], [1] * count, USUAL).scales == (1.0,) * count, "differences are not clipped"
    short = bounds([1e-9, *honest], [1] * count, USUAL, further=True)
    assert short.scales[1] == pytest.approx(1e-8 if count == 2 else 1.0)


def test_one_further_vector_alone_is_not_clipped() -> None:
    assert bounds([1e30], [1], USUAL, further=True).scales == (1.0,)
    assert bounds([1e30, 1.0], [1, 1], Factors(clip_norm=0), further=True).scales == (1.0, 1.0)
