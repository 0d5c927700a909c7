"""Bucketing: the updates are shuffled, and each s of them are replaced by their mean, before a rule.

Karimireddy, He and Jaggi 2022, "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing", ICLR,
https://arxiv.org/abs/2006.09365, Algorithm 1: a random permutation, then the means of ⌈n / s⌉ buckets of s
(the last may be smaller).

**Assumes** that at most f of the ⌈n / s⌉ buckets have a liar, as many as there are liars; the rule has to
stand f of ⌈n / s⌉ then. For a rule that needs 2 f + 1 of them this is s < n / (2 f), the paper's condition on
s. **Bound** (the paper's lemma on bucketing): the means of s honest updates differ from each other by s times
less (in the expected square), and f liars spoil at most f of them. So the rule's own bound holds, with
⌈n / s⌉ in place of n.

The permutation is drawn from a hash of the round's base. So no device chooses its place, and the same round
computed again has the same bits. Everybody who has the model can compute it before the updates are sent:
against liars who work together it is as good as any fixed permutation, and the bound counts on no more.
It permutes the fixed order of the updates, so which devices share a bucket depends on their names.

**Cost** O(n p), no memory beyond the buffer.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray


def permutation(number: int, base: NDArray[np.float32]) -> list[int]:
    """The rows 0 … n - 1, by the SHA-256 of the base's digest and the row's number."""
    drawn = hashlib.sha256(b"bucketing/1\n" + np.ascontiguousarray(base, "<f4").tobytes()).digest()
    return sorted(range(number), key=lambda row: hashlib.sha256(drawn + row.to_bytes(8, "big")).digest())


def buckets(number: int, base: NDArray[np.float32], size: int) -> list[list[int]]:
    """The rows of each bucket."""
    order = permutation(number, base)
    return [order[start : start + size] for start in range(0, number, size)]
