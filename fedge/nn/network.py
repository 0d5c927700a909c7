"""A network: computes predictions, losses and gradients from a spec and a flat vector of weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fedge.nn.chain import Chain
from fedge.nn.layer import Piece
from fedge.nn.losses import softmax
from fedge.nn.spec import NetworkSpec

Array = NDArray[Any]

BLOCK_ENTRIES = 2**20
"""The most numbers in a layer's output at a time, whatever the number of samples; at least one row."""
CHAINS = 4
"""For a batch and a block, and a shorter last one of each."""


@dataclass(frozen=True)
class Errors:
    """How far a regression's outputs are from the targets, in the targets' own units.

    With several targets each figure is the mean over the targets, which is meaningful if they share a unit.
    """

    rmse: float
    """√(Σ (output - target)² / n)."""
    mae: float
    """Σ |output - target| / n."""


@dataclass(frozen=True)
class Evaluation:
    """How good given weights are on given samples."""

    loss: float
    """The mean over samples, in the units of training (for a regression: standard units)."""
    accuracy: float | None
    """The share of samples whose class has the largest output; None for a regression."""
    samples: int
    errors: Errors | None = None
    """None for a classifier."""


class Network:
    """The functions of a spec; each takes the flat vector w of shape (p,).

    >>> from fedge.nn import Dense, Network, NetworkSpec, ReLU, initialize
    >>> spec = NetworkSpec(inputs=4, layers=(Dense(units=8), ReLU(), Dense(units=3)), loss="cross-entropy")
    >>> network = Network(spec)
    >>> w = initialize(spec, np.random.default_rng(0))
    >>> w.shape, network.predict(w, np.zeros((2, 4))).shape
    ((67,), (2, 3))

    `predict`, `forward` and `evaluate` take raw samples and targets. `loss`, `loss_and_grad` and `gradients`,
    which are called many times, take samples and targets that `prepare` and `prepare_targets` have taken
    through the frozen layers once.

    Buffers are kept between calls, for `chains` different numbers of rows, and so are views of the last w:
    use one network on one thread at a time.
    """

    def __init__(self, spec: NetworkSpec, dtype: DTypeLike = np.float32, chains: int = CHAINS) -> None:
        self.spec = spec
        self._kept = chains
        self.schema = spec.schema
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._first = None if spec.first is None else spec.first.transform(self.dtype)
        self._last = None if spec.last is None else spec.last.transform(self.dtype)
        widths = [prod(placed.outputs) for placed in spec.placed]
        self._outputs = widths[-1]
        widest = max(spec.inputs, *widths)
        self._block = max(1, BLOCK_ENTRIES // widest)
        self._chains: dict[int, Chain] = {}

    def prepare(self, X: ArrayLike) -> Array:
        """Return raw samples X of shape (n, d) as the trained layers take them: in `dtype`, standardized.

        If the first layer takes float64, X should be float64.

        Raises:
            ValueError: X is not of shape (n, d).
        """
        dtype = self.dtype if self._first is None else self._first.dtype
        prepared = np.ascontiguousarray(X, dtype)
        if prepared.ndim != 2 or prepared.shape[1] != self.spec.inputs:
            raise ValueError(f"expected samples of shape (n, {self.spec.inputs}), got {prepared.shape}")
        return prepared if self._first is None else self._first.forward(prepared)

    def prepare_targets(self, y: ArrayLike) -> Array:
        """Return the targets as the loss takes them.

        For a classifier: class indices, int64 of shape (n,), checked to be 0 … classes - 1. For a regression:
        targets in standard units, of shape (n, t), in `dtype`; y may be of shape (n,) if there is one target.

        Raises:
            ValueError: y has another shape, is not of integers, or names a class that does not exist.
        """
        raw = np.asarray(y)
        outputs = self._outputs
        if self.spec.loss == "cross-entropy":
            return _check_classes(raw, outputs)
        targets = raw.reshape(-1, 1) if raw.ndim == 1 and outputs == 1 else raw
        if targets.ndim != 2 or targets.shape[1] != outputs:
            raise ValueError(f"expected targets of shape (n, {outputs}), got {raw.shape}")
        targets = np.ascontiguousarray(targets, self.dtype)
        return targets if self._last is None else self._last.invert(targets)

    def loss(self, w: Array, X: Array, y: Array) -> float:
        """Return the mean loss over prepared samples X (n, d) with prepared targets y, n ≥ 1."""
        total = 0.0
        for rows in self._blocks(len(X)):
            chain = self._chain(rows.stop - rows.start)
            total += chain.total(w, X[rows], y[rows])
        return total / len(X)

    def loss_and_grad(self, w: Array, X: Array, y: Array, grad: Array) -> float:
        """Return the mean loss and write its gradient into `grad`, of shape (p,); X and y are prepared."""
        samples, total = len(X), 0.0
        grad.fill(0)
        for rows in self._blocks(samples):
            chain = self._chain(rows.stop - rows.start)
            for place, piece in chain.gradients(w, X[rows], y[rows], 1 / samples):
                part = grad[place]
                np.add(part, piece, part)
            total += chain.last_total(y[rows])
        return total / samples

    def gradients(self, w: Array, X: Array, y: Array, scale: float = 1.0) -> Iterator[Piece]:
        """Yield scale · ∂loss/∂w piece by piece, each with its place in w; X and y are prepared, n ≥ 1.

        The next piece overwrites the buffer. The weights of a piece may be changed as soon as it is yielded:
        an optimizer that does so works in the cache, and needs no memory for a whole gradient. The scale
        costs little, because it is applied to the few outputs and not to the many weights.
        """
        samples = len(X)
        if samples <= self._block:
            return self._chain(samples).gradients(w, X, y, scale / samples)
        grad = np.empty(self.schema.size, self.dtype)
        self.loss_and_grad(w, X, y, grad)
        np.multiply(grad, scale, grad)
        return iter([(slice(0, self.schema.size), grad)])

    def forward(self, w: Array, X: ArrayLike) -> Array:
        """Return the outputs for raw samples X (n, d): logits (n, classes), or targets (n, t) in their units.

        Raises:
            ValueError: X is not of shape (n, d).
        """
        raw = np.asarray(X)
        outputs = np.empty((len(raw), self._outputs), self.dtype)
        for rows in self._blocks(len(raw)):
            prepared = self.prepare(raw[rows])
            z = self._chain(len(prepared)).forward(w, prepared)
            outputs[rows] = z if self._last is None else self._last.forward(z)
        return outputs

    def predict(self, w: Array, X: ArrayLike) -> Array:
        """Return class probabilities (n, classes) or targets (n, t) in their units, for raw samples X (n, d).

        Raises:
            ValueError: X is not of shape (n, d).
        """
        outputs = self.forward(w, X)
        return softmax(outputs) if self.spec.loss == "cross-entropy" else outputs

    def evaluate(self, w: Array, X: ArrayLike, y: ArrayLike) -> Evaluation:
        """Measure weights w on raw samples X (n, d) and raw targets y, n ≥ 1.

        Raises:
            ValueError: X or y has the wrong shape, or there are no samples.
        """
        raw, targets = np.asarray(X), self.prepare_targets(y)
        samples = len(targets)
        if len(raw) != samples or samples == 0:
            raise ValueError(
                f"expected at least one sample and a target for each, got {len(raw)} and {samples}"
            )
        classifies = self.spec.loss == "cross-entropy"
        total, correct = 0.0, 0
        sums = np.zeros((2, self._outputs))
        for rows in self._blocks(samples):
            chain = self._chain(rows.stop - rows.start)
            total += chain.total(w, self.prepare(raw[rows]), targets[rows])
            if classifies:
                correct += int(np.count_nonzero(np.argmax(chain.outputs, axis=1) == targets[rows]))
            else:
                apart = np.subtract(chain.outputs, targets[rows], dtype=np.float64)
                sums += np.square(apart).sum(0), np.abs(apart).sum(0)
        if classifies:
            return Evaluation(total / samples, correct / samples, samples)
        return Evaluation(total / samples, None, samples, self._errors(sums / samples))

    def _errors(self, means: Array) -> Errors:
        """The errors, from mean squares and mean distances in standard units, of shape (2, t)."""
        last = self.spec.last
        scales = 1.0 if last is None else last.scales.astype(np.float64)
        squares, distances = means
        return Errors(float(np.mean(np.sqrt(squares) * scales)), float(np.mean(distances * scales)))

    def _blocks(self, samples: int) -> Iterator[slice]:
        for start in range(0, samples, self._block):
            yield slice(start, min(start + self._block, samples))

    def _chain(self, rows: int) -> Chain:
        chain = self._chains.get(rows)
        if chain is None:
            if len(self._chains) == self._kept:
                del self._chains[next(iter(self._chains))]
            chain = self._chains[rows] = Chain(self.spec, rows, self.dtype)
        return chain


def _check_classes(y: Array, classes: int) -> NDArray[np.int64]:
    if y.ndim != 1:
        raise ValueError(f"expected class indices of shape (n,), got {y.shape}")
    if y.dtype.kind not in "iu":
        raise ValueError(f"expected class indices as integers, got {y.dtype}")
    outside = (y < 0) | (y >= classes)
    if outside.any():
        row = int(np.argmax(outside))
        raise ValueError(f"row {row}: class index {y[row]} is not in 0 … {classes - 1}")
    return np.ascontiguousarray(y, np.int64)
