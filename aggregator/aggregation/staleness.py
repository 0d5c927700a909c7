"""How much an update from an older model counts, and from where.

Nguyen, Malik, Zhan, Yousefpour, Rabbat, Malek, Huba, "Federated Learning with Buffered Asynchronous
Aggregation", AISTATS 2022, https://arxiv.org/abs/2106.06639, Algorithm 1 and section 5 (the weight of a stale
update, 1/√(1 + τ), of Xie, Koyejo, Gupta, "Asynchronous Federated Optimization", 2019).

An update of staleness τ began from the model w_b and ends at w_k. It counts as a step from the newest model:

    w + (w_k - w_b)    with the weight    n_k · s(τ),    s(τ) = 1/√(1 + τ),

where w is the newest model.

The weighted sum is divided by the sum of the weights, so the server's step has the length of one device's.

Rules count with whole numbers, so that their sums are exact in any order. So all weights of a round are
multiplied by one power of two, 2^e, and rounded: s(τ) is exact to 2^-e. A power of two changes no bit of a
mean, and where no update of the round is stale, the weights are the n_k themselves. So such a round has the
bits of a round without buffer.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.contribution import MAX_SAMPLES

Vector = NDArray[np.floating[Any]]

MOST_BITS = 30
"""e: s(τ) is a multiple of 2^-30, as long as the weights stay below 2^53."""


def discounted(weights: Sequence[int], staleness: Sequence[int]) -> tuple[int, ...]:
    """The weights n_k · s(τ) as whole numbers, all in one unit.

    >>> discounted((3, 5), (0, 0))
    (3, 5)
    >>> two, one = discounted((1, 1), (0, 3))
    >>> two / one
    2.0

    Args:
        weights: n_k of each update of a round, bounded, at least 1 each.
        staleness: τ of each, in the same order.
    """
    if not any(staleness):
        return tuple(weights)
    bits = max(0, min(MOST_BITS, MAX_SAMPLES.bit_length() - 1 - max(weights).bit_length()))
    return tuple(
        max(1, n * round(2**bits / math.sqrt(1 + tau))) for n, tau in zip(weights, staleness, strict=True)
    )


def moved(base: Vector, vector: Vector, began: Vector) -> NDArray[np.float64]:
    """`base` + (`vector` - `began`), in float64, of shape (p,): the step of a stale update from the newest
    model."""
    found: NDArray[np.float64] = np.subtract(vector, began, dtype=np.float64)
    found += base
    return found
