"""Write scikit-learn's digits as files that both sides of a comparison read."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TRAIN_SAMPLES = 1_500
FEATURES = tuple(f"pixel_{index}" for index in range(64))
CLASSES = tuple(str(digit) for digit in range(10))


def write(folder: Path, devices: int, seed: int) -> None:
    """Write `device-K.npz` (1,500 samples divided at random), `test.npz` (the other 297), `scaling.npz`.

    The scaling is that of all training samples together: given to the peer, which has no survey of its own.
    """
    from sklearn.datasets import load_digits  # takes seconds

    digits = load_digits()
    X, y = digits.data.astype(np.float32), digits.target
    order = np.random.default_rng(seed).permutation(len(y))
    train, test = order[:TRAIN_SAMPLES], order[TRAIN_SAMPLES:]
    for device, part in enumerate(np.array_split(train, devices)):
        _save(folder / f"device-{device}.npz", X[part], y[part])
    _save(folder / "test.npz", X[test], y[test])
    scale = X[train].std(axis=0)
    np.savez(folder / "scaling.npz", mean=X[train].mean(axis=0), scale=np.where(scale > 0, scale, 1))


def _save(path: Path, X: NDArray[np.float32], y: NDArray[np.int64]) -> None:
    np.savez(path, X=X, y=y, features=np.array(FEATURES))
