"""The mean of the devices' weights by sample count, Σ n_k w_k / Σ n_k: FedAvg's rule.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas, "Communication-Efficient Learning of Deep Networks from
Decentralized Data", AISTATS 2017, https://arxiv.org/abs/1602.05629, Algorithm 1.

Float addition is not associative, so the *shape of the sum* is part of the result (law 5):

1. n_k · w_k in float64;
2. within a lane, added one after the other in the order of the device ids;
3. the 256 lanes added by a binary tree over their numbers; an empty lane is no summand;
4. divided by Σ n_k, and only then rounded, once, to float32.

So the mean is a function of the *set* of contributions. The sum over an aligned range of lanes is a node of
that tree, and a node is the sum of its two halves, whichever process computed them.

The result is within one float32 unit of the exact mean unless the summands cancel: in float64 each of the K
sums may err by 2⁻⁵³ of Σ n_k |w_k|. For the same reason a common factor of all n_k may change the last bit,
because each product is rounded again; a power of two does not.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fedge.algorithms.contribution import LANES, MAX_SAMPLES, Contribution, order
from fedge.algorithms.protocols import Combined, Rule, State, Updates
from fedge.algorithms.registry import Entry, Options

Vector = NDArray[np.float64]

UNBOUNDED = "mean/1"
"""The rule of rounds closed by 0.2.0: this mean, of unbounded updates."""
RULE = "mean/2"
"""The rule that a closed round records: this mean, of updates within `fedge.algorithms.rules.bounds`. A
change of any bit of any mean needs a new version."""
UNIFORM = "mean-uniform/1"
"""The same sum with n_k = 1 for each device."""
BLOCK = 16_384
"""Entries multiplied at a time: 128 KiB of products, still in the cache when they are added."""


@dataclass(frozen=True, eq=False)
class Partial:
    """A node of the tree: the sum over all devices of an aligned range of lanes.

    Aligned means 2^j lanes that begin at a multiple of 2^j. It is a value: nothing may write to `total`.
    """

    lanes: range
    samples: int
    """Σ n_k, exact."""
    total: Vector | None
    """Σ n_k w_k of shape (p,); None if no device contributed, which adds nothing, not even +0.0."""

    def __post_init__(self) -> None:
        _require_aligned(self.lanes)


def partial(contributions: Iterable[Contribution], lanes: range = LANES) -> Partial:
    """Add up the contributions of all devices of `lanes`, an aligned range, in one pass.

    They must come in the `order` of their devices, and may be made one at a time: besides the current one, at
    most log2(len(lanes)) + 1 vectors are held, however many there are.

    Raises:
        ValueError: a device is out of order, occurs twice or is in another lane; its n_k is not a whole
            number in 0…2^53; or the lengths of the vectors differ.
    """
    _require_aligned(lanes)
    stream = _Sum(contributions, lanes)
    total = stream.tree(lanes)
    stream.require_end()
    return Partial(lanes, stream.samples, total)


def finish(whole: Partial, dtype: DTypeLike = np.float32) -> tuple[NDArray[Any], int]:
    """Divide the sum over all lanes by n = Σ n_k and round once: the mean of shape (p,), and n.

    Raises:
        ValueError: lanes are missing, or n is 0, which has no mean (zeros would erase the model).
    """
    if whole.lanes != LANES:
        raise ValueError(f"a mean is over all lanes {LANES}, this partial sum is over {whole.lanes}")
    if whole.total is None or whole.samples == 0:
        raise ValueError("no samples, so no mean: keep the model as it is")
    return (whole.total / np.float64(whole.samples)).astype(dtype), whole.samples


class _Sum:
    """One pass over the contributions; vectors that are no longer needed are reused for later lanes."""

    def __init__(self, contributions: Iterable[Contribution], lanes: range) -> None:
        self.samples = 0
        self._lanes = lanes
        self._ahead = self._checked(contributions)
        self._next = next(self._ahead, None)
        self._spent: list[Vector] = []
        self._products = np.empty(BLOCK)

    def tree(self, lanes: range) -> Vector | None:
        """The sum over `lanes`, the next ones in the stream. The recursion forms the tree."""
        if self._next is None or self._next[0] >= lanes.stop:
            return None
        if len(lanes) == 1:
            return self._lane(lanes.start)
        low, high = _halves(lanes)
        left, right = self.tree(low), self.tree(high)
        if left is None or right is None:
            return right if left is None else left
        left += right
        self._spent.append(right)
        return left

    def require_end(self) -> None:
        if self._next is not None:
            raise ValueError(f"device {self._next[1].device!r} is in none of the lanes {self._lanes}")

    def _lane(self, lane: int) -> Vector | None:
        total: Vector | None = None
        while self._next is not None and self._next[0] == lane:
            contribution = self._next[1]
            if total is None:
                total = self._spent.pop() if self._spent else np.empty(contribution.vector.shape)
                _multiply(contribution.vector, contribution.samples, total)
            else:
                self._add(total, contribution)
            self.samples += contribution.samples
            self._next = next(self._ahead, None)
        return total

    def _add(self, total: Vector, contribution: Contribution) -> None:
        samples, vector = contribution.samples, contribution.vector
        for start in range(0, len(total), BLOCK):
            block = total[start : start + BLOCK]
            products = self._products[: len(block)]
            _multiply(vector[start : start + BLOCK], samples, products)
            block += products

    def _checked(self, contributions: Iterable[Contribution]) -> Iterator[tuple[int, Contribution]]:
        last: tuple[int, str] | None = None
        shape: tuple[int, ...] | None = None
        for contribution in contributions:
            device, samples, vector = contribution.device, contribution.samples, contribution.vector
            key = order(device)
            if last is not None and key <= last:
                fault = "contributes twice" if key == last else f"comes after {last[1]!r}: sort by `order`"
                raise ValueError(f"device {device!r} {fault}")
            if type(samples) is not int or not 0 <= samples <= MAX_SAMPLES:
                raise ValueError(f"device {device!r}: n_k must be an int in 0…2^53, got {samples!r}")
            if vector.ndim != 1 or vector.shape != (shape or vector.shape):
                raise ValueError(
                    f"device {device!r}: a vector of shape {vector.shape}, expected {shape or '(p,)'}"
                )
            last, shape = key, vector.shape
            yield key[0], contribution


def _multiply(vector: NDArray[np.floating[Any]], samples: int, out: Vector) -> None:
    # The dtype is explicit because NumPy 1 gives a float32 product of a float32 array and a number.
    np.multiply(vector, samples, out=out, dtype=np.float64)


def _halves(lanes: range) -> tuple[range, range]:
    middle = lanes.start + len(lanes) // 2
    return range(lanes.start, middle), range(middle, lanes.stop)


def _require_aligned(lanes: range) -> None:
    size = len(lanes)
    within = lanes.step == 1 and lanes.start >= 0 and lanes.stop <= len(LANES)
    if not within or size == 0 or size & (size - 1) or lanes.start % size:
        raise ValueError(f"{lanes} is not aligned: 2^j lanes of {LANES}, beginning at a multiple of 2^j")


class MeanOptions(Options):
    """Options of the mean."""

    weights: Literal["samples", "uniform"] = "samples"
    """`samples`: a device counts by its n_k; `uniform`: each device counts the same."""


class Mean(Rule):
    """The weighted mean of the bounded updates; of the base it uses only the type."""

    def __init__(self, options: MeanOptions | None = None) -> None:
        self._uniform = options is not None and options.weights == "uniform"
        self.version = UNIFORM if self._uniform else RULE
        self.weighted = not self._uniform

    def aggregate(self, updates: Updates, base: NDArray[np.float32], state: State) -> Combined:
        """Σ n_k w_k / Σ n_k, or Σ w_k / K of the K updates; rounded once to the type of the base."""
        counted = updates.lanes()
        if self._uniform:
            counted = (replace(each, samples=1) for each in counted)
        vector, _ = finish(partial(counted), base.dtype)
        return Combined(vector)


ENTRY = Entry("rule", "mean", Mean, MeanOptions)
