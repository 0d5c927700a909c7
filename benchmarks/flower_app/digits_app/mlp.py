"""A multilayer perceptron 64-64-10 in plain NumPy: standardised pixels, ReLU, softmax cross-entropy."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Weights = list[NDArray[np.float32]]
"""W1 (64, 64), b1 (64,), W2 (64, 10), b2 (10,)."""


def load(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read samples (n, 64), standardised, and labels (n,)."""
    scaling = np.load(path.with_name("scaling.npz"))
    samples = np.load(path)
    return (samples["X"] - scaling["mean"]) / scaling["scale"], samples["y"].astype(np.int64)


def init(rng: np.random.Generator) -> Weights:
    """He initialisation for the ReLU layer, Glorot for the output."""
    first = rng.normal(0, np.sqrt(2 / 64), (64, 64)).astype(np.float32)
    second = rng.normal(0, np.sqrt(2 / 74), (64, 10)).astype(np.float32)
    return [first, np.zeros(64, np.float32), second, np.zeros(10, np.float32)]


def train(
    weights: Weights,
    X: NDArray[np.float32],
    y: NDArray[np.int64],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    rng: np.random.Generator,
) -> Weights:
    """Local SGD: `epochs` passes in shuffled batches; returns new weights."""
    W1, b1, W2, b2 = (weight.copy() for weight in weights)
    for _ in range(epochs):
        order = rng.permutation(len(y))
        for start in range(0, len(y), batch_size):
            batch = order[start : start + batch_size]
            x = X[batch]
            hidden = np.maximum(x @ W1 + b1, 0)
            delta = _softmax(hidden @ W2 + b2)
            delta[np.arange(len(batch)), y[batch]] -= 1
            delta *= learning_rate / len(batch)
            back = (delta @ W2.T) * (hidden > 0)
            W2 -= hidden.T @ delta
            b2 -= delta.sum(axis=0)
            W1 -= x.T @ back
            b1 -= back.sum(axis=0)
    return [W1, b1, W2, b2]


def accuracy(weights: Weights, X: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    """The share of samples whose largest output is their label."""
    W1, b1, W2, b2 = weights
    outputs = np.maximum(X @ W1 + b1, 0) @ W2 + b2
    return float((outputs.argmax(axis=1) == y).mean())


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    normalised: NDArray[np.float32] = shares / shares.sum(axis=1, keepdims=True)
    return normalised
