"""Noise of prefix sums by binary trees: DP-FTRL, for devices that seldom take part. Pure.

Kairouz, McMahan, Song, Thakkar, Thakurta and Xu 2021, "Practical and Private (Deep) Learning Without Sampling
or Shuffling", ICML, https://arxiv.org/abs/2103.00039, with restarts; the tree is that of Dwork, Naor, Pitassi
and Rothblum 2010, "Differential Privacy under Continual Observation", STOC, section 3.

The model after round t is a function of x̄_1 + … + x̄_t, each the sum of a round. With a noise for each
round, this prefix has t noises. Here the rounds are cut into blocks of d, and the rounds of a block are the
leaves of a binary tree. Node (l, i) of a block stands for its rounds i 2^l … (i + 1) 2^l - 1, counted from 0,
and has one noise N_Z(0, σ²). The first r rounds of a block are the disjoint union of as many nodes as r has
binary ones. So with t = q d + r the noise of the prefix has the variance

    σ² (q ones(d) + ones(r)),    least where d is a power of two: then ones(d) = 1.

**Sensitivity.** Two participations of a device are at least d rounds apart. So it is in at most one round of
a block, and its x, with ‖x‖ ≤ Δ, is in at most floor(log₂ n) + 1 of the nodes of a block of n rounds: one a
level. No node has two of its participations. With T = Q d + R the values of all nodes change together by at
most √H Δ in Euclidean length,

    H = Q (floor(log₂ d) + 1) + [R > 0] (floor(log₂ R) + 1),

and a device that takes part in rounds 1, d + 1, 2 d + 1, … changes them by exactly that: the first round of a
block is in a node of each level. By composition (Canonne, Kamath and Steinke 2020, Proposition 5) the
training costs what H releases with multiplier z = σ / Δ cost, also if later updates depend on earlier models.

Where d is enforced, a noise for each round costs ceil(T / d) such releases, and the last model has T of them.
So by H (Q ones(d) + ones(R)) < T ceil(T / d) trees give less noise in the last model, at the same ε.
Restarts keep the sensitivity this simple. One tree over all rounds would have fewer noises in a prefix, and
nodes that contain a device several times, whose changes add up.

**What a program that uses it must enforce:**

* Who took part in round t is refused in rounds t + 1 … t + d - 1, whatever was restored, restarted or begun
  anew since. Participations are durable before the sum is released. A new generation goes on with the
  rounds of the old one.
* Each round of the T counts one to the prefix, also one in which nobody came, or which was not released.
* The secret seed is one for the whole training, kept durably: a node's noise is in several models. If it is
  lost, the training ends.
* A round is charged (`fedge.privacy.budget`) with its updates, and after that has no other updates: its
  noise exists once, and the difference of two such models would have none. There is no new attempt.
* The clip is fixed, and each round's sum goes into the prefix with the same factor, which does not depend on
  updates. What follows is post-processing, momentum included.
* As everywhere: only the noised sums leave, and m is declared (`fedge.privacy.mechanism`).
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fedge.privacy.discrete_gaussian import sample
from fedge.privacy.randomness import Expanded
from fedge.privacy.training import Training


@dataclass(frozen=True, order=True)
class Node:
    """The rounds first … first + 2^level - 1 of one block."""

    block: int
    """From 0."""
    level: int
    """0: one round."""
    first: int
    """The first of its rounds, by its place in the block from 0; a multiple of 2^level."""

    @property
    def purpose(self) -> str:
        """Of its noise, in the stream of the secret seed."""
        return f"tree {self.block} {self.level} {self.first}"

    def noise(self, size: int, variance: Fraction, seed: bytes) -> NDArray[np.int64]:
        """N_Z(0, σ²) of shape (p,), each time the same."""
        return sample(variance, size, Expanded(seed, self.purpose))


@dataclass(frozen=True)
class Trees:
    """The trees of a training; all of it is public."""

    rounds: int
    """T."""
    distance: int
    """d: a device that took part takes part again d rounds later at the earliest. T: it takes part once."""

    def __post_init__(self) -> None:
        if not 1 <= self.distance <= self.rounds:
            raise ValueError(
                f"a distance of {self.distance} in {self.rounds} rounds, expected 1 to the number of rounds"
            )

    @property
    def releases(self) -> int:
        """H: the square of the sensitivity of all nodes together, over Δ²."""
        whole, rest = divmod(self.rounds, self.distance)
        return whole * self.distance.bit_length() + rest.bit_length()

    def training(self, multiplier: float) -> Training:
        """What the accountant is told (`fedge.privacy.accountant`); a node's σ is z Δ."""
        return Training(multiplier, self.releases)

    def nodes(self, rounds: int) -> tuple[Node, ...]:
        """The nodes whose noise the sum of the first `rounds` rounds has, those of the first rounds first.

        >>> [(node.block, node.first, 2**node.level) for node in Trees(20, 8).nodes(15)]
        [(0, 0, 8), (1, 0, 4), (1, 4, 2), (1, 6, 1)]

        Raises:
            ValueError: there are not so many rounds.
        """
        self._check(rounds)
        whole, rest = divmod(rounds, self.distance)
        before = [node for block in range(whole) for node in _prefix(block, self.distance)]
        return (*before, *_prefix(whole, rest))

    def change(self, number: int, size: int, variance: Fraction, seed: bytes) -> NDArray[np.int64]:
        """What round `number` adds to the noise of the sum, of shape (p,), in steps.

        All changes up to a round add up to the noise of its nodes: what the round no longer needs is taken
        away. It takes at most 2 log₂ d + 2 nodes, whatever the round.

        Args:
            number: t, from 1.
            size: p.
            variance: σ² of a node: `Grid.noise_variance(z)`.
            seed: the secret seed of the training, 32 bytes.

        Raises:
            ValueError: there is no such round, or the seed has another length.
        """
        self._check(number)
        block, place = divmod(number - 1, self.distance)
        before, after = _prefix(block, place), _prefix(block, place + 1)
        found = np.zeros(size, np.int64)
        for node in after:
            if node not in before:
                found += node.noise(size, variance, seed)
        for node in before:
            if node not in after:
                found -= node.noise(size, variance, seed)
        return found

    def _check(self, rounds: int) -> None:
        if not 1 <= rounds <= self.rounds:
            raise ValueError(f"round {rounds} of {self.rounds}: there is none")


def _prefix(block: int, rounds: int) -> tuple[Node, ...]:
    """The nodes of the first rounds of a block: one for each binary one of their number, largest first."""
    found, first = [], 0
    for level in range(rounds.bit_length() - 1, -1, -1):
        if rounds >> level & 1:
            found.append(Node(block, level, first))
            first += 1 << level
    return tuple(found)
