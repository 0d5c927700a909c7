"""The noise of prefix sums: its variance, its sensitivity over all patterns of participation, its audit."""

import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedge.privacy import tree
from fedge.privacy.accountant import guarantee, multiplier_for
from fedge.privacy.audit import guessed
from fedge.privacy.mechanism import Grid
from fedge.privacy.tree import Node, Trees

SEED = bytes(range(32))
DELTA = 1e-5


def covers(node: Node, distance: int) -> range:
    """The rounds of a node, from 0."""
    first = node.block * distance + node.first
    return range(first, first + 2**node.level)


def all_nodes(trees: Trees) -> set[Node]:
    """Those that any prefix has."""
    return {node for number in range(1, trees.rounds + 1) for node in trees.nodes(number)}


shapes = st.integers(1, 60).flatmap(lambda T: st.tuples(st.just(T), st.integers(1, T)))


# What a prefix has


@given(shapes)
def test_the_nodes_of_a_prefix_are_its_rounds_each_once(shape: tuple[int, int]) -> None:
    trees = Trees(*shape)
    for number in range(1, trees.rounds + 1):
        rounds = [one for node in trees.nodes(number) for one in covers(node, trees.distance)]
        assert rounds == list(range(number))


@pytest.mark.parametrize(("rounds", "distance"), [(13, 13), (13, 4), (9, 1), (11, 6)])
def test_the_changes_add_up_to_the_noise_of_the_nodes(rounds: int, distance: int) -> None:
    trees, total = Trees(rounds, distance), np.zeros(50, np.int64)
    for number in range(1, rounds + 1):
        total += trees.change(number, 50, Fraction(10**6), SEED)
        assert np.array_equal(total, sum(n.noise(50, Fraction(10**6), SEED) for n in trees.nodes(number)))


@pytest.mark.parametrize(("rounds", "distance"), [(15, 15), (12, 4), (11, 6)])
def test_the_variance_of_prefixes(rounds: int, distance: int) -> None:
    """σ² (q ones(d) + ones(r)): the mean square of 40,000 entries is off by √(2 / 40,000) = .7 % usually."""
    trees, total, size = Trees(rounds, distance), np.zeros(40_000, np.int64), 40_000
    for number in range(1, rounds + 1):
        total += trees.change(number, size, Fraction(400), SEED)
        whole, rest = divmod(number, distance)
        expected = 400 * (whole * distance.bit_count() + rest.bit_count())
        assert np.mean(total**2) == pytest.approx(expected, rel=0.035)


def test_no_two_nodes_have_the_same_noise() -> None:
    nodes = sorted(all_nodes(Trees(40, 12)))
    noises = {node.noise(8, Fraction(10**12), SEED).tobytes() for node in nodes}
    assert len(noises) == len(nodes)
    other = {node.noise(8, Fraction(10**12), bytes(32)).tobytes() for node in nodes}
    assert not noises & other


# Sensitivity


@st.composite
def patterns(draw: st.DrawFn) -> tuple[Trees, list[int]]:
    """Rounds in which a device takes part, from 0, at least d apart."""
    trees = Trees(*draw(shapes))
    found, at = [], draw(st.integers(0, trees.distance))
    while at < trees.rounds:
        found.append(at)
        at += trees.distance + draw(st.sampled_from([0, 0, 1, trees.distance // 2, trees.distance]))
    return trees, found


@given(patterns(), st.integers(0, 2**32))
def test_no_pattern_changes_the_nodes_by_more(pattern: tuple[Trees, list[int]], seed: int) -> None:
    """With changes of any direction, and of the length 1, the nodes change by at most √H."""
    trees, rounds = pattern
    assert all(later - earlier >= trees.distance for earlier, later in pairwise(rounds))
    rng = np.random.default_rng(seed)
    changes = {number: unit(rng.normal(size=3)) for number in rounds}
    square = 0.0
    for node in all_nodes(trees):
        inside = [changes[one] for one in covers(node, trees.distance) if one in changes]
        square += float(np.square(np.sum(inside, axis=0)).sum()) if inside else 0.0
    assert square <= trees.releases + 1e-9


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


@given(shapes)
def test_one_pattern_changes_them_by_exactly_that(shape: tuple[int, int]) -> None:
    """Rounds 0, d, 2 d, …: so H could not be smaller."""
    trees = Trees(*shape)
    rounds = set(range(0, trees.rounds, trees.distance))
    counts = [len(rounds & set(covers(node, trees.distance))) for node in all_nodes(trees)]
    assert sum(count**2 for count in counts) == trees.releases
    assert max(counts) == 1


def test_closer_participations_would_cost_more() -> None:
    """What the program must enforce: the first two rounds of a tree of 4, instead of one of them."""
    trees = Trees(4, 4)
    counts = [len({0, 1} & set(covers(node, 4))) for node in all_nodes(trees)]
    assert sum(count**2 for count in counts) == 9 > trees.releases == 3


# Its price


def test_a_device_that_takes_part_once_costs_a_release_a_level() -> None:
    trees = Trees(1024, 1024)
    assert trees.releases == 11
    z = multiplier_for(4.0, trees.training(1.0), DELTA)
    assert guarantee(trees.training(z), DELTA).epsilon == pytest.approx(4.0, abs=1e-4)
    independent = multiplier_for(4.0, Trees(1, 1).training(1.0), DELTA) * math.sqrt(1024)
    assert z < 0.11 * independent, "in the last model, which has one noise or 1024; √11 / √1024 is .104"


def test_with_a_distance_of_one_it_is_noise_for_each_round() -> None:
    trees = Trees(30, 1)
    assert trees.releases == 30
    assert len(trees.nodes(30)) == 30


@pytest.mark.parametrize(("rounds", "distance"), [(0, 0), (5, 0), (5, 6)])
def test_a_distance_out_of_range_is_refused(rounds: int, distance: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to the number of rounds"):
        Trees(rounds, distance)


@pytest.mark.parametrize("number", [0, 6])
def test_a_round_that_is_not_there_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="there is none"):
        Trees(5, 2).change(number, 3, Fraction(1), SEED)


# Its audit: canaries that take part in the first round of each block, each in a coordinate of its own

CANARIES, MADE, Z = 20_000, 400, 4.5
AUDITED = Trees(12, 4)
BLOCKS = 3
GRID = Grid(1.0, CANARIES)
INCLUDED = np.random.default_rng(11).random(CANARIES) < 0.5


def observed(seed: bytes, multiplier: float, blocks: int) -> np.ndarray:
    """What is known of the blocks' nodes from the noised prefixes, of shape (3 blocks, 3 levels, canaries).

    The auditor knows that canaries take part in the first round of the first `blocks` blocks, and nobody in
    another. So the change of the prefix from a block's beginning to its rounds 1, 2 and 4 is a node each.
    """
    at, found = np.zeros(CANARIES, np.int64), []
    variance = GRID.noise_variance(multiplier)
    for number in range(1, AUDITED.rounds + 1):
        block, place = divmod(number - 1, AUDITED.distance)
        if place == 0:
            begun = at.copy()
            at = at + INCLUDED * (1 << GRID.bits) * (block < blocks)
        at = at + AUDITED.change(number, CANARIES, variance, seed)
        if (place + 1).bit_count() == 1:
            found.append(at - begun)
    return np.array(found, np.float64).reshape(BLOCKS, 3, CANARIES)


def everywhere(seed: bytes, multiplier: float = Z) -> float:
    """The ε that is refuted with canaries in each block; all nodes have the same signal."""
    return refuted(observed(seed, multiplier, BLOCKS).sum((0, 1)))


def in_one_block(seed: bytes, multiplier: float = Z) -> float:
    """The ε that is refuted with canaries in the first block, which is compared with the second."""
    nodes = observed(seed, multiplier, 1)
    return refuted((nodes[0] - nodes[1]).sum(0))


def refuted(scores: np.ndarray) -> float:
    return guessed(scores, INCLUDED, MADE).epsilon(DELTA)


def claimed() -> float:
    """Of normal noise, which is less than what is claimed for discrete noise: nine releases with z = 4.5."""
    return guarantee(replace(AUDITED.training(Z), noise="normal"), DELTA).epsilon


@pytest.mark.parametrize("seed", range(4))
def test_it_is_never_above_its_claim(seed: int) -> None:
    """And the audit sees something."""
    assert 0.9 < everywhere(bytes([seed] * 32)) < claimed()
    assert in_one_block(bytes([seed] * 32)) < claimed()


@pytest.mark.parametrize("seed", range(2))
def test_half_the_noise_is_found(seed: int) -> None:
    assert everywhere(bytes([seed] * 32), Z / 2) > claimed()


def test_a_noise_that_is_used_for_several_blocks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree.Node, "purpose", property(lambda node: f"tree {node.level} {node.first}"))
    assert in_one_block(SEED) > claimed()


def test_a_node_without_noise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def noise(node: Node, size: int, variance: Fraction, seed: bytes) -> np.ndarray:
        return np.zeros(size, np.int64) if node.level == 2 else real(node, size, variance, seed)

    real = Node.noise
    monkeypatch.setattr(tree.Node, "noise", noise)
    nodes = observed(SEED, Z, BLOCKS)
    assert refuted(nodes[0, 2]) > claimed()
