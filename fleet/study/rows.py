"""Read the rows of a study: a data set that comes with Fedge, a CSV file, or an NPZ file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.sources import CsvSource, NpzSource, Samples
from fedge.data.disclosure import listing
from fedge.errors import ConfigError, DataError
from fleet.datasets.digits import FEATURES as PIXELS
from fleet.study.settings import DataSection


@dataclass(frozen=True)
class Rows:
    """n rows of one data set."""

    X: NDArray[np.float32]
    """Shape (n, d)."""
    y: NDArray[Any]
    """Shape (n,), indices of classes; or (n, t), targets in their own units."""
    features: tuple[str, ...]
    """The names of the d columns."""
    classes: tuple[str, ...] | None
    """None: a regression."""
    targets: tuple[str, ...] | None
    """The names of the t targets; None: a classification."""
    groups: NDArray[np.int64] | None = None
    """Shape (n,): the device of each row, by the data; None: they do not say."""
    series: NDArray[np.int64] | None = None
    """Shape (n,): the recording of each row, in which rows are in the order of time; None: rows are
    independent."""
    gap: int = 0
    """Rows of a recording to leave out between training and test rows, because windows overlap."""


def read(data: DataSection) -> Rows:
    """Read the rows that `[data] dataset` names.

    Raises:
        ConfigError: a column is not there, or an extra is not installed.
        DataError: the file cannot be read.
    """
    if data.dataset == "digits":
        return _digits()
    if data.dataset == "watch":
        return _watch()
    return _file(data, Path(data.dataset))


def read_test(data: DataSection, like: Rows) -> Rows:
    """Read the test rows from the file that `[data] test` names, with the columns and classes of `like`.

    Raises:
        ConfigError: a column is not there, or a class is not among those of `like`.
        DataError: the file cannot be read.
    """
    assert isinstance(data.test, Path)
    wanted = data.model_copy(update={"features": data.features or like.features, "split": None})
    found = _file(wanted, data.test)
    if found.features != like.features or found.targets != like.targets:
        raise ConfigError(f"{data.test}: its columns are not those of {data.dataset}")
    if like.classes is None:
        return found
    assert found.classes is not None
    if unknown := sorted(set(found.classes) - set(like.classes)):
        raise ConfigError(f"{data.test}: classes that {data.dataset} lacks: {listing(unknown)}")
    index = np.array([like.classes.index(name) for name in found.classes])
    return Rows(found.X, index[found.y], found.features, like.classes, None)


def _digits() -> Rows:
    try:
        from sklearn import datasets
    except ImportError:
        raise ConfigError(
            "[data] dataset: the digits need the extra 'demo': pip install 'fedge[demo]'"
        ) from None
    X, y = datasets.load_digits(return_X_y=True)
    return Rows(X.astype(np.float32), y.astype(np.int64), PIXELS, tuple(map(str, range(10))), None)


def _watch() -> Rows:
    from fleet.datasets import load_watch

    found = load_watch()
    names = [(number, name) for number, one in enumerate(found.devices) for name in one.series]
    labels = [found.classes.index(label) for one in found.devices for label in one.labels]
    return Rows(
        np.concatenate([one.features for one in found.devices]),
        np.array(labels, dtype=np.int64),
        found.features,
        found.classes,
        None,
        np.array([number for number, _ in names], dtype=np.int64),
        np.unique([f"{number} {name}" for number, name in names], return_inverse=True)[1].astype(np.int64),
        found.gap,
    )


def _file(data: DataSection, path: Path) -> Rows:
    column = data.split.column if data.split is not None else None
    by_column = data.split is not None and data.split.by == "column"
    if path.suffix.lower() == ".npz":
        if by_column and column != "series":
            raise ConfigError(
                '[data] split: of an NPZ file the array `series` names the devices: column = "series"'
            )
        samples = NpzSource(path).read()
    else:
        if by_column and column is None:
            raise ConfigError("[data] split: column is missing; name the column that says each row's device")
        label = None if data.targets is not None else data.label
        samples = CsvSource(path, label, column, growing=False).read()
    found = _regression(data, samples) if _is_regression(data, samples) else _classes(data, samples)
    if not by_column:
        return found
    groups = np.unique(samples.series, return_inverse=True)[1].astype(np.int64)
    return Rows(found.X, found.y, found.features, found.classes, found.targets, groups, groups)


def _is_regression(data: DataSection, samples: Samples) -> bool:
    return data.targets is not None or (samples.y is not None and samples.y.dtype.kind == "f")


def _classes(data: DataSection, samples: Samples) -> Rows:
    if samples.y is None:
        raise ConfigError(
            f"[data] label: {samples.name} has neither an array `y` nor a column {data.label!r}; name the "
            "column of the classes, or `targets` for a regression"
        )
    if samples.unanswered is not None:
        raise DataError(f"{samples.name}: {int(samples.unanswered.sum())} rows have no label; leave them out")
    X, features = _features(data, samples, ())
    names, y = np.unique(samples.y, return_inverse=True)
    return Rows(X, y.reshape(-1).astype(np.int64), features, tuple(map(str, names)), None)


def _regression(data: DataSection, samples: Samples) -> Rows:
    if data.targets is None:
        assert samples.y is not None
        y = samples.y.reshape(len(samples.X), -1).astype(np.float64)
        targets: tuple[str, ...] = tuple(f"y{k}" for k in range(y.shape[1]))
    else:
        targets = data.targets
        y = samples.X[:, [_column(samples, name) for name in targets]].astype(np.float64)
    if not np.isfinite(y).all():
        raise DataError(
            f"{samples.name}: {int((~np.isfinite(y)).any(axis=1).sum())} rows lack a target; leave them out"
        )
    X, features = _features(data, samples, targets)
    return Rows(X, y, features, None, targets)


def _features(
    data: DataSection, samples: Samples, others: tuple[str, ...]
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """The columns to learn from, and their names."""
    names = samples.columns or tuple(f"x{k}" for k in range(samples.X.shape[1]))
    wanted = data.features
    if wanted is None:
        wanted = tuple(name for k, name in enumerate(names) if name not in others and k not in samples.faults)
    elif samples.columns is None and wanted != names:
        raise ConfigError(f"[data] features: {samples.name} does not name its columns; leave the key out")
    places = [_column(samples, name) if samples.columns else names.index(name) for name in wanted]
    X = samples.X[:, places]
    if bad := [name for k, name in enumerate(wanted) if not np.isfinite(X[:, k]).all()]:
        raise DataError(
            f"{samples.name}: columns with missing values: {listing(bad)}; fill them or leave them out"
        )
    return np.ascontiguousarray(X), wanted


def _column(samples: Samples, name: str) -> int:
    if samples.columns is None or name not in samples.columns:
        there = listing(samples.columns or ()) or "none by name"
        raise ConfigError(f"[data]: {samples.name} has no column {name!r}; it has {there}")
    place = samples.columns.index(name)
    if (fault := samples.faults.get(place)) is not None:
        raise DataError(fault.text)
    return place
