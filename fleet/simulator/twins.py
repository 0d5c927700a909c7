"""The slow twin of `aggregator.aggregation.aggregate`, which computes a round's mean from the definition.

It shares no code with production's rules: it uses lists of Python floats and takes one update after another.
Only the network's own computations come from `fedge.nn`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import floor, sqrt

import numpy as np
from numpy.typing import NDArray

from fedge.nn import Network
from fedge.nn.spec import NetworkSpec
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.topics import lane_of

FEWEST = 5
"""The fewest updates of a round that are clipped."""
CLIP_NORM, MAX_WEIGHT = 2.5, 10
LOOSER = 4
"""The factor of `CLIP_NORM` for further vectors where there are fewer."""
MAX_NORM = 100
"""The factors of the worlds' federations, which are the defaults; some worlds do not clip."""

Numbers = list[float]
Usable = Callable[[Numbers], bool]


@dataclass(frozen=True)
class Counted:
    """The weight and the clipped vector with which one update counts."""

    device: str
    norm: float
    weight: int
    vector: Numbers
    steps: int = 1
    told_steps: int = 1
    """As the device says, but at least 1."""


@dataclass(frozen=True)
class Late:
    """How late an update is."""

    staleness: int
    """The number of versions since its base."""
    base: Numbers
    """The model that it began from."""


NONE_LATE: Mapping[str, Late] = {}


def length(base: Numbers, vector: Numbers) -> float:
    """The distance of two vectors of at most 16,384 entries; the squares are added pairwise by halves."""
    squares = [(w - b) * (w - b) for w, b in zip(vector, base, strict=True)]
    while len(squares) & (len(squares) - 1):
        squares.append(0.0)
    while len(squares) > 1:
        half = len(squares) // 2
        squares = [squares[i] + squares[half + i] for i in range(half)]
    return sqrt(squares[0])


@dataclass(frozen=True)
class Middle:
    """The lower medians that bounds are from."""

    norm: float
    samples: int
    updates: int
    """How many updates they are of."""


def middle_of(norms: Sequence[float], samples: Sequence[int]) -> Middle:
    """The lower medians of some updates."""
    half = (len(norms) - 1) // 2
    return Middle(sorted(norms)[half], sorted(samples)[half], len(norms))


def clip_of(name: str, updates: int) -> float | None:
    """How many median norms a vector counts with at most, among so many; None: with all of them."""
    if updates >= FEWEST:
        return CLIP_NORM
    return LOOSER * CLIP_NORM if name != "weights" and updates > 1 else None


def counted(
    updates: Sequence[Update],
    base: Numbers,
    late: Mapping[str, Late] = NONE_LATE,
    *,
    clips: bool = True,
    name: str = "weights",
    whole: Middle | None = None,
) -> list[Counted]:
    """Weigh and clip one vector of a round's updates, with bounds from their lower medians.

    Args:
        updates: those that count.
        base: what they began from.
        late: the updates from older models, by device. Each counts as a step from the newest model.
        clips: whether updates that are far from their base are clipped.
        name: of the vector.
        whole: the medians of the whole round, which bound updates of a cluster of fewer than `FEWEST`.
    """
    vectors = [numbers(vector_of(update, name)) for update in updates]
    for i, update in enumerate(updates):
        if (behind := late.get(update.device)) is not None:
            vectors[i] = [(w - was) + now for w, was, now in zip(vectors[i], behind.base, base, strict=True)]
    norms = [length(base, vector) for vector in vectors]
    among = middle_of(norms, [update.samples for update in updates])
    if whole is not None and len(updates) < FEWEST:
        among = whole
    usual, middle, clip = among.norm, among.samples, clip_of(name, among.updates)
    most = max(1, floor(MAX_WEIGHT * middle))
    told = [max(1, update.steps) for update in updates]
    most_steps = max(1, floor(min(2.0**53, MAX_WEIGHT * sorted(told)[(len(told) - 1) // 2])))
    found = []
    for update, norm, vector in zip(updates, norms, vectors, strict=True):
        weight = min(most, update.samples)
        if clips and clip is not None and norm * most > clip * usual * middle:
            weight = min(weight, max(middle, floor(clip * usual * middle / norm)))
        if clips and clip is not None and norm > clip * usual:
            scale = clip * usual / norm
            vector = [(w - b) * scale + b for w, b in zip(vector, base, strict=True)]
        steps = max(1, update.steps)
        found.append(Counted(update.device, norm, weight, vector, min(most_steps, steps), steps))
    if not any(part.device in late for part in found):
        return found
    unit = 2 ** max(0, min(30, 53 - max(part.weight for part in found).bit_length()))
    return [replace(part, weight=_discounted(part, unit, late.get(part.device))) for part in found]


def _discounted(part: Counted, unit: int, late: Late | None) -> int:
    """The weight n / √(1 + τ) in this unit, as a whole number."""
    return max(1, part.weight * round(unit / sqrt(1 + (late.staleness if late is not None else 0))))


def vector_of(update: Update, name: str) -> bytes:
    """The bytes of one vector of an update."""
    return update.body if name == "weights" else (update.vectors or {})[name]


def mean(parts: Iterable[Counted], *, uniform: bool = False, exact: bool = False) -> Numbers:
    """Compute Σ n w / Σ n: float64 sums by device within a lane, and lanes as a binary tree.

    Args:
        parts: the bounded updates.
        uniform: whether each device has the same weight.
        exact: whether the quotient stays as it is; otherwise it is rounded to float32.
    """
    known = sorted(parts, key=lambda part: (lane_of(part.device), part.device))
    if uniform:
        known = [replace(part, weight=1) for part in known]
    total = _sum(known, 0, 256)
    assert total is not None
    n = float(sum(part.weight for part in known))
    return [entry / n if exact else single(entry / n) for entry in total]


def causes(
    updates: Sequence[Update],
    base: Numbers,
    usable: Usable,
    late: Mapping[str, Late] = NONE_LATE,
    *,
    clips: bool = True,
    combined: Callable[[list[Counted]], Numbers] = mean,
    whole: Middle | None = None,
) -> set[str]:
    """The devices without which what the rule makes of these updates is usable; empty if it is with all."""
    parts = counted(updates, base, late, clips=clips, whole=whole)
    if usable(combined(parts)):
        return set()
    found = {part.device for part in parts if not usable([single(w) for w in part.vector])}
    others = sorted(parts, key=lambda part: (part.norm, lane_of(part.device), part.device))
    others = [part for part in others if part.device not in found]
    if not found:
        found.add(others.pop().device)
    while others:
        left = [update for update in updates if update.device not in found]
        if usable(combined(counted(left, base, late, clips=clips, whole=whole))):
            break
        found.add(others.pop().device)
    return found


def judge(task: Task, base: Numbers) -> Usable:
    """Return a function that tells whether a model is usable on all probes on which its base is."""
    network, X = Network(task.network), _probes(task.network)
    fine = X[_finite(network, base, X)]
    teaches = len(fine) > 0 and _teaches(network, base, fine)

    def usable(model: Numbers) -> bool:
        finite = all(abs(w) <= 3.4028234663852886e38 for w in model)
        if not finite or not _finite(network, model, fine).all():
            return False
        return not teaches or _teaches(network, model, fine)

    return usable


def numbers(body: bytes) -> Numbers:
    """The entries of a vector of float32."""
    return [float(w) for w in np.frombuffer(body, "<f4")]


def _sum(parts: list[Counted], low: int, high: int) -> Numbers | None:
    inside = [part for part in parts if low <= lane_of(part.device) < high]
    if not inside:
        return None
    if high - low == 1:
        total = [part.weight * w for part in inside[:1] for w in part.vector]
        for part in inside[1:]:
            total = [a + part.weight * w for a, w in zip(total, part.vector, strict=True)]
        return total
    middle = (low + high) // 2
    left, right = _sum(inside, low, middle), _sum(inside, middle, high)
    if left is None or right is None:
        return right if left is None else left
    return [a + b for a, b in zip(left, right, strict=True)]


def single(number: float) -> float:
    """The nearest number of float32; too large ones become infinite."""
    with np.errstate(over="ignore"):
        return float(np.float32(number))


@lru_cache(maxsize=64)
def _probes(spec: NetworkSpec) -> NDArray[np.float32]:
    X = np.random.default_rng(0).standard_normal((64, spec.inputs), dtype=np.float32)
    first = spec.first
    return X if first is None else X * first.scales + first.means


def _finite(network: Network, model: Numbers, X: NDArray[np.float32]) -> NDArray[np.bool_]:
    with np.errstate(all="ignore"):
        return np.asarray(np.isfinite(network.predict(np.array(model, np.float32), X)).all(axis=1))


def _teaches(network: Network, model: Numbers, X: NDArray[np.float32]) -> bool:
    """Whether loss and gradient are finite when each probe is of the model's least likely class."""
    weights = np.array(model, np.float32)
    gradient = np.empty_like(weights)
    with np.errstate(all="ignore"):
        y = network.predict(weights, X).argmin(axis=1)
        loss = network.loss_and_grad(weights, network.prepare(X), y, gradient)
    return bool(np.isfinite(loss) and np.isfinite(gradient).all())
