"""Deal the rows of a study to devices, and keep the test rows that no device has."""

from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.data.division import divide
from fedge.errors import ConfigError
from fleet.study import splits
from fleet.study.rows import Rows, read, read_test
from fleet.study.settings import DataSection, SplitSection

Pair = tuple[NDArray[np.float32], NDArray[Any]]
Hand = tuple[NDArray[Any], ...]
"""(X, y) of a device; or (X, y, series), as `fedge.simulate` takes them."""


@dataclass(frozen=True)
class Deal:
    """The rows of each device, by its name, and the test rows."""

    devices: dict[str, Hand]
    test: Pair
    training: int
    """How many rows the devices train on."""
    held: int
    """How many they hold out."""


class Table:
    """The rows of a study, read once.

    Raises:
        ConfigError: the split or the test rows do not suit the data.
        DataError: a file cannot be read.
    """

    def __init__(self, data: DataSection) -> None:
        self.data = data
        self.rows = read(data)
        self.test = read_test(data, self.rows) if isinstance(data.test, Path) else None
        split = data.split
        if split.by == "column" and self.rows.groups is None:
            raise ConfigError(
                "[data] split: the data do not say which device a row is from; choose another `by`"
            )
        if split.by in ("shards", "dirichlet") and self.rows.classes is None:
            raise ConfigError(
                f"[data] split: by {split.by!r} needs labels, and this is a regression; use iid or column"
            )
        if data.holdout and self.rows.gap and split.by != "column":
            raise ConfigError(
                f"[data] holdout: the windows of {str(data.dataset)!r} overlap, so rows that are dealt by "
                f"{split.by!r} cannot be held out from those that a device trains on; set [data.split] by = "
                '"column"'
            )

    def digest(self) -> str:
        """The SHA-256 of all rows with the names of their columns and classes, in hexadecimal digits."""
        found = sha256()
        for rows in (self.rows, self.test):
            if rows is None:
                continue
            found.update(repr((rows.features, rows.classes, rows.targets, rows.gap)).encode())
            for array in (rows.X, rows.y, rows.groups, rows.series):
                if array is not None:
                    found.update(f"{array.dtype} {array.shape}".encode())
                    found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def deal(self, seed: int) -> Deal:
        """Deal the rows for the runs of this seed.

        Raises:
            ConfigError: a device would have too few rows.
        """
        if self.data.split.seed is not None:
            seed = self.data.split.seed
        training, test = self._parted(np.random.default_rng([seed, 0]))
        hands = dealt(training, self.data.split, np.random.default_rng([seed, 1]))
        if self.data.holdout and self.data.split.by != "column":
            mixing = np.random.default_rng([seed, 3])  # the speeds have 2
            hands = [mixing.permutation(hand) for hand in hands]
        width = len(str(len(hands)))
        devices = {f"d{number:0{width}d}": self._hand(training, hand) for number, hand in enumerate(hands, 1)}
        parts = [self._divided(hand) for hand in devices.values()]
        return Deal(
            devices, (test.X, test.y), sum(trained for trained, _ in parts), sum(held for _, held in parts)
        )

    def _hand(self, rows: Rows, hand: splits.Rows) -> Hand:
        """The rows of a device."""
        found = rows.X[hand], rows.y[hand]
        if not self.data.holdout or self.data.split.by != "column":
            return found
        assert rows.series is not None
        return *found, rows.series[hand]

    def _divided(self, hand: Hand) -> tuple[int, int]:
        """How many of its rows a device trains on, and how many it holds out.

        Raises:
            ConfigError: it holds none out, or has too few others.
        """
        if not self.data.holdout:
            return len(hand[0]), 0
        series = hand[2] if len(hand) > 2 else np.zeros(len(hand[0]), dtype=np.int64)
        training, held = divide(series, self.data.holdout, self.rows.gap)
        if len(training) < splits.LEAST or not len(held):
            raise ConfigError(
                f"[data] holdout: with {self.data.holdout:g} a device of {len(hand[0])} rows would train on "
                f"{len(training)} and hold {len(held)} out, and each needs {splits.LEAST} to train on and 1 "
                "held out; set another share, or deal each device more rows"
            )
        return len(training), len(held)

    def _parted(self, rng: np.random.Generator) -> tuple[Rows, Rows]:
        """The rows to train on, and the test rows."""
        if self.test is not None:
            return self.rows, self.test
        assert isinstance(self.data.test, float)
        if self.rows.series is not None:
            training, held = divide(self.rows.series, self.data.test, self.rows.gap)
        else:
            order = rng.permutation(len(self.rows.X))
            kept = round(self.data.test * len(order))
            training, held = np.sort(order[kept:]), np.sort(order[:kept])
        if not len(held):
            raise ConfigError(
                f"[data] test: {self.data.test:g} of the rows is none; raise it, or name a file"
            )
        return taken(self.rows, training), taken(self.rows, held)


def dealt(rows: Rows, split: SplitSection, rng: np.random.Generator) -> list[splits.Rows]:
    """The rows of each device, as `[data.split]` says.

    Raises:
        ConfigError: a device would have too few.
    """
    if split.by == "column":
        assert rows.groups is not None
        return splits.by_groups(rows.groups)
    assert split.devices is not None
    if split.by == "iid":
        return splits.iid(len(rows.X), split.devices, rng)
    if split.by == "shards":
        return splits.shards(rows.y, split.devices, split.shards, rng)
    assert split.alpha is not None
    return splits.dirichlet(rows.y, split.devices, split.alpha, rng)


def taken(rows: Rows, chosen: NDArray[np.intp]) -> Rows:
    """Some of the rows, in this order."""
    groups = None if rows.groups is None else rows.groups[chosen]
    series = None if rows.series is None else rows.series[chosen]
    return replace(rows, X=rows.X[chosen], y=rows.y[chosen], groups=groups, series=series)
