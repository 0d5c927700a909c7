"""Slow and obvious twins of the robust rules, of all updates at once, from the formulas of their papers."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fedge.algorithms.contribution import order

Array = Any
"""Of float64."""
Way = Callable[[Array, Sequence[float], Array, int], Array]
"""From rows (n, p), their n_k, the base and f to a vector (p,)."""


def by_digest(matrix: Array, samples: Sequence[float]) -> list[int]:
    """The rows in the order in which ties are broken."""
    return sorted(
        range(len(matrix)),
        key=lambda k: hashlib.sha256(
            (matrix[k] + 0.0).tobytes() + np.float64(samples[k]).tobytes()
        ).hexdigest(),
    )


def median(matrix: Array, samples: Sequence[float], base: Array, f: int) -> Array:
    return np.median(matrix, axis=0)


def trimmed_mean(matrix: Array, samples: Sequence[float], base: Array, f: int) -> Array:
    return np.sort(matrix, axis=0)[f : len(matrix) - f].mean(axis=0)


def scores(matrix: Array, rows: Sequence[int], f: int) -> dict[int, float]:
    """By row, the sum of the squared distances to the n - f - 1 others that are nearest."""
    found = {}
    for k in rows:
        squares = sorted(float(((matrix[k] - matrix[j]) ** 2).sum()) for j in rows if j != k)
        found[k] = sum(squares[: max(0, len(rows) - f - 1)])
    return found


def lowest(matrix: Array, rows: Sequence[int], f: int) -> list[int]:
    found = scores(matrix, rows, f)
    return sorted(rows, key=lambda k: found[k])


def krum(matrix: Array, samples: Sequence[float], base: Array, f: int) -> Array:
    return matrix[lowest(matrix, by_digest(matrix, samples), f)[0]]


def multi_krum(matrix: Array, samples: Sequence[float], base: Array, f: int) -> Array:
    return matrix[lowest(matrix, by_digest(matrix, samples), f)[: len(matrix) - f]].mean(axis=0)


def bulyan(matrix: Array, samples: Sequence[float], base: Array, f: int) -> Array:
    f = min(f, (len(matrix) - 1) // 4)
    left = by_digest(matrix, samples)
    chosen: list[int] = []
    while len(chosen) < len(matrix) - 2 * f:
        chosen.append(lowest(matrix, left, f)[0])
        left.remove(chosen[-1])
    result = []
    for column in matrix[chosen].T:
        middle = np.median(column)
        near = sorted(column, key=lambda x: (abs(x - middle), x))
        result.append(np.mean(near[: len(chosen) - 2 * f]))
    return np.array(result)


def geometric_median(matrix: Array, samples: Sequence[float], base: Array, f: int, steps: int = 8) -> Array:
    z = np.median(matrix, axis=0)
    for _ in range(steps):
        beta = np.array(samples, float) / np.maximum(1e-6, np.linalg.norm(matrix - z, axis=1))
        z = (beta[:, None] / beta.sum() * matrix).sum(axis=0)
    return z


def centered_clipping(
    matrix: Array,
    samples: Sequence[float],
    base: Array,
    f: int,
    radius: float | None = None,
    iterations: int = 1,
) -> Array:
    v = base + np.zeros(len(base))
    for _ in range(iterations):
        far = np.maximum(np.linalg.norm(matrix - v, axis=1), 1e-300)
        most = np.sort(far)[(len(far) - 1) // 2] if radius is None else radius
        v = v + ((matrix - v) * np.minimum(1, most / far)[:, None]).mean(axis=0)
    return v


WAYS: dict[str, Way] = {
    "median": median,
    "trimmed-mean": trimmed_mean,
    "krum": krum,
    "multi-krum": multi_krum,
    "bulyan": bulyan,
    "geometric-median": geometric_median,
    "centered-clipping": centered_clipping,
    "norm-bound": centered_clipping,
}
"""The twins by the name of the rule, with default options."""


def twin(
    name: str, f: int = 1, pre: str = "none", bucket: int = 2, **options: Any
) -> Callable[[Array, Sequence[int], Array], Array]:
    """The twin of a rule with options, as `fedge.testing.check_rule` calls it."""

    def of(matrix: Array, samples: Sequence[int], base: Array) -> Array:
        weights: Sequence[float] = [float(n) for n in samples]
        if pre == "nnm":
            matrix, weights = neighbours(matrix, weights, min(f, (len(matrix) - 1) // 2))
        if pre == "bucketing":
            matrix, weights = grouped(matrix, weights, base, bucket)
        wide = base.astype(np.float64)
        return WAYS[name](matrix, weights, wide, min(f, (len(matrix) - 1) // 2), **options)

    return of


def neighbours(matrix: Array, samples: Sequence[float], f: int) -> tuple[Array, list[float]]:
    rows, weights = [], []
    ties = by_digest(matrix, samples)
    for k in range(len(matrix)):
        squares = {j: -1.0 if j == k else float(((matrix[k] - matrix[j]) ** 2).sum()) for j in ties}
        near = sorted(ties, key=lambda j: squares[j])[: len(matrix) - f]
        rows.append(matrix[near].mean(axis=0))
        weights.append(float(np.mean([samples[j] for j in near])))
    return np.array(rows), weights


def grouped(matrix: Array, samples: Sequence[float], base: Array, size: int) -> tuple[Array, list[float]]:
    """The buckets of devices that are called pi-0, pi-1, …, by the rule's fixed order."""
    names = sorted((f"pi-{k}" for k in range(len(matrix))), key=order)
    rows = [int(name.removeprefix("pi-")) for name in names]
    drawn = hashlib.sha256(b"bucketing/1\n" + base.astype("<f4").tobytes()).digest()
    keys = {k: hashlib.sha256(drawn + place.to_bytes(8, "big")).digest() for place, k in enumerate(rows)}
    mixed = sorted(rows, key=lambda k: keys[k])
    groups = [mixed[start : start + size] for start in range(0, len(mixed), size)]
    weights = [float(np.mean([samples[k] for k in some])) for some in groups]
    return np.array([matrix[some].mean(axis=0) for some in groups]), weights
