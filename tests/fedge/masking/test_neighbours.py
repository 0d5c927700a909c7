"""Sizes of neighbourhoods, against the definition of their probabilities; the order; what a cut would be."""

from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import pytest

from fedge.masking.graph import Graph, complete, ring_of
from fedge.masking.thresholds import (
    Neighbourhood,
    at_most,
    colluders_borne,
    default_threshold,
    least_threshold,
    neighbourhood,
)


def tail(devices: int, special: int, drawn: int, least: int) -> Fraction:
    """By counting all draws of a few devices."""
    draws = list(combinations(range(devices), drawn))
    return Fraction(sum(sum(each < special for each in draw) >= least for draw in draws), len(draws))


@pytest.mark.parametrize(("special", "drawn", "least"), [(3, 4, 2), (5, 3, 3), (0, 4, 1), (9, 4, 4)])
def test_tails_are_exact_at_the_bound(special: int, drawn: int, least: int) -> None:
    """9 P ≤ 2^-bits, where bits is the largest whole number for which this holds."""
    found = 9 * tail(9, special, drawn, least)
    bits = next((bits for bits in range(20) if found > Fraction(1, 2**bits)), 20)
    assert bits == 0 or at_most(9, special, drawn, least, bits - 1)
    assert found == 0 or not at_most(9, special, drawn, least, bits)


@pytest.mark.parametrize("devices", [65, 100, 200, 500, 1_000])
@pytest.mark.parametrize(("colluders", "lost"), [(0.05, 0.05), (0.1, 0.1), (0.2, 0.1), (0.1, 0.2)])
def test_a_neighbourhood_is_within_both_probabilities_and_no_smaller_one_is(
    devices: int, colluders: float, lost: float
) -> None:
    c, d = int(colluders * devices), int(lost * devices)
    size = neighbourhood(devices, c, d)
    assert size is not None
    whole = comb(devices, size.half)

    def chance(special: int, least: int, half: int) -> float:
        ways = (comb(special, j) * comb(devices - special, half - j) for j in range(least, half + 1))
        return float(Fraction(devices * sum(ways), comb(devices, half)))

    assert whole > 0
    assert chance(c, size.alive, size.half) <= 2**-80
    assert chance(d, size.half - size.alive + 1, size.half) <= 2**-20
    smaller = size.half - 1
    fits = [a for a in range(1, smaller + 1) if chance(c, a, smaller) <= 2**-80]
    assert not fits or chance(d, smaller - fits[0] + 1, smaller) > 2**-20


def test_few_devices_and_hopeless_shares_share_with_all() -> None:
    assert neighbourhood(64, 6, 6) is None
    assert neighbourhood(100, 45, 45) is None
    assert neighbourhood(1_000, 100, 100) == Neighbourhood(63, 40)
    assert (Neighbourhood(63, 40).threshold, Neighbourhood(63, 40).degree) == (80, 126)
    curious = neighbourhood(1_000, 100, 100, grinding_bits=0)
    assert curious == Neighbourhood(45, 26), "nobody tries orders: 2⁻⁴⁰ instead of 2⁻⁸⁰"


@pytest.mark.parametrize("devices", [3, 4, 9, 10, 64, 100, 1_000])
def test_thresholds_bear_less_than_a_third(devices: int) -> None:
    """2t > n + c for c < n/3, and not for one colluder more than what is borne."""
    threshold = default_threshold(devices)
    borne = colluders_borne(devices, threshold)
    assert borne >= -(-devices // 3) - 1
    assert 2 * threshold > devices + borne
    assert not 2 * threshold > devices + borne + 1
    assert least_threshold(devices, lying=False) > devices / 2
    assert least_threshold(devices, lying=True) == threshold <= devices


def test_neighbours_are_mutual_and_the_order_follows_from_the_seed() -> None:
    members = range(0, 200, 2)
    size = Neighbourhood(8, 5)
    graph = ring_of(members, size, b"one seed")
    assert sorted(graph.order) == [*members]
    assert graph == ring_of(members, size, b"one seed")
    assert graph.order != ring_of(members, size, b"another").order
    for member in members:
        near = graph.neighbours(member)
        assert len(set(near) - {member}) == 16
        assert all(member in graph.neighbours(other) for other in near)
        assert len(graph.holders(member)) == 17
    assert complete([1, 2, 5], 2).neighbours(2) == [1, 5]


@pytest.mark.slow
def test_orders_are_even() -> None:
    """Of 600 orders of three, each of the six has 100 in the mean; χ² with 5 degrees below 30 (p < 2e-5)."""
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(600):
        order = ring_of(range(3), Neighbourhood(1, 1), seed.to_bytes(2, "big")).order
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 30


def parts(graph: Graph, alive: set[int]) -> int:
    """Into how many groups survivors fall."""
    left, found = set(alive), 0
    while left:
        found += 1
        reached = [left.pop()]
        while reached:
            near = left & set(graph.neighbours(reached.pop()))
            left -= near
            reached += near
    return found


def test_who_passes_the_check_is_connected_and_has_enough_shares() -> None:
    """Also without the worst placed colluders, fewer than a of w in a row; a cut of the ring is refused."""
    rng = np.random.default_rng(2)
    size = Neighbourhood(4, 2)
    graph = ring_of(range(40), size, b"seed")
    passed = 0
    for _ in range(2_000):
        alive = {at for at in range(40) if rng.random() < 0.75}
        if graph.holds(alive):
            passed += 1
            windows = [[graph.order[(at + step) % 40] for step in range(4)] for at in range(40)]
            assert all(len(alive & set(window)) >= 2 for window in windows)
            assert all(len(alive & set(graph.holders(each))) >= size.threshold for each in range(40))
            helpers = set[int]()
            for each in rng.permutation(sorted(alive)):
                more = helpers | {int(each)}
                if all(len(more & set(window)) < 2 for window in windows):
                    helpers = more
            assert parts(graph, alive - helpers) == 1
    assert 100 < passed < 1_900
    victim = graph.order[10]
    alone = set(range(40)) - set(graph.neighbours(victim))
    assert parts(graph, alone) == 2
    assert not graph.holds(alone), "nobody signs survivors among whom one is alone"
