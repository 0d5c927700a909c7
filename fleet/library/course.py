"""The course of a simulation: what is told and measured after each round, the same for both engines."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from agent.data.dataset import fit
from agent.settings.data import DataSettings
from agent.sources import Source
from aggregator.ledger.views import RoundRow
from fedge.errors import ConfigError, DataError
from fedge.nn import Network
from fleet.library.models import Model
from fleet.library.results import Point, Progress


@dataclass
class Course:
    """Measures and tells of each round that closes."""

    rounds: int
    """The number of training rounds at the most."""
    progress: Callable[[Progress], None] | None = None
    """Called after each training round."""
    until: Callable[[Progress], bool] | None = None
    """Called after it; True ends the simulation."""
    test: Source | None = None
    """The test rows."""
    settings: DataSettings | None = None
    """How the test rows are read; nothing is held out of them."""
    timed: bool = False
    """Whether the seconds of the rounds are those that devices train, on a virtual clock."""
    now_s: Callable[[], float] = time.monotonic
    curve: list[Point] = field(default_factory=list)
    """The models so far."""
    _rows: tuple[Network, NDArray[Any], NDArray[Any]] | None = None
    _begun_s: float | None = None
    _bytes: tuple[int, int] = (0, 0)
    _seconds: float = 0.0

    @property
    def wanted(self) -> bool:
        """Whether anything is told or measured of a round."""
        return self.progress is not None or self.until is not None or self.test is not None

    def closed(self, row: RoundRow, up: int, down: int, model: Callable[[], Model]) -> bool:
        """Measure the model of a round that has closed, and tell of it; return whether to end here.

        Args:
            row: the survey or a training round.
            up: the bytes of the vectors of the updates that counted.
            down: the bytes of the vectors that these devices were sent.
            model: returns the model that the round made; only called if there are test rows.
        """
        if self._begun_s is None:
            self._begun_s = self.now_s()  # the survey's end
        self._bytes = self._bytes[0] + up, self._bytes[1] + down
        if row.kind == "train":
            self._seconds += row.seconds or 0.0
        point = None
        if self.test is not None:
            point = self._measured(model())
            self.curve.append(point)
        if row.kind != "train" or (self.progress is None and self.until is None):
            return False
        left_s = (self.now_s() - self._begun_s) / row.round * max(self.rounds - row.round, 0)
        told = Progress(row.round, self.rounds, row, point, left_s)
        if self.progress is not None:
            self.progress(told)
        return self.until is not None and bool(self.until(told))

    def _measured(self, model: Model) -> Point:
        if self._rows is None:
            assert self.test is not None
            assert self.settings is not None
            try:
                found = fit(self.test.read(), model.task, self.settings)
            except (DataError, ValueError) as error:
                raise ConfigError(f"simulate: test: {error}") from None
            self._rows = Network(model.task.network), found.X, found.y
        network, X, y = self._rows
        measured = network.evaluate(model.weights, X, y)
        rmse = measured.errors.rmse if measured.errors is not None else None
        seconds = self._seconds if self.timed else None
        return Point(model.round, *self._bytes, measured.accuracy, measured.loss, rmse, seconds)
