"""A data set of a fleet: each device has its own rows, and none has all of them."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LABEL = "label"
"""The column of the class names in the CSV files."""
SERIES = "series"
"""The column that says which uninterrupted recording a row comes from."""


@dataclass(frozen=True)
class DeviceData:
    """The recordings of one device, in time order within each series."""

    device: str
    """Its id in the federation."""
    features: NDArray[np.float32]
    """X, of shape (n, d)."""
    labels: tuple[str, ...]
    """The class name of each row, n of them."""
    series: tuple[str, ...]
    """The recording of each row, n of them."""


@dataclass(frozen=True)
class FederatedDataset:
    """The data of all devices, and how each holds out a part for evaluation."""

    name: str
    title: str
    """One line for people."""
    features: tuple[str, ...]
    """Column names, d of them."""
    classes: tuple[str, ...]
    devices: tuple[DeviceData, ...]
    holdout: float
    """The last fraction of each series is never trained on."""
    gap: int
    """Rows dropped between the two parts, so that no sample of one overlaps a sample of the other."""
    hidden_units: int
    """The width of the hidden layer that suits the data."""


def write_csv(data: DeviceData, features: tuple[str, ...], path: Path) -> None:
    """Write a device's rows as a logger would: a header, then one line per row.

    Nine significant digits bring every float32 back exactly.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*features, SERIES, LABEL])
        for row, series, label in zip(data.features.tolist(), data.series, data.labels, strict=True):
            writer.writerow([*(f"{value:.9g}" for value in row), series, label])
