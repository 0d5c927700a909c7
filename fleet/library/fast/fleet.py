"""The devices' side of a simulation: in this process, or in workers."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.core.admission import Terms
from fedge.algorithms.protocols import WEIGHTS
from fedge.wire.messages.manifest import Manifest
from fleet.library.algorithm import Algorithm
from fleet.library.fast.devices import Devices
from fleet.library.fast.memory import SharedArrays
from fleet.library.fast.orders import Order, Outcome, Place
from fleet.library.fast.workers import Given, Workers

Vector = NDArray[np.float32]


class Fleet:
    """All devices.

    Args:
        given: settings and source of each.
        workers: the number of processes; 1: this one.
        algorithm, extensions: as in `Workers`.
        folder: for the arrays that processes share.
    """

    def __init__(
        self, given: Given, workers: int, algorithm: Algorithm, extensions: tuple[str, ...], folder: Path
    ) -> None:
        self._workers = Workers(workers, given, algorithm, extensions) if workers > 1 else None
        self._devices = Devices(given)
        self._shared = SharedArrays(folder) if workers > 1 else None
        self._arrays: dict[str, NDArray[Any]] = {}
        self.updates: NDArray[np.float32] = np.empty((0, 0, 0), np.float32)
        """The vectors of the updates of the open round, of shape (rows, names, p)."""

    def work(
        self,
        manifest: Manifest,
        terms: Terms,
        received: Mapping[str, Vector],
        sends: tuple[str, ...],
        asked: Mapping[str, int],
        rows: int,
    ) -> list[Outcome]:
        """Do the work of an attempt.

        Args:
            manifest: of the attempt.
            terms: of admission.
            received: the announced vectors by name, of shape (p,) each; {}: there is no model yet.
            sends: the names of the vectors of each update; (): it has none.
            asked: the devices, and the row of `updates` for each one's vectors.
            rows: the number of rows that the round needs, those of earlier attempts included.
        """
        names = (WEIGHTS, *(name for name in received if name != WEIGHTS)) if received else ()
        model_place, model = self._array("model", (len(names), terms.weights))
        for number, name in enumerate(names):
            model[number] = received[name]
        before = self.updates
        place, self.updates = self._array("updates", (rows, len(sends), terms.weights))
        if self.updates is not before and before.shape[1:] == self.updates.shape[1:]:
            kept = min(len(before), len(self.updates))
            self.updates[:kept] = before[:kept]  # of earlier attempts
        bare = replace(terms, start=None)
        order = Order(manifest, bare, terms.task, names, sends, model_place, place)
        if self._workers is None:
            return self._devices.work(order, asked, model, self.updates)
        return self._workers.work(order, asked)

    def close(self) -> None:
        """End the workers and free the memory."""
        if self._workers is not None:
            self._workers.close()
        if self._shared is not None:
            self._shared.close()

    def _array(self, name: str, shape: tuple[int, ...]) -> tuple[Place, NDArray[np.float32]]:
        if self._shared is not None:
            return self._shared.array(name, shape)
        found = self._arrays.get(name)
        if found is None or found.shape[1:] != shape[1:] or len(found) < shape[0]:
            found = self._arrays[name] = np.empty(shape, np.float32)
        return Place("", shape), found
