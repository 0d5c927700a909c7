"""Shoulder exercises seen by smart watches: 10 people × 2 wrists = 20 devices, 7 exercises.

The recordings are those of Burns et al. 2018, "Shoulder physiotherapy exercise recognition: machine
learning the inertial signals from a smartwatch", Physiological Measurement 39(7),
https://arxiv.org/abs/1802.01489, as the PyPI package `seglearn` ships them: 140 series of acceleration (g)
and angular velocity (rad/s) at 50 Hz. A sample is a window of 4 s described by eight simple numbers a
channel; windows overlap by half, so one window between training and evaluation keeps the two apart.
"""

import hashlib
import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.errors import ConfigError, DataError
from fleet.datasets.federated import DeviceData, FederatedDataset

SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
RATE_HZ = 50
WINDOW = 4 * RATE_HZ
STEP = WINDOW // 2

CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
STATISTICS = ("mean", "std", "min", "max", "median", "iqr", "change", "crossings")
FEATURES = tuple(f"{channel}_{statistic}" for channel in CHANNELS for statistic in STATISTICS)
EXERCISES = {
    "PEN": "pendulum",
    "ABD": "abduction",
    "FEL": "forward elevation",
    "IR": "internal rotation",
    "ER": "external rotation",
    "TRAP": "trapezius extension",
    "ROW": "upright row",
}
WRISTS = ("left", "right")


def load_watch(devices: int = 20) -> FederatedDataset:
    """Load the first `devices` of the 20 person-and-wrist devices.

    Raises:
        ConfigError: `seglearn` is not installed, or more devices are asked for than there are.
        DataError: its data file is not the one this program knows.
    """
    recordings = _recordings()
    wearers = sorted(
        {(int(p), int(s)) for p, s in zip(recordings["subject"], recordings["side"], strict=True)}
    )
    if not 1 <= devices <= len(wearers):
        raise ConfigError(f"--devices {devices}: the watch data has 1 to {len(wearers)} devices, one a wrist")
    return FederatedDataset(
        name="watch",
        title="Shoulder exercises recognised by smart watches",
        features=FEATURES,
        classes=tuple(EXERCISES.values()),
        devices=tuple(_device(recordings, person, side) for person, side in wearers[:devices]),
        holdout=0.2,
        gap=1,
        hidden_units=64,
    )


def describe(signal: NDArray[np.float64]) -> NDArray[np.float32]:
    """The features of one window: of shape (t, c) → (8 c,), channel by channel in the order of `STATISTICS`.

    `iqr` is the distance between the quartiles, `change` the mean absolute difference of neighbours,
    and `crossings` the fraction of neighbours on different sides of the mean.
    """
    mean = signal.mean(axis=0)
    lower, median, upper = np.quantile(signal, (0.25, 0.5, 0.75), axis=0)
    above = signal > mean
    columns = (
        mean,
        signal.std(axis=0),
        signal.min(axis=0),
        signal.max(axis=0),
        median,
        upper - lower,
        np.abs(np.diff(signal, axis=0)).mean(axis=0),
        (above[1:] != above[:-1]).mean(axis=0),
    )
    return np.stack(columns, axis=1).ravel().astype(np.float32)


def _device(recordings: dict[str, Any], person: int, side: int) -> DeviceData:
    labels: list[str] = []
    series: list[str] = []
    rows: list[NDArray[np.float32]] = []
    codes = recordings["y_labels"]
    for index in np.flatnonzero((recordings["subject"] == person) & (recordings["side"] == side)):
        signal = np.asarray(recordings["X"][index], dtype=np.float64)
        windows = [describe(signal[t : t + WINDOW]) for t in range(0, len(signal) - WINDOW + 1, STEP)]
        rows += windows
        labels += [EXERCISES[codes[recordings["y"][index]]]] * len(windows)
        series += [f"recording-{index:03d}"] * len(windows)
    return DeviceData(
        device=f"person-{person:02d}-{WRISTS[side]}",
        features=np.stack(rows),
        labels=tuple(labels),
        series=tuple(series),
    )


def _recordings() -> dict[str, Any]:
    """The pickled dictionary of `seglearn`, opened only when its bytes are the known ones.

    The package itself is not imported: its `__init__` needs pandas, which it does not declare.
    """
    found = importlib.util.find_spec("seglearn")
    if found is None or found.origin is None:
        raise ConfigError("the watch data needs the extra 'demo': pip install 'fedge[demo]'")
    path = Path(found.origin).parent / "data" / "watch_dataset.npy"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; reinstall seglearn==1.2.5") from None
    if (digest := hashlib.sha256(content).hexdigest()) != SHA256:
        raise DataError(f"{path}: SHA-256 {digest} is not that of seglearn 1.2.5 ({SHA256}): reinstall it")
    data: dict[str, Any] = np.load(io.BytesIO(content), allow_pickle=True).item()
    return data
