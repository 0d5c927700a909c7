"""The rows of all devices as arrays, so that a local step of many devices is one product of matrices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.errors import ConfigError
from fedge.nn.spec import NetworkSpec

Pair = tuple[NDArray[Any], NDArray[Any]]
"""Rows of shape (n, d), and the indices of their classes, of shape (n,)."""


@dataclass(frozen=True)
class Population:
    """k devices with n rows each at most; a device with fewer has rows of zeros, which do not count."""

    X: NDArray[np.float32]
    """Shape (k, n, d), in a range that is known without looking at the devices' rows, such as 0 to 1."""
    y: NDArray[np.int64]
    """Shape (k, n), indices of classes; 0 where there is no row."""
    rows: NDArray[np.int64]
    """Shape (k,): how many rows each device has; they are its first ones."""
    test: Pair
    """Rows of no device."""
    network: NetworkSpec
    """What is trained: a classifier."""

    @classmethod
    def of(cls, devices: Sequence[Pair], test: Pair, network: NetworkSpec) -> "Population":
        """The population of these devices.

        Raises:
            ConfigError: there are no devices, one has no rows, or the network is no classifier.
        """
        if not devices or min(len(X) for X, _ in devices) == 0:
            raise ConfigError("a simulation of privacy needs devices, each with one row or more")
        if network.loss != "cross-entropy":
            raise ConfigError(
                "the accuracy under privacy is simulated for classes alone, and these rows have targets"
            )
        rows = np.array([len(X) for X, _ in devices], np.int64)
        X = np.zeros((len(devices), int(rows.max()), network.inputs), np.float32)
        y = np.zeros(X.shape[:2], np.int64)
        for number, (samples, classes) in enumerate(devices):
            X[number, : len(samples)] = samples
            y[number, : len(samples)] = classes
        return cls(X, y, rows, test, network)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def counts(self) -> NDArray[np.bool_]:
        """Shape (k, n): where there is a row."""
        counted: NDArray[np.bool_] = np.arange(self.X.shape[1]) < self.rows[:, None]
        return counted
